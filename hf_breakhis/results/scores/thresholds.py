"""Thresholds: named rules for the probability from which on an image is called positive, and what they give."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from sklearn.metrics import roc_curve

from hf_breakhis.files import InputError
from hf_breakhis.results.scores.estimands import Estimand, Estimate, transformed
from hf_breakhis.results.scores.intervals import Scores, choose_groups, intervals
from hf_breakhis.results.scores.resampling import Predicted, image_scores

STATED = (0.01, 0.05, 0.2, 0.5)  # prevalences for errors per 1,000, unless others are given
PREVALENCES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
MEASURES = ("sensitivity", "specificity", "ppv", "npv")


@dataclass(frozen=True)
class Rule:
    """A rule by name, with its number where it has one."""

    name: str = "youden"
    value: float | None = None

    def __str__(self) -> str:
        """The rule as it is given: "youden", "sensitivity>=0.95", "cost=5"."""
        sign = {"sensitivity": ">=", "cost": "="}.get(self.name, "")
        return self.name if self.value is None else f"{self.name}{sign}{self.value:g}"

    def fit(self, labels: np.ndarray, score: np.ndarray) -> float:
        """Return the threshold that the rule chooses; labels (n,) of 0 and 1, score (n,) higher for 1."""
        return RULES[self.name](labels, score, self.value)


def parse_rule(text: str) -> Rule:
    """Read "youden", "sensitivity>=0.95" or "cost=5".

    Raises:
        InputError: it is none of them.
    """
    found = re.fullmatch(r"(youden)|(sensitivity)>=([0-9.]+)|(cost)=([0-9.]+)", text.replace(" ", ""))
    allowed = "give youden, sensitivity>=0.95 (any share below 1) or cost=5 (a miss costs 5 false alarms)."
    if found is None:
        raise InputError(f"`threshold_rule` is {text!r}; {allowed}")
    if found[1]:
        return Rule()
    name, number = (found[2], found[3]) if found[2] else (found[4], found[5])
    try:
        value = float(number)
    except ValueError as error:
        raise InputError(f"`threshold_rule` is {text!r}, and {number} is no number; {allowed}") from error
    if not (0 < value < 1 if name == "sensitivity" else 0 < value < 1e6):
        raise InputError(f"`threshold_rule` is {text!r}, and {number} is out of range; {allowed}")
    return Rule(name, value)


def youden(labels: np.ndarray, score: np.ndarray, value: float | None = None) -> float:
    """Return the threshold of the highest sensitivity + specificity - 1 (Youden 1950, Cancer 3(1))."""
    fpr, tpr, middles = _candidates(labels, score)
    return _nearest_half(middles, tpr - fpr)


def sensitivity_at_least(labels: np.ndarray, score: np.ndarray, value: float | None) -> float:
    """Return the threshold of the highest specificity among those whose sensitivity reaches `value`."""
    fpr, tpr, middles = _candidates(labels, score)
    enough = tpr >= (value or 0) - 1e-12
    return _nearest_half(middles[enough], -fpr[enough])


def least_cost(labels: np.ndarray, score: np.ndarray, value: float | None) -> float:
    """Return the threshold of the least total cost, where a missed positive costs `value` false alarms."""
    fpr, tpr, middles = _candidates(labels, score)
    missed, alarms = (1 - tpr) * (labels == 1).sum(), fpr * (labels == 0).sum()
    return _nearest_half(middles, -((value or 1) * missed + alarms))


# A new rule is a function, a line here, and its form in `parse_rule`.
RULES: dict[str, Callable[[np.ndarray, np.ndarray, float | None], float]] = {
    "youden": youden,
    "sensitivity": sensitivity_at_least,
    "cost": least_cost,
}


def _candidates(labels: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rates and thresholds; these lie midway between two scores, so as not to hang on the last digit of one."""
    fpr, tpr, scores = roc_curve(labels, score, drop_intermediate=False)
    return fpr, tpr, (np.minimum(scores, 1.0) + np.append(scores[1:], 0.0)) / 2


def _nearest_half(middles: np.ndarray, gain: np.ndarray) -> float:
    """Return the threshold of the highest gain; of several equally good ones the nearest to one half."""
    best = middles[np.isclose(gain, gain.max(), rtol=0, atol=1e-12)]
    return float(best[np.abs(best - 0.5).argmin()])


