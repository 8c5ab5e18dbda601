"""The short form of benchmarks/controls.py: a premium appears where patients can be told apart, and only there."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("controls", Path(__file__).parents[2] / "benchmarks" / "controls.py")
controls = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(controls)
controls.TWIN["scale"] = 0.05  # half the images
SEED = 1001  # not one of those the figures stand for


def test_patients_without_classes_score_high_by_image_alone(tmp_path):
    """No class is in these pictures: a high AUC is knowledge of the patients."""
    row = controls.hold_outs("patients only", SEED, tmp_path)
    assert row["image roc_auc"] > 0.85
    assert abs(row["specimen roc_auc"] - 0.5) < 0.3, "one seed scatters by .1; thirty are in the figures"
    assert row["premium"] > 0.1


def test_classes_without_patients_have_no_premium(tmp_path):
    row = controls.hold_outs("classes only", SEED, tmp_path)
    assert row["specimen roc_auc"] > 0.7, "there is something to learn"
    assert abs(row["premium"]) < 0.1


@pytest.mark.parametrize(
    ("name", "means", "holds"),
    [
        ("patients only", {"specimen roc_auc": 0.52, "image roc_auc": 0.95}, True),
        ("patients only", {"specimen roc_auc": 0.58, "image roc_auc": 0.95}, False),
        ("patients only", {"specimen roc_auc": 0.52, "image roc_auc": 0.85}, False),
        ("classes only", {"premium": 0.0}, True),
        ("classes only", {"premium": 0.025}, False),
        ("both", {"premium": 0.2}, True),
        ("both", {"premium": 0.035}, False),
    ],
)
def test_what_was_declared_can_fail(name, means, holds):
    told = {key: {"mean": mean, "low": mean - 0.01, "high": mean + 0.01} for key, mean in means.items()}
    assert controls.holds(name, told) is holds
