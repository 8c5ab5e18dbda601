"""Decisions by image and by patient: net benefit, errors per 1,000 cases, referral of uncertain cases, aggregation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit, softmax

from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import classes_of, known, logits_of
from hf_breakhis.results.scores.calibration import SMALLEST, other_folds
from hf_breakhis.results.scores.estimands import Estimand, interval_of
from hf_breakhis.results.scores.intervals import choose_groups, intervals
from hf_breakhis.results.scores.resampling import COVERAGES, Predicted, ResampleWeights, image_scores, risk_coverage
from hf_breakhis.results.scores.thresholds import Rule, per_thousand

THRESHOLDS = tuple(k / 50 for k in range(1, 50))
UNITS = ("patient", "specimen")
COMPARED = ("sensitivity", "specificity", "balanced_accuracy", "roc_auc")
NO_PATIENTS = (
    "The source names no patients and no specimens. Decisions by patient and zones are absent. Decisions by image are "
    "reported; images of one patient may be among them."
)
ONE_CLASS = "All {number} {unit}s{whose} are {name}. Decisions by {unit} need {unit}s of both classes."


def mean(score: np.ndarray, positive: np.ndarray, case: np.ndarray) -> np.ndarray:
    """Return the mean probability of the images of each case."""
    result: np.ndarray = np.bincount(case, weights=score) / np.bincount(case)
    return result


def maximum(score: np.ndarray, positive: np.ndarray, case: np.ndarray) -> np.ndarray:
    """Return the highest probability among the images of each case."""
    result = np.zeros(case.max() + 1)
    np.maximum.at(result, case, score)
    return result


def share(score: np.ndarray, positive: np.ndarray, case: np.ndarray) -> np.ndarray:
    """Return the share of the images of each case at or above the threshold of images."""
    result: np.ndarray = np.bincount(case, weights=positive) / np.bincount(case)
    return result


# From probability (n,), whether it reaches the threshold of images (n,) and number of the case (n,) to one score a
# case. "mean" is used unless another is named; a new rule is one function and one line here.
AGGREGATIONS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": mean,
    "maximum": maximum,
    "share": share,
}
AGGREGATION_WORDS = {
    "mean": "mean probability of the images",
    "maximum": "highest probability of an image",
    "share": "share of the images at or above the image threshold",
}


@dataclass(frozen=True)
class Cases:
    """What is decided about, one by one: images or patients of two classes.

    Attributes:
        labels: (n,) 0 or 1.
        score: (n,) between 0 and 1, higher for class 1.
        threshold: (n,) at or above it a case is called 1, fitted without the case's fold.
        groups: (n,) number of the specimen (or of what is drawn instead), from 0.
        folds: (n,) fold whose model gave the score.
        names: (n,) of the cases; empty for images.
    """

    labels: np.ndarray
    score: np.ndarray
    threshold: np.ndarray
    groups: np.ndarray
    folds: np.ndarray
    names: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        """(n,) 0 or 1, the decision about each case."""
        result: np.ndarray = (self.score >= self.threshold).astype(int)
        return result

    @property
    def images(self) -> Predicted:
        """The cases as the functions of resampling take them."""
        _, groups = np.unique(self.groups, return_inverse=True)
        prob = np.stack([1 - self.score, self.score], axis=1)
        return Predicted(self.labels, self.chosen, prob, groups, folds=self.folds)


def image_cases(test: pd.DataFrame, decision: Mapping[str, Any]) -> Cases:
    """Return the test images with calibrated probabilities and thresholds that were fitted without their fold.

    Args:
        test: predictions of two classes.
        decision: decision.json with its cross-fitted temperatures and thresholds.
    """
    fitted = {row["fold"]: row for row in decision["cross_fitted"]["per_fold"]}
    temperature, threshold = (
        test["fold"].map({fold: row[name] for fold, row in fitted.items()}).to_numpy(dtype=float)
        for name in ("temperature", "threshold")
    )
    score = calibrated(test, temperature)
    groups = choose_groups(test).codes
    return Cases(test["label"].to_numpy(), score, threshold, groups, test["fold"].to_numpy(), np.array([]))


def calibrated(rows: pd.DataFrame, temperature: np.ndarray | float) -> np.ndarray:
    """Return the probability of class 1 after dividing the logits by a temperature, (n,)."""
    result: np.ndarray = softmax(logits_of(rows) / np.reshape(temperature, (-1, 1)), axis=1)[:, 1]
    return result


def gather_cases(
    rows: pd.DataFrame,
    temperature: float,
    threshold: float,
    aggregation: str,
    unit: str,
    groups: np.ndarray | None = None,
) -> Cases:
    """Return one case for each patient (or specimen) and fold; those whose images are of both classes are left out.

    Args:
        rows: predictions of two classes.
        temperature: by which logits are divided.
        threshold: of images, which the rule "share" uses.
        aggregation: key of AGGREGATIONS.
        unit: "patient" or "specimen".
        groups: (n,) number of each row's specimen, where it has to be that of a larger table.
    """
    score = calibrated(rows, temperature)
    keys = rows["fold"].astype(str) + "\n" + rows[f"{unit}_id"]
    _, first, case = np.unique(keys.to_numpy(dtype=str), return_index=True, return_inverse=True)
    labels = rows["label"].to_numpy()
    mixed = np.bincount(case, weights=labels != labels[first][case]) > 0
    scores = AGGREGATIONS[aggregation](score, score >= threshold, case)
    groups = choose_groups(rows).codes if groups is None else groups
    chosen = first[~mixed]
    empty = np.full(len(chosen), np.nan)
    names = rows[f"{unit}_id"].to_numpy(dtype=str)[chosen]
    return Cases(labels[chosen], scores[~mixed], empty, groups[chosen], rows["fold"].to_numpy()[chosen], names)


def cross_fit(test: pd.DataFrame, decision: Mapping[str, Any], rule: Rule, aggregation: str, unit: str) -> Cases:
    """Return the cases of all folds, each with a threshold fitted by `rule` on the cases of the other folds.

    Raises:
        InputError: without a fold, the cases are of one class.
    """
    parts, groups = [], choose_groups(test).codes
    for row in decision["cross_fitted"]["per_fold"]:
        fold, fitted = row["fold"], (row["temperature"], row["threshold"])
        others = gather_cases(other_folds(test, fold), *fitted, aggregation, unit)
        if len(np.unique(others.labels)) < 2:
            raise InputError(f"Without fold {fold} all {unit}s are of one class. Decisions need {unit}s of both.")
        own = test["fold"].to_numpy() == fold
        cases = gather_cases(test[own], *fitted, aggregation, unit, groups[own])
        parts.append(replace(cases, threshold=np.full(len(cases.labels), rule.fit(others.labels, others.score))))
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Cases.__dataclass_fields__}
    return Cases(**joined)


def describe_decisions(
    test: pd.DataFrame,
    decision: Mapping[str, Any],
    rule: Rule,
    prevalences: Sequence[float],
    estimand: Estimand = Estimand.MODELS,
) -> dict[str, Any]:
    """Return what decisions about images and patients are worth, cross-fitted.

    Args:
        test: test predictions of all folds.
        decision: decision.json of them.
        rule: by which thresholds are chosen.
        prevalences: shares of malignant cases for which errors per 1,000 are stated.
        estimand: what the intervals are about.

    Returns:
        `reason` (why there is none), `prevalences`, `image` and `patient` (see `describe_cases`; None if unknown),
        `unit`, `patient_reason` and `aggregation`, a row for each rule of AGGREGATIONS.
    """
    empty: dict[str, Any] = {"image": None, "patient": None, "unit": None, "patient_reason": None, "aggregation": []}
    stated = {"prevalences": list(prevalences), "thresholds": list(THRESHOLDS)}
    if decision["threshold"] is None:
        return {"reason": decision["reason"], **stated, **empty}
    level = choose_groups(test).level
    image = describe_cases(image_cases(test, decision), prevalences, estimand) | {"group": level}
    found: dict[str, Any] = {"reason": None, **stated, **empty, "image": image}
    unit, reason = unit_of(test)
    if unit is None:
        return found | {"patient_reason": reason}
    try:
        cases = {name: cross_fit(test, decision, rule, name, unit) for name in AGGREGATIONS}
    except InputError as error:
        return found | {"patient_reason": str(error)}
    return found | {
        "unit": unit,
        "patient": describe_cases(cases["mean"], prevalences, estimand) | {"group": level},
        "aggregation": compare_aggregations(cases, estimand),
    }


def thresholds_of_cases(test: pd.DataFrame, decision: Mapping[str, Any], rule: Rule, unit: str) -> dict[str, float]:
    """Return the threshold of patients (or specimens) by aggregation, fitted on all folds: what travels with a model.

    Args:
        test: test predictions.
        decision: with `temperature` and `threshold`.
        rule: by which thresholds are chosen.
        unit: "patient" or "specimen".
    """
    fitted = float(decision["temperature"]), float(decision["threshold"])
    cases = {name: gather_cases(test, *fitted, name, unit) for name in AGGREGATIONS}
    return {name: rule.fit(one.labels, one.score) for name, one in cases.items()}


def unit_of(test: pd.DataFrame) -> tuple[str | None, str | None]:
    """Return "patient" or "specimen", the unit of decisions, or None and why there is none."""
    unit = next((name for name in UNITS if known(test, f"{name}_id")), None)
    reason = NO_PATIENTS if unit is None else why_no_decisions(test, unit)
    return (unit, None) if reason is None else (None, reason)


def why_no_decisions(test: pd.DataFrame, unit: str) -> str | None:
    """Return why there are no decisions by "patient" or "specimen"; None if there are."""
    if not known(test, f"{unit}_id"):
        return f"The {unit}s are unknown."
    labels = test.groupby(f"{unit}_id")["label"].agg(["min", "max"])
    classes = labels.loc[labels["min"] == labels["max"], "min"]
    if classes.empty:
        return f"Each {unit} has images of both classes. Decisions by {unit} need one class for each."
    if classes.nunique() < 2:
        whose = " whose images are of one class" if len(classes) < len(labels) else ""
        name = classes_of(test)[int(classes.iloc[0])]
        return ONE_CLASS.format(number=len(classes), unit=unit, whose=whose, name=name)
    return None


def describe_cases(cases: Cases, prevalences: Sequence[float], estimand: Estimand) -> dict[str, Any]:
    """Return net benefit over thresholds, sensitivity and specificity, errors per 1,000 and referral of cases."""
    images = cases.images
    score = image_scores(images, ranked=False)

    def sides(weights: ResampleWeights) -> dict[str, np.ndarray]:
        found = score(weights)
        return {name: found[name] for name in ("sensitivity", "specificity")}

    rates = intervals(sides, images.num_groups, classes=images.group_classes, estimand=estimand)
    curve = decision_curve(cases, estimand)
    return {
        "num_cases": len(cases.labels),
        "num_groups": images.num_groups,
        "prevalence": float(cases.labels.mean()),
        **rates,
        "net_benefit": curve,
        "useful": useful_range(curve),
        "per_thousand": [per_thousand(share, rates) for share in prevalences],
        "referral": describe_referral(cases, estimand),
    }


def net_benefit(labels: np.ndarray, score: np.ndarray, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
    """Return TP / n - FP / n * t / (1 - t) for each threshold t, (num_thresholds,).

    Source:
        Vickers and Elkin 2006, Medical Decision Making 26(6).
    """
    called = score[:, None] >= np.asarray(thresholds)
    odds = np.asarray(thresholds) / (1 - np.asarray(thresholds))
    result: np.ndarray = (called & (labels == 1)[:, None]).mean(0) - (called & (labels == 0)[:, None]).mean(0) * odds
    return result


def decision_curve(cases: Cases, estimand: Estimand) -> list[dict[str, Any]]:
    """Return, for each of THRESHOLDS, net benefit with its interval, that of calling all 1, and the gain over that."""
    images = cases.images
    odds = np.array(THRESHOLDS) / (1 - np.array(THRESHOLDS))
    called = cases.score[:, None] >= np.array(THRESHOLDS)
    worth = np.where(cases.labels[:, None] == 1, 1.0, -odds)  # of calling a case 1
    sums = np.zeros((2, images.num_groups, len(THRESHOLDS)))
    np.add.at(sums[0], images.groups, called * worth)
    np.add.at(sums[1], images.groups, worth)
    counts = np.bincount(images.groups, minlength=images.num_groups).astype(float)

    def curves(weights: ResampleWeights) -> dict[str, np.ndarray]:
        whole = (weights @ counts)[:, None]
        model, everyone = (weights @ part / whole for part in sums)
        return {
            **{f"model {k}": model[:, k] for k in range(len(THRESHOLDS))},
            **{f"gain {k}": model[:, k] - everyone[:, k] for k in range(len(THRESHOLDS))},
        }

    found = intervals(
        curves, images.num_groups, classes=images.group_classes, shares=False, limits=(-np.inf, np.inf),
        estimand=estimand,
    )  # fmt: skip
    everyone = sums[1].sum(0) / counts.sum()
    return [
        {
            "threshold": threshold,
            **interval_of(found[f"model {k}"]),
            "treat_all": float(everyone[k]),
            "gain": interval_of(found[f"gain {k}"]),
        }
        for k, threshold in enumerate(THRESHOLDS)
    ]


def useful_range(curve: Sequence[Mapping[str, Any]]) -> list[float] | None:
    """Return the longest run of thresholds at which the model is above both strategies without a model.

    Both lower ends of the pointwise intervals are above 0: of the net benefit, and of its gain over calling all 1.
    """
    best: list[float] = []
    current: list[float] = []
    for row in curve:
        low, gain = row["low"], row["gain"]["low"]
        current = [*current, row["threshold"]] if low is not None and gain is not None and min(low, gain) > 0 else []
        best = current if len(current) > len(best) else best
    return [best[0], best[-1]] if best else None


def confidence(cases: Cases) -> np.ndarray:
    """Return how far each score is from its threshold in log odds, (n,)."""
    score, threshold = (logit(np.clip(value, SMALLEST, 1 - SMALLEST)) for value in (cases.score, cases.threshold))
    result: np.ndarray = np.abs(score - threshold)
    return result


def describe_referral(cases: Cases, estimand: Estimand) -> dict[str, Any]:
    """Return the error among the cases that are not referred, over the share that is kept, and the area below.

    The least confident cases are referred first. `best` is the area of an order that puts all errors last.

    Source:
        Risk-coverage curve and its area: Geifman and El-Yaniv 2017, NeurIPS; El-Yaniv and Wiener 2010, JMLR 11.
    """
    images, wrong = cases.images, cases.chosen != cases.labels
    curve = risk_coverage(images, wrong, confidence(cases))
    found = intervals(curve, images.num_groups, classes=images.group_classes, estimand=estimand)
    perfect = risk_coverage(images, wrong, (~wrong).astype(float) + 1e-9 * np.arange(len(wrong)))
    return {
        "area": found["area"],
        "best": float(perfect(np.ones((1, images.num_groups)))["area"][0]),
        "curve": [{"coverage": share, **found[f"risk {share}"]} for share in COVERAGES],
    }


def compare_aggregations(cases: Mapping[str, Cases], estimand: Estimand) -> list[dict[str, Any]]:
    """Return the scores of each rule with intervals, and its differences from the mean on the same cases."""
    first = cases["mean"].images
    scores = {name: image_scores(one.images) for name, one in cases.items()}
    options: dict[str, Any] = {"classes": first.group_classes, "estimand": estimand}
    rows = []
    for name, score in scores.items():

        def own(weights: ResampleWeights, score: Any = score) -> dict[str, np.ndarray]:
            found = score(weights)
            return {key: found[key] for key in COMPARED}

        def change(weights: ResampleWeights, score: Any = score) -> dict[str, np.ndarray]:
            ours, theirs = score(weights), scores["mean"](weights)
            return {key: ours[key] - theirs[key] for key in COMPARED}

        row = {"name": name, "words": AGGREGATION_WORDS[name], "scores": intervals(own, first.num_groups, **options)}
        difference = None if name == "mean" else intervals(change, first.num_groups, shares=False, **options)
        rows.append(row | {"difference": difference})
    return rows
