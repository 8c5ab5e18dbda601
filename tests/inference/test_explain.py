"""Heat maps of a run: which images, whether a map points at what moves the score, and where the report finds them."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from transformers.modeling_outputs import ImageClassifierOutput

from hf_breakhis.cli import main
from hf_breakhis.files import read_json
from hf_breakhis.inference.explain import area, choose_explained, deletion_curve, num_better
from hf_breakhis.results.report.explained import read_explained
from hf_breakhis.run import Run


class LeftHalf(nn.Module):
    """Class 1 scores the variance of the left half."""

    def forward(self, pixel_values):
        score = 10 * pixel_values[..., :16].var((1, 2, 3)) - 2
        return ImageClassifierOutput(logits=torch.stack([-score, score], dim=1))


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    """A copy of the run with maps of fold 0, written by the command."""
    copy = shutil.copytree(trained_run, tmp_path_factory.mktemp("explain") / "run")
    assert main(["explain", str(copy), "--num_images", "2", "--num_curves", "3"]) == 0
    return copy


def test_a_map_of_what_moves_the_score_falls_faster_than_one_of_the_rest():
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    good = torch.zeros(32, 32)
    good[:, :16] = 1
    rng = torch.rand(32, 32, generator=torch.Generator().manual_seed(1))
    curves = {name: deletion_curve(LeftHalf(), image, 1, heat)
              for name, heat in (("good", good), ("random", rng), ("bad", 1 - good))}  # fmt: skip
    assert area(curves["good"]) < area(curves["random"]) < area(curves["bad"])
    assert all(curve[0] == pytest.approx(curves["good"][0]) for curve in curves.values())
    assert all(curve[-1] == pytest.approx(curves["good"][-1]) for curve in curves.values())


def test_the_area_of_a_straight_fall_is_one_half():
    assert area(np.linspace(1, 0, 17)) == pytest.approx(0.5)


def test_the_most_confident_of_each_kind_are_chosen():
    prob = np.array([0.9, 0.8, 0.6, 0.3, 0.05])
    test = pd.DataFrame({"file_name": list("abcde"), "label": [1, 0, 1, 1, 0], "predicted": (prob > 0.5).astype(int),
                         "prob_benign": 1 - prob, "prob_malignant": prob})  # fmt: skip
    assert [(row["file_name"], row["kind"]) for row in choose_explained(test, 1)] == [("b", "wrong"), ("e", "right")]


def test_misses_are_shown_beside_surer_false_alarms():
    prob = np.array([0.99, 0.98, 0.97, 0.45, 0.9, 0.9, 0.3])
    test = pd.DataFrame({"file_name": list("abcdefg"), "label": [0, 0, 0, 1, 1, 1, 0],
                         "predicted": (prob > 0.5).astype(int),
                         "prob_benign": 1 - prob, "prob_malignant": prob})  # fmt: skip
    assert [row["file_name"] for row in choose_explained(test, 2)] == ["a", "d", "e", "g"]
    assert [row["file_name"] for row in choose_explained(test, 3)] == ["a", "d", "b", "e", "g", "f"]
    only_alarms = test[test["file_name"] != "d"].reset_index(drop=True)
    assert [row["file_name"] for row in choose_explained(only_alarms, 2)] == ["a", "b", "e", "g"]


def test_pictures_and_their_index_lie_in_the_fold(run):
    folder = run / "fold-0" / "explain"
    index = read_json(folder / "index.json")
    assert index["methods"] == ["grad_cam", "occlusion"]
    assert set(index["deletion"]["area"]) == {"grad_cam", "occlusion", "random"}
    named = {name for row in index["images"] for name in row["pictures"].values()}
    assert named == {path.name for path in folder.glob("*.png")}
    for name in named:
        with Image.open(folder / name) as picture:
            assert picture.size == (32, 32)
    test = pd.read_csv(run / "fold-0" / "predictions.csv").query("part == 'test'")
    assert {row["file_name"] for row in index["images"]} <= set(test["file_name"])


def test_the_report_shows_them_and_says_whether_they_point_at_the_score(run):
    page = (run / "report.html").read_text()
    assert "Where the model looks" in page
    assert "random order 0." in page
    assert page.count('alt="Grad-CAM of') == len(read_json(run / "fold-0" / "explain" / "index.json")["images"])


def test_a_report_without_maps_has_no_such_part(trained_run):
    assert "Where the model looks" not in (trained_run / "report.html").read_text()


def test_maps_of_other_weights_are_not_shown(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    assert len(read_explained(Run(copy))) == 1
    with (copy / "fold-0" / "model" / "model.safetensors").open("ab") as file:
        file.write(b"0")
    assert read_explained(Run(copy)) == []


def test_a_refit_has_no_test_images(run, capsys):
    shutil.copytree(run / "fold-0" / "model", run / "refit" / "model")
    shutil.copyfile(run / "fold-0" / "metrics.json", run / "refit" / "metrics.json")
    Run(run).seal()
    assert main(["explain", str(run), "--fold", "refit"]) == 2
    assert "has no test set" in capsys.readouterr().err


def test_a_difference_that_rounds_to_nothing_is_not_called_smaller():
    assert num_better([0.585] * 8, [0.586] * 8) == 0
    assert num_better([0.5, 0.585, 0.6], [0.586] * 3) == 1
