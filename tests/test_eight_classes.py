"""The eight tumour types, from the recipe to the report: no fold goes without a class silently."""

import json

import pandas as pd
import pytest

from hf_breakhis.cli import main
from hf_breakhis.data.filenames import TUMOR_TYPES

pytestmark = pytest.mark.usefixtures("small_reports")

TINY = [
    "c3", "--dataset", "twin", "--twin_kwargs", '{"scale": 0.01, "width": 70, "height": 46}', "--image_size", "32",
    "--init", "random", "--num_train_epochs", "1", "--use_cpu", "--dataloader_num_workers", "0",
    "--disable_tqdm", "true", "--target", "tumor_type", "--split_by", "specimen", "--stratify", "true",
    "--model_kwargs", '{"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}',
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eight") / "run"
    assert main(["train", *TINY, "--num_folds", "2", "--output_dir", str(folder)]) == 0
    return folder


def test_every_fold_tests_every_class(run):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["classes"] == list(TUMOR_TYPES)
    for report in summary["image"]["per_fold"]:
        assert list(report["per_class"]) == list(TUMOR_TYPES)
        assert all(row["support"] > 0 for row in report["per_class"].values())
        assert len(report["confusion_matrix"]) == 8
    assert set(summary["image"]["roc"]["one_vs_rest"]) == set(TUMOR_TYPES)
    assert 0 <= summary["patient"]["pooled"]["recognition_rate"]["value"] <= 1
    assert summary["positive_class"] is None


def test_a_specimen_of_two_types_stays_on_one_side(run):
    folds = pd.read_csv(run / "folds.csv", dtype=str)
    for specimen in ("14-29960", "14-21998", "14-13412"):
        own = folds[folds["specimen_id"] == specimen]
        assert own["label"].nunique() == 2
        assert (own.groupby("fold")["part"].nunique() == 1).all()


def test_eight_classes_have_a_temperature_and_no_threshold(run):
    decision = json.loads((run / "decision.json").read_text())
    assert decision["threshold"] is None
    assert decision["temperature"] > 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "8 classes have no threshold" in page


def test_more_folds_than_the_rarest_class_has_specimens_are_refused(tmp_path, capsys):
    assert main(["train", *TINY, "--num_folds", "5", "--output_dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "Class A has 2 specimens, too few for num_folds=5; at most 2 are possible: set num_folds=2." in error


def test_eight_classes_are_predicted_by_name(run, tmp_path, capsys):
    assert main(["data", "twin", str(tmp_path / "t"), "--scale", "0.001", "--width", "48", "--height", "32"]) == 0
    images = next((tmp_path / "t").rglob("40X"))
    assert main(["predict", str(run), str(images), "--output", str(tmp_path / "scores.csv")]) == 0
    table = pd.read_csv(tmp_path / "scores.csv")
    assert {f"prob_{name}" for name in TUMOR_TYPES} <= set(table.columns)
