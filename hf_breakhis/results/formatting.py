"""How numbers and names are written, the same in the report, the figures and the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_breakhis.data.filenames import MAGNIFICATIONS, TUMOR_TYPES
from hf_breakhis.data.sources.about import source_of

ABSENT = "\N{EN DASH}"
RESEARCH_ONLY = "Research software: not for diagnosis."
PATIENT = "a patient is one of the 82 slide folders of BreakHis, as its authors count patients"
SPECIMEN = "a specimen is one tissue number; slide folders that differ only in their letters are one specimen"
MEASURES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "mcc": "Matthews correlation",
    "brier": "Brier score",
    "recognition_rate": "Recognition rate",
    "accuracy_of_mean_probability": "Patient accuracy of the mean probability",
    "roc_auc_of_mean_probability": "Patient ROC AUC of the mean probability",
}
LEVELS = {
    "image": "patients may be on both sides of a split",
    "patient": "no slide folder is on both sides of a split",
    "specimen": "no specimen is on both sides of a split",
    "official": "the five hold-outs published with BreakHis",
}


def group_words(data: Mapping[str, Any]) -> dict[str, str]:
    """What a patient and a specimen are in the data of a run: slide folders only in data named as BreakHis is."""
    if source_of(data).has_breakhis_names:
        return {"patient": PATIENT, "specimen": SPECIMEN}
    return {
        "patient": "a patient is one patient_id of the data",
        "specimen": "a specimen is one specimen_id of the data",
    }


def rate_name(key: str, name: str, classes: Sequence[str]) -> str:
    """The name of a rate with the class that it is the recall of: "Sensitivity (malignant)"; other names as they are.

    Args:
        key: name of the score in summary.json.
        name: how it is written.
        classes: names in the order of the labels; of two, the last is the positive one.
    """
    if key not in ("sensitivity", "specificity") or len(classes) != 2:
        return name
    return f"{name} ({classes[key == 'sensitivity']})"


def score(value: float | None, digits: int = 3) -> str:
    """A share with a fixed number of digits; a dash for what is undefined."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign; a dash for what is undefined."""
    return ABSENT if value is None else f"{value:+.{digits}f}"


def count(value: float | None) -> str:
    """A number of things, with commas; a mean of counts keeps one digit."""
    if value is None:
        return ABSENT
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """A share as per cent, with a digit where whole numbers would hide that it is not all or nothing."""
    if value is None:
        return ABSENT
    return f"{100 * value:.1f} %" if 0 < value < 0.01 or 0.99 < value < 1 else f"{100 * value:.0f} %"


def lora_words(recipe: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """Rank of the adapters of a run and the share of trained parameters; empty for a run without adapters.

    Args:
        recipe: the fields of the run.
        protocol: of the summary.
    """
    lora = recipe.get("lora")
    if lora is None:
        return ""
    name = f"LoRA of rank {lora.get('r', 8)}"
    if "parameters" not in protocol:
        return name
    share = 100 * protocol["trained_parameters"] / protocol["parameters"]
    return f"{name}: {share:.3g} % of the parameters trained"


def spread(mean: float | None, sd: float | None, digits: int = 3) -> str:
    """Mean and standard deviation over folds; a single fold has no deviation."""
    return score(mean, digits) if sd is None else f"{score(mean, digits)} ± {score(sd, digits)}"


def interval(estimate: dict[str, Any] | None, digits: int = 3, is_difference: bool = False) -> str:
    """The interval of an estimate, or a dash; the ends of a difference have signs."""
    if not estimate or estimate.get("low") is None:
        return ABSENT
    if is_difference:
        return f"{signed(estimate['low'], digits)} to {signed(estimate['high'], digits)}"
    return f"{score(estimate['low'], digits)} to {score(estimate['high'], digits)}"


def value_of(estimate: dict[str, Any] | float | None) -> float | None:
    """The point of an estimate that may be a bare number."""
    return estimate.get("value") if isinstance(estimate, dict) else estimate


def things(number: float | None, noun: str) -> str:
    """A number and its noun: 1 fold, 3 folds."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def in_breakhis_order(counts: dict[str, Any]) -> dict[str, Any]:
    """Counts by magnification or tumour type in the order of BreakHis; other names keep theirs and come last."""
    order = [*MAGNIFICATIONS, *TUMOR_TYPES]
    return dict(sorted(counts.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def tumor_name(letters: str, is_breakhis: bool = True) -> str:
    """The long name of a tumour type of BreakHis with its letters; other names stay as they are."""
    if not is_breakhis:
        return letters
    return f"{TUMOR_TYPES[letters]} ({letters})" if letters in TUMOR_TYPES else letters
