"""The examples of a fold show every kind of answer, and the same ones each time."""

import io
import json

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hf_breakhis.training.examples import write_examples


def encoded(picture):
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def write(tmp_path):
    """Ten images: false alarms surer than every miss, benign ones surer than malignant ones."""
    label = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
    prob = np.array([0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.4, 0.45, 0.9])
    table = pd.DataFrame({"file_name": [f"{i}.png" for i in range(10)], "label": label,
                          "predicted": (prob > 0.5).astype(int),
                          "prob_benign": 1 - prob, "prob_malignant": prob})  # fmt: skip
    images = datasets.Dataset.from_dict(
        {"image": [{"bytes": encoded(Image.new("RGB", (8, 6), (25 * i, 0, 0))), "path": None} for i in range(10)]}
    )

    def write(rows, name="examples"):
        table_of_rows = table.iloc[rows].reset_index(drop=True)
        write_examples(tmp_path / name, table_of_rows, images, np.array(rows))
        return json.loads((tmp_path / name / "index.json").read_text()), tmp_path / name

    return write


def test_less_confident_misses_are_shown_next_to_false_alarms(write):
    index, folder = write(range(10))
    names = [row["file_name"] for row in index]
    assert names == ["9.png", "0.png", "7.png", "1.png", "8.png", "2.png", "3.png"]
    assert [row["kind"] for row in index] == ["right"] + ["wrong"] * 6
    assert sorted(names) == sorted(path.name for path in folder.glob("*.png"))
    for name in names:  # each name shows its own picture
        with Image.open(folder / name) as picture:
            assert picture.getpixel((0, 0)) == (25 * int(name[0]), 0, 0)
    assert write(range(10), "again")[0] == index


def test_errors_of_one_kind_fill_all_places(write):
    assert [row["file_name"] for row in write(range(7))[0]] == [f"{i}.png" for i in range(6)]
