"""The short form of benchmarks/controls.py: a premium appears only where patients differ."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("scores_only", "few_resamples")  # only values are compared

_spec = importlib.util.spec_from_file_location("controls", Path(__file__).parents[2] / "benchmarks" / "controls.py")
controls = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(controls)
controls.TWIN["scale"] = 0.05  # half the images
SEED = 1001  # not one of those the figures stand for


def test_patients_without_classes_score_high_by_image_alone(tmp_path):
    """The classes do not differ in these images: a high AUC comes from the patients."""
    row = controls.hold_outs("patients only", SEED, tmp_path)
    assert row["image roc_auc"] > 0.85
    assert abs(row["specimen roc_auc"] - 0.5) < 0.3, "one seed scatters by .1; thirty are in the figures"
    assert row["premium"] > 0.1


def test_classes_without_patients_have_no_premium(tmp_path):
    row = controls.hold_outs("classes only", SEED, tmp_path)
    assert row["specimen roc_auc"] > 0.7, "there is something to learn"
    assert abs(row["premium"]) < 0.1


def test_patients_beside_classes_give_a_premium(tmp_path):
    row = controls.hold_outs("both", SEED, tmp_path)
    assert row["image roc_auc"] > 0.8
    assert row["premium"] > 0.05


def test_a_carried_model_climbs_on_what_it_has_seen_and_a_fresh_one_does_not(tmp_path):
    """The paper's .79, .93, .97 are consistent with this; the part set aside is what the model has not seen."""
    climbs = {}
    for way, fields in (("carried", {"carry_over": "model"}), ("fresh", {})):
        twin = {**controls.TWIN, **controls.TWINS["classes only"], "seed": SEED}
        summary = controls.score(tmp_path / way, SEED, **{**controls.CARRIED, **fields}, twin_kwargs=twin)
        for part, level in (("test", summary["image"]), ("reserve", summary["reserve"])):
            first, last = (level["per_fold"][fold]["accuracy"] for fold in (0, -1))
            climbs[way, part] = last - first
    assert climbs["carried", "test"] > 0.05
    assert climbs["carried", "test"] > climbs["carried", "reserve"] + 0.05
    assert abs(climbs["fresh", "test"]) < 0.1


CAME_OUT = {
    "fresh test climb": 0.0, "fresh reserve climb": 0.0, "carried test climb": 0.15,
    "carried climb beyond reserve": 0.15, "reserve beyond longer training": 0.0,
}  # fmt: skip


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
        ("carried", CAME_OUT, True),
        ("carried", CAME_OUT | {"fresh test climb": 0.05}, False),
        ("carried", CAME_OUT | {"carried test climb": 0.0}, False),
        ("carried", CAME_OUT | {"carried climb beyond reserve": 0.0}, False),
        ("carried", CAME_OUT | {"reserve beyond longer training": 0.05}, False),
    ],
)
def test_what_was_declared_can_fail(name, means, holds):
    intervals = {key: {"mean": mean, "low": mean - 0.01, "high": mean + 0.01} for key, mean in means.items()}
    assert controls.holds(name, intervals) is holds
