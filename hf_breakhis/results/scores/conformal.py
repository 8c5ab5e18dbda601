"""Zones low, uncertain and high by split conformal prediction over specimens, with a guarantee or none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import classes_of
from hf_breakhis.results.scores.calibration import other_folds
from hf_breakhis.results.scores.decisions import AGGREGATIONS, Cases, gather_cases, unit_of
from hf_breakhis.results.scores.intervals import LEVEL, choose_groups

ERROR = 0.1
ZONES = ("low", "uncertain", "high")
FIXED = (
    "One model scored all of these specimens, so the guarantee is that of split conformal prediction. It is about new "
    "specimens that are exchangeable with them: same laboratory, same selection of patients."
)
CROSS_VALIDATED = (
    "Models of several folds scored these specimens. The zones are those of a refit, a model trained on all of them. "
    "The theorem of split conformal prediction is about one fixed model, so it does not prove them. In simulations "
    "with 16 benign and 54 malignant specimens a refit kept the guarantee within the error of the simulation; the "
    "model of one fold put up to 7.7 % of the benign ones in zone high for a guarantee of 6 % (docs/decisions.md). So "
    "`predict` gives zones with a refit only. New specimens have to be exchangeable with these: same laboratory, same "
    "selection of patients."
)
NO_CHECK = (
    "The zones were not checked by cross-fitting: when one fold is left out, only {number} {group}s of a class "
    "remain. A guarantee of {smallest:g} % or more could be checked."
)


@dataclass(frozen=True)
class Zones:
    """Two thresholds of the score of a patient or specimen.

    Attributes:
        low_below: below it malignant is excluded.
        high_above: above it benign is excluded.
    """

    low_below: float
    high_above: float

    def place(self, score: np.ndarray) -> np.ndarray:
        """Return 0 (low), 1 (uncertain) or 2 (high) for each score, (n,); uncertain if both or none is excluded."""
        low, high = np.asarray(score) < self.low_below, np.asarray(score) > self.high_above
        return np.where(low & ~high, 0, np.where(high & ~low, 2, 1))


def parse_error(text: str) -> float:
    """Read the largest share of errors that is guaranteed, above 0 and below 1.

    Raises:
        InputError: the text is not such a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise InputError(
            f"--guarantee is {text!r}; allowed is a number above 0 and below 1: the largest share of malignant "
            "specimens in zone low, and of benign specimens in zone high. Give one such as 0.1."
        )
    return value


def specimens_needed(error: float) -> int:
    """Return how many specimens of a class a guarantee needs: the least n with 1 / (n + 1) <= error."""
    return math.ceil(1 / error - 1 - 1e-9)


def worst_scores(cases: Cases, label: int) -> np.ndarray:
    """Return one score for each specimen with cases of a class, that of the case least like the class."""
    own = cases.labels == label
    _, groups = np.unique(cases.groups[own], return_inverse=True)
    side = 1 if label == 0 else -1
    worst = np.full(groups.max(initial=-1) + 1, -np.inf)
    np.maximum.at(worst, groups, side * cases.score[own])
    result: np.ndarray = side * worst
    return result


def fit_zones(cases: Cases, error: float) -> Zones | None:
    """Return the zones for which at most `error` of the malignant specimens are low, and of the benign ones high.

    Of n specimens of a class, k = floor(error * (n + 1)) may be beyond the threshold. A new specimen that is
    exchangeable with them is beyond it with probability k / (n + 1) at most, for each class by itself. Each specimen
    counts with its worst patient, so the bound holds for all patients of a specimen together.

    Args:
        cases: patients or specimens with their specimen as group.
        error: between 0 and 1.

    Returns:
        None where a class has too few specimens for `error`.

    Source:
        Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World; class-conditional: Vovk 2012, ACML.
    """
    ends = []
    for label in (1, 0):
        worst = np.sort(worst_scores(cases, label))
        allowed = math.floor(error * (len(worst) + 1) + 1e-9)
        if allowed < 1:
            return None
        ends.append(float(worst[allowed - 1] if label == 1 else worst[-allowed]))
    return Zones(*ends)


def require_support(counts: Mapping[str, int], error: float) -> str | None:
    """Return why specimens of each class cannot support a guarantee, or None if they can.

    Args:
        counts: number of specimens of each class by its name.
        error: the guarantee.
    """
    needed = specimens_needed(error)
    few = [f"{number} {name}" for name, number in counts.items() if number < needed]
    if not few:
        return None
    smallest = 1 / (min(counts.values()) + 1)
    return (
        f"A guarantee of {100 * error:g} % needs {needed} specimens of each class; there are {' and '.join(few)} "
        f"ones. The smallest that these support is {100 * smallest:.1f} %: give --guarantee "
        f"{math.ceil(1000 * smallest) / 1000:g} or more."
    )


