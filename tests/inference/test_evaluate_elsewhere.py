"""Models that learned something, evaluated on images from elsewhere, under simulated shifts, and from the Hub."""

import json
import shutil

import pandas as pd
import pytest

from hf_breakhis.cli import main
from hf_breakhis.inference.evaluation.shifts import evaluate_shifts
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.summary import summarise
from hf_breakhis.training.crossval import cross_validate

pytestmark = pytest.mark.usefixtures("small_figures")

SIZE = {"width": 70, "height": 46}
SIGNAL = {"scale": 0.03, "class_signal": 2, "patient_effect": 1, "noise": 1, **SIZE}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose models tell the classes of its twin apart; tests only read it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    fields = {
        "dataset": "twin", "twin_kwargs": SIGNAL, "split_by": "specimen", "stratify": True, "num_folds": 2,
        "image_size": 32, "init": "random", "learning_rate": 0.01, "optimizer_name": "adamw", "num_train_epochs": 12,
        "model_kwargs": {"layer_type": "basic", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
        "batch_size": 32, "use_cpu": True, "bf16": False, "disable_tqdm": True, "output_dir": str(folder),
    }  # fmt: skip
    cross_validate(build_recipe(fields, {}))
    summarise(folder)
    return folder


def drop_of(run, folder, stain, score="balanced_accuracy"):
    twin = json.dumps({**SIGNAL, "seed": 1, "stain": stain})
    arguments = ["evaluate", str(run), "--dataset", "twin", "--twin_kwargs", twin, "--output_dir", str(folder)]
    assert main(arguments) == 0
    rows = json.loads((folder / "summary.json").read_text())["evaluation"]["scores"]
    return {row["score"]: row for row in rows}[score]


def test_another_stain_lowers_the_score_and_the_same_stain_does_not(trained, tmp_path):
    """Other patients in both cases, so that the stain is the only difference between them."""
    same = drop_of(trained, tmp_path / "same", 0)
    other = drop_of(trained, tmp_path / "other", 2)
    assert same["internal"]["value"] > 0.75
    assert same["difference"]["low"] < 0 < same["difference"]["high"]
    assert other["difference"]["high"] < 0
    assert other["external"]["high"] < same["external"]["low"]


def test_a_paler_stain_lowers_the_scores_of_a_trained_network_and_a_slight_blur_does_not(trained, tmp_path):
    """The classes of the twin differ in colour, and a blur of 0.14 pixels changes next to nothing."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    found = evaluate_shifts(copy, ["stain", "blur"])
    rows = {(row["shift"], row["strength"]): row for row in found["rows"]}
    area = json.loads((trained / "summary.json").read_text())["image"]["pooled"]["roc_auc"]["value"]
    areas = [area, *(rows["stain", strength]["scores"]["roc_auc"]["value"] for strength in (1, 2, 3))]
    assert found["plain"]["scores"]["roc_auc"]["value"] == pytest.approx(area, abs=1e-6)
    assert area > 0.85
    assert areas == sorted(areas, reverse=True)
    strong, slight = rows["stain", 3], rows["blur", 1]
    assert strong["difference"]["roc_auc"]["high"] < 0
    assert strong["flipped"]["low"] > 0.2
    assert abs(slight["difference"]["roc_auc"]["value"]) < 0.005
    assert slight["difference"]["roc_auc"]["high"] >= 0
    assert slight["flipped"]["value"] < 0.02


def test_images_of_rcl_7500_that_the_model_was_trained_on_are_excluded(run, tmp_path):
    """Its twin has turned copies of images of BreakHis under names that say nothing, and `truth.csv` says of which."""
    folder = tmp_path / "rcl"
    twin = json.dumps({"scale": 0.01, **SIZE})
    arguments = ["evaluate", str(run), "--dataset", "rcl7500_twin", "--twin_kwargs", twin]
    assert main([*arguments, "--output_dir", str(folder)]) == 0
    place = json.loads((folder / "data.json").read_text())["location"]
    truth = pd.read_csv(f"{place}/truth.csv").set_index("file_name")["original"]
    folds = pd.read_csv(run / "folds.csv").query("fold == 0 and part == 'train'")
    excluded = set(pd.read_csv(folder / "excluded.csv")["file_name"])
    assert excluded == set(truth.index[truth.isin(folds["file_name"])])
    scored = pd.read_csv(folder / "predictions.csv").query("part == 'test'")
    assert 0 < len(scored) == len(truth) - len(excluded)


def test_a_model_on_the_hub_is_evaluated_as_its_folder_is(at_loopback, put_model, write_model, tmp_path):
    model = write_model()
    put_model(model, "user/small")
    twin = json.dumps({"scale": 0.01, **SIZE})
    found = []
    for name, place in ((str(model), "folder"), ("user/small", "hub")):
        folder = tmp_path / place
        assert main(["evaluate", name, "--dataset", "twin", "--twin_kwargs", twin, "--output_dir", str(folder)]) == 0
        found.append((folder / "predictions.csv").read_bytes())
        about = json.loads((folder / "evaluation.json").read_text())
        assert about["model"]["name"] == name
        assert not about["training"]["is_known"]
    assert found[0] == found[1]
    assert about["model"]["revision"] == at_loopback.repos["model", "user/small"].commits[-1][0]
    assert about["model"]["revision"] in (folder / "report.html").read_text()
