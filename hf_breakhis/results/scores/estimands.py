"""Estimands: which quantity an interval is about, and how often such intervals contained it in a simulation."""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from hf_breakhis.files import read_json

COVERAGE = Path(__file__).with_name("coverage.json")


class Estimand(StrEnum):
    """What a confidence interval is about."""

    MODELS = "models"
    RECIPE = "recipe"
    REFIT = "refit"


MEANING = {
    Estimand.MODELS: "the score of these trained models on new specimens",
    Estimand.RECIPE: "the score of the recipe: newly trained models on new specimens",
    Estimand.REFIT: "the score of the model trained on all images, which no test set of this run measures",
}

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