def describe_zones(
    test: pd.DataFrame, decision: Mapping[str, Any], error: float, one_model: bool = False
) -> dict[str, Any]:
    """Return the zones of a run, and how they did on folds that were left out.

    Args:
        test: test predictions of two classes.
        decision: decision.json with `temperature`, `threshold` and the cross-fitted values of each fold.
        error: largest share of a class in the wrong zone.
        one_model: whether a single model scored all specimens. Then nothing that was fitted on them is used: neither
            temperature nor threshold, but 1 and 0.5.

    Returns:
        `error`, `reason` (why there are none), `unit`, `group`, `num_specimens`, `guarantee` (in words), `is_exact`
        (whether the theorem holds), `zones` (thresholds by aggregation) and `cross_fitted` (see `check_zones`).
    """
    unit, reason = unit_of(test)
    empty: dict[str, Any] = {
        "error": error, "reason": reason, "unit": unit, "group": choose_groups(test).level, "num_specimens": {},
        "guarantee": None, "is_exact": one_model, "zones": {}, "cross_fitted": {}, "cross_fitted_reason": None,
    }  # fmt: skip
    if unit is None:
        return empty
    decision = _not_fitted(decision) if one_model else decision
    fitted = float(decision["temperature"]), float(decision["threshold"])
    cases = {name: gather_cases(test, *fitted, name, unit) for name in AGGREGATIONS}
    counts = {name: len(worst_scores(cases["mean"], label)) for label, name in enumerate(classes_of(test))}
    refused = require_support(counts, error)
    if refused is not None:
        return empty | {"num_specimens": counts, "reason": refused}
    zones = {name: fit_zones(one, error) for name, one in cases.items()}
    checked = {name: check_zones(test, decision, error, name, unit) for name in AGGREGATIONS}
    return empty | {
        "num_specimens": counts,
        "guarantee": FIXED if one_model else CROSS_VALIDATED,
        "zones": {name: vars(one) for name, one in zones.items() if one is not None},
        "cross_fitted": {name: one for name, one in checked.items() if one is not None},
        "cross_fitted_reason": None if checked["mean"] is not None else _why_unchecked(test, decision, unit),
    }


def _why_unchecked(test: pd.DataFrame, decision: Mapping[str, Any], unit: str) -> str:
    """Say how many specimens of a class remain when a fold is left out, and which guarantee they support."""
    remaining = [
        len(worst_scores(gather_cases(other_folds(test, row["fold"]), 1.0, 0.5, "mean", unit), label))
        for row in decision["cross_fitted"]["per_fold"]
        for label in (0, 1)
    ]
    number = min(remaining)
    smallest = math.ceil(1000 / (number + 1)) / 10
    return NO_CHECK.format(number=number, group=choose_groups(test).level, smallest=smallest)


def _not_fitted(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decision without what was fitted on these specimens, which would break the theorem."""
    plain = {"temperature": 1.0, "threshold": 0.5}
    rows = [row | plain for row in decision["cross_fitted"]["per_fold"]]
    return {**decision, **plain, "cross_fitted": {**decision["cross_fitted"], "per_fold": rows}}


def check_zones(
    test: pd.DataFrame, decision: Mapping[str, Any], error: float, aggregation: str, unit: str
) -> dict[str, Any] | None:
    """Return how zones fitted on the other folds place the cases of each fold; None if a fold leaves too few.

    Returns:
        `positive_in_low` and `negative_in_high` (see `shares_in_zones`), `uncertain`, the share of the cases, and
        `counts`, the cases in each zone by class.
    """
    placed = place_cases(test, decision, error, aggregation, unit)
    if placed is None:
        return None
    label, place, group = placed
    counts = {
        name: {zone: int(((label == k) & (place == z)).sum()) for z, zone in enumerate(ZONES)}
        for k, name in enumerate(classes_of(test))
    }
    return shares_in_zones(label, place, group) | {"num_cases": len(label), "counts": counts}


def place_cases(
    test: pd.DataFrame,
    decision: Mapping[str, Any],
    error: float,
    aggregation: str,
    unit: str,
    judged: pd.DataFrame | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return class, zone (0 to 2) and specimen of each case, (n,) each; None if a fold leaves too few specimens.

    Args:
        test: predictions on which zones are fitted, those of the other folds.
        decision: with its cross-fitted temperatures and thresholds.
        error: the guarantee.
        aggregation: key of AGGREGATIONS.
        unit: "patient" or "specimen".
        judged: other predictions of the same rows, which are placed instead.
    """
    parts, codes = [], choose_groups(test).codes
    judged = test if judged is None else judged
    for row in decision["cross_fitted"]["per_fold"]:
        fold, fitted = row["fold"], (row["temperature"], row["threshold"])
        zones = fit_zones(gather_cases(other_folds(test, fold), *fitted, aggregation, unit), error)
        if zones is None:
            return None
        own = test["fold"].to_numpy() == fold
        cases = gather_cases(judged[own], *fitted, aggregation, unit, codes[own])
        parts.append((cases.labels, zones.place(cases.score), cases.groups))
    label, place, group = (np.concatenate(part) for part in zip(*parts, strict=True))
    return label, place, group


def shares_in_zones(label: np.ndarray, place: np.ndarray, group: np.ndarray) -> dict[str, Any]:
    """Return the shares of specimens with a case in the wrong zone, and the share of cases that are uncertain.

    `positive_in_low` and `negative_in_high` have binomial intervals over the specimens of the class. Their coverage is
    not exact, because zones of the other folds share specimens: benchmarks/zones.py.
    """
    return {
        "positive_in_low": _share(group[label == 1], place[label == 1] == 0),
        "negative_in_high": _share(group[label == 0], place[label == 0] == 2),
        "uncertain": float((place == 1).mean()),
    }


def _share(groups: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """Return the share of groups with a case that is wrong, with its binomial interval (Clopper and Pearson 1934)."""
    number, errors = len(np.unique(groups)), len(np.unique(groups[wrong]))
    bounds = binomtest(errors, number).proportion_ci(LEVEL, method="exact")
    return {"value": errors / number, "low": float(bounds.low), "high": float(bounds.high), "num_specimens": number}


def zones_of(decision: Mapping[str, Any], aggregation: str) -> Zones | None:
    """Return the zones that decision.json has for an aggregation; None if it has none."""
    found = ((decision.get("zones") or {}).get("zones") or {}).get(aggregation)
    return None if found is None else Zones(float(found["low_below"]), float(found["high_above"]))
