"""Estimands: which quantity an interval is about, and how often such intervals contained it in a simulation."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from hf_breakhis.files import read_json

COVERAGE = Path(__file__).with_name("coverage.json")


class Estimand(StrEnum):
    """What a confidence interval is about."""

    MODELS = "models"
    RECIPE = "recipe"
    REFIT = "refit"


class Estimate(TypedDict):
    """A score with its 95 % confidence interval, as summary.json holds it."""

    value: float | None  # None where the score is not defined
    low: float | None  # both ends are None where there is no interval
    high: float | None
    p_value: NotRequired[float | None]  # of a difference from 0
    models_low: NotRequired[float | None]  # about the trained models, where the others are about the recipe
    models_high: NotRequired[float | None]


def interval_of(estimate: Estimate) -> Estimate:
    """Return an estimate without what it has besides its value and its interval."""
    return {"value": estimate["value"], "low": estimate["low"], "high": estimate["high"]}


def transformed(estimate: Estimate, function: Callable[[float], float], falls: bool = False) -> Estimate:
    """Return an estimate on another scale, by a function that rises, or that falls, which exchanges the ends."""

    def on_scale(value: float | None) -> float | None:
        return None if value is None else float(function(value))

    low, high = on_scale(estimate["low"]), on_scale(estimate["high"])
    low, high = (high, low) if falls else (low, high)
    return {"value": on_scale(estimate["value"]), "low": low, "high": high}


_MEANING = {
    Estimand.MODELS: "the score of these trained models on new {group}s",
    Estimand.RECIPE: "the score of the recipe: newly trained models on new {group}s",
    Estimand.REFIT: "the score of the model trained on all images, which no test set of this run measures",
}


def meanings(interval: Mapping[str, Any]) -> dict[str, str]:
    """Return what an interval of each estimand is about, in words.

    Args:
        interval: of summary.json; its `group` is what was resampled: "specimen", "patient" or "image".
    """
    group = interval.get("group") or "specimen"
    return {str(estimand): words.format(group=group) for estimand, words in _MEANING.items()}


# By what the variance over specimens is multiplied. Training adds about as much variance as testing does: with 2, the
# simulation of benchmarks/coverage_training.py comes nearest to the nominal coverage in most settings.
INFLATION = {Estimand.MODELS: 1.0, Estimand.RECIPE: 2.0}


def estimand_of(protocol: Mapping[str, Any], group: str) -> tuple[Estimand, str | None]:
    """Return what the intervals of a run can be about, and why not about the recipe; None where they are.

    Args:
        protocol: of the summary: `split_by`, `carry_over` and `folds_present` are read.
        group: what is resampled, "specimen", "patient" or "image".
    """
    if protocol["carry_over"] != "none":
        return Estimand.MODELS, "the model was carried over from fold to fold."
    if protocol["split_by"] not in ("specimen", "patient") or group == "image":
        return Estimand.MODELS, "training and test sets may share patients or overlap between folds."
    if len(protocol["folds_present"]) < 2:
        return Estimand.MODELS, "a single fold trains a single model."
    return Estimand.RECIPE, None


@cache
def measured_coverage() -> dict[str, dict[str, list[float]]]:
    """Return, by estimand and score, the lowest and highest coverage of 95 % intervals over the simulated settings.

    Source:
        benchmarks/coverage_training.py, whose table is in docs/statistics.md.
    """
    found: dict[str, dict[str, list[float]]] = read_json(COVERAGE)["coverage"]
    return found