def operating_point(rows: pd.DataFrame, chosen: np.ndarray, estimand: Estimand = Estimand.MODELS) -> dict[str, Any]:
    """Return what decisions on test images amount to, each with its interval, and predictive values elsewhere.

    Args:
        rows: test predictions of two classes, whose groups are drawn for the intervals.
        chosen: (n,) 0 or 1, the decisions.
        estimand: what the intervals are about.

    Returns:
        sensitivity, specificity, `ppv` and `npv` (share of the images called positive, negative, that are), numbers of
        images and groups, the prevalence among the images, and `by_prevalence`: both predictive values if that share
        of images were positive, with sensitivity and specificity as they are here (see `predictive_values`).
    """
    groups = choose_groups(rows)
    labels = rows["label"].to_numpy()
    images = Predicted(labels, chosen, np.stack([1 - chosen, chosen], axis=1).astype(float), groups.codes)
    score = image_scores(images, ranked=False)

    def points(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = score(weights)
        sensitivity, specificity = found["sensitivity"], found["specificity"]
        values = {"sensitivity": sensitivity, "specificity": specificity}
        return values | {"ppv": found["per_class.malignant.precision"], "npv": found["per_class.benign.precision"]}

    rates = intervals(points, groups.count, classes=images.group_classes, estimand=estimand)
    return {
        **{name: rates[name] for name in MEASURES},
        "num_images": len(rows),
        "num_groups": groups.count,
        "group": groups.level,
        "prevalence": float(labels.mean()),
        "by_prevalence": predictive_values(points, rates, groups.count, images.group_classes, estimand),
    }


def predictive_values(
    points: Scores,
    rates: Mapping[str, Estimate],
    num_groups: int,
    classes: np.ndarray,
    estimand: Estimand = Estimand.MODELS,
) -> list[dict[str, Any]]:
    """Return PPV and NPV with their intervals if other shares of the images were positive, for each of `PREVALENCES`.

    The log odds of a predictive value are those of the prevalence plus the log of a likelihood ratio, sensitivity /
    (1 - specificity) for the PPV, so one interval of that log holds for every prevalence.

    Args:
        points: from weights (resamples, num_groups) to sensitivity and specificity, (resamples,) each.
        rates: sensitivity and specificity with their intervals.
        num_groups: number of groups.
        classes: (num_groups,) the class of each group.
        estimand: what the intervals are about.
    """
    ppv, npv = (
        _log_ratio(points, rates, right, other, num_groups, classes, estimand)
        for right, other in (("sensitivity", "specificity"), ("specificity", "sensitivity"))
    )
    return [{"prevalence": share, "ppv": _at(share, ppv), "npv": _at(1 - share, npv)} for share in PREVALENCES]


def _log_ratio(
    points: Scores,
    rates: Mapping[str, Estimate],
    right: str,
    other: str,
    num_groups: int,
    classes: np.ndarray,
    estimand: Estimand,
) -> Estimate:
    """Return the log of `right` / (1 - `other`) with its interval."""
    hits, errors = rates[right]["value"], rates[other]["value"]
    if hits is None or errors is None or hits == 0 == 1 - errors:
        return {"value": None, "low": None, "high": None}
    errors = 1 - errors
    if hits == 0 or errors == 0:  # an infinite log has one end, which follows from that of both rates
        end: Literal["low", "high"] = "high" if hits == 0 else "low"
        first, second = rates[right][end], rates[other][end]
        found = None if not first or second is None or second == 1 else float(np.log(first) - np.log1p(-second))
        limit = -np.inf if hits == 0 else np.inf
        known = limit if found is not None else None
        low, high = (known, found) if hits == 0 else (found, known)
        return {"value": limit, "low": low, "high": high}

    def change(weights: np.ndarray) -> dict[str, np.ndarray]:
        """Linear in both rates, so that a resample without errors does not give an infinite ratio."""
        found = points(weights)
        return {"log ratio": found[right] / hits - (1 - found[other]) / errors}

    bounds = intervals(change, num_groups, classes=classes, shares=False, limits=(-np.inf, np.inf), estimand=estimand)[
        "log ratio"
    ]
    value = float(np.log(hits / errors))
    moved = transformed(bounds, lambda end: value + end)
    return {"value": value, "low": moved["low"], "high": moved["high"]}


def _at(share: float, log_ratio: Estimate) -> Estimate:
    return transformed(log_ratio, lambda value: expit(logit(share) + value))


def parse_prevalences(text: str) -> tuple[float, ...]:
    """Read "0.01,0.05": shares of malignant cases, each above 0 and below 1.

    Raises:
        InputError: one is no number, or 0, 1 or outside.
    """
    found = []
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not 0 < value < 1:
            raise InputError(
                f"--prevalences has {word.strip()!r}; allowed are numbers above 0 and below 1, such as 0.01,0.2. At 0 "
                "or 1 all cases are of one class and there is no decision. Give others."
            )
        found.append(value)
    return tuple(sorted(set(found)))


def per_thousand(prevalence: float, rates: Mapping[str, Estimate]) -> dict[str, Any]:
    """Return missed cancers and false alarms among 1,000 cases of which `prevalence` are malignant."""

    def errors(name: str, weight: float) -> Estimate:
        return transformed(rates[name], lambda rate: 1000 * weight * (1 - rate), falls=True)

    return {
        "prevalence": prevalence,
        "missed": errors("sensitivity", prevalence),
        "false_alarms": errors("specificity", 1 - prevalence),
    }
