"""Magnifications of training and test sets: what is left out, and the matrix over runs."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hf_breakhis.arguments import DataArguments
from hf_breakhis.cli import main
from hf_breakhis.data.filenames import MAGNIFICATIONS
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.data.splits import Fold, with_magnifications
from hf_breakhis.files import InputError

pytestmark = pytest.mark.usefixtures("small_reports")

OWN = np.array([name.rsplit("-", 2)[1] + "X" for name in expected_file_names()[::40]])
SOME = st.lists(st.sampled_from(list(MAGNIFICATIONS)), unique=True)


@given(SOME, SOME, st.integers(0, 1000))
def test_parts_keep_the_magnifications_asked_for_and_no_row_is_lost(train, test, seed):
    parts = np.array_split(np.random.default_rng(seed).permutation(len(OWN)), 4)
    names = ("train", "validation", "test", "reserve")
    fold = Fold(0, **{name: np.sort(rows) for name, rows in zip(names, parts, strict=True)})
    found = with_magnifications(fold, OWN, train, test)
    for name, wanted in zip(names, (train, train, test, []), strict=True):
        expected = [row for row in getattr(fold, name) if not wanted or OWN[row] in wanted]
        assert getattr(found, name).tolist() == expected
    everything = np.concatenate([getattr(found, name) for name in (*names, "unused")])
    assert sorted(everything) == list(range(len(OWN)))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"magnifications": ["40X", "100X"], "train_magnifications": ["200X"]},
            r"`train_magnifications` has \['200X'\]",
        ),
        ({"test_magnifications": ["40X", "40X"]}, "contains 40X twice"),
        ({"train_magnifications": ["40X"], "fold": "refit"}, "leave `train_magnifications` out"),
    ],
)
def test_magnifications_that_cannot_be_are_refused(fields, line):
    with pytest.raises(InputError, match=line):
        DataArguments(**fields)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_run_on_some_magnifications_is_resumed(run_fields, tmp_path, part):
    """The second fold reads folds.csv, where specimens have images that are used and images that are not."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**run_fields, "num_train_epochs": 1}))
    for fold in ("0", "1"):
        flags = [f"--{part}_magnifications", "40X", "200X", "--fold", fold]
        assert main(["train", str(path), "--output_dir", str(tmp_path / "run"), *flags]) == 0
    test = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert set(test["magnification"]) == ({"40X", "200X"} if part == "test" else set(MAGNIFICATIONS))
    assert set(test["fold"]) == {0, 1}


def test_two_runs_give_a_matrix_of_magnifications(run_fields, tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**run_fields, "num_train_epochs": 1}))
    for name in ("40X", "400X"):
        argv = ["train", str(path), "--output_dir", str(tmp_path / name), "--train_magnifications", name]
        assert main(argv) == 0
        assert main(argv) == 0, "the same command finds the run finished"
        folds = pd.read_csv(tmp_path / name / "folds.csv")
        at = folds["file_name"].str.rsplit("-", n=2).str[1] + "X"
        assert set(at[folds["part"] == "train"]) == {name}
        assert set(at[folds["part"] == "test"]) == set(MAGNIFICATIONS)
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "40X"), str(tmp_path / "400X"), "--output_dir", str(tmp_path / "c")]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("400X (400X)"))
    test = pd.read_csv(tmp_path / "400X" / "predictions.csv")
    right = (test["label"] == test["predicted"]).groupby(test["magnification"]).mean()
    assert row.split()[2:] == [f"{right[name]:.3f}" for name in MAGNIFICATIONS]
    for part in ("train", "test"):
        argv += [f"--{part}_magnifications", "200X"]
    assert main([*argv, "--output_dir", str(tmp_path / "200X")]) == 0
    assert main(["compare", str(tmp_path / "200X"), str(tmp_path / "40X"), "--output_dir", str(tmp_path / "d")]) == 0
    found = json.loads((tmp_path / "d" / "comparison.json").read_text())
    assert found["tested_magnifications"] == list(MAGNIFICATIONS), "also those that one run does not test"
    page = (tmp_path / "c" / "comparison.html").read_text()
    assert "Trained and tested magnifications" in page
    found = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert found["runs"][0]["by_magnification"]["40X"]["value"] is not None
