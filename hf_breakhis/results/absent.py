"""Scores that need probabilities, removed from a summary of predicted classes."""

from collections.abc import Mapping
from typing import Any

NEED_PROBABILITIES = (
    "roc_auc",
    "average_precision",
    "brier",
    "accuracy_of_mean_probability",
    "roc_auc_of_mean_probability",
    "mean_probability",
)
REASON = "There are only predicted classes. A threshold and a temperature need probabilities."
NO_PROBABILITIES = (
    "The predictions are classes without probabilities. ROC AUC, average precision, Brier score, calibration and "
    "threshold are absent."
)


def has_classes_only(recipe: Mapping[str, Any]) -> bool:
    """Say whether the predictions of a run are classes without probabilities."""
    return recipe.get("scores") == "classes"


def without_probabilities(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a summary whose scores of probabilities are None."""
    kept: dict[str, Any] = _without(summary)
    kept["image"]["roc"] = {}
    if kept["patient"] is not None:
        kept["patient"]["roc"] = None
    absent = dict.fromkeys(("ece", "brier", "brier_parts", "temperature"))
    kept["calibration"] = {**absent, "bins": [], "temperature_reason": REASON}
    return kept


def _without(value: Any) -> Any:
    if isinstance(value, list):
        return [_without(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: _nothing(item) if name in NEED_PROBABILITIES else _without(item) for name, item in value.items()}


def _nothing(value: Any) -> Any:
    return dict.fromkeys(value) if isinstance(value, dict) else None
