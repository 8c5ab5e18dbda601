"""Calibration: do probabilities agree with observed shares, and which threshold and temperature are saved."""

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from hf_breakhis.metrics.functions.image_report import image_report
from hf_breakhis.results.predictions import classes_of, logits_of, probabilities_of
from hf_breakhis.results.scores.estimands import Estimand
from hf_breakhis.results.scores.intervals import intervals
from hf_breakhis.results.scores.resampling import images_of
from hf_breakhis.results.scores.thresholds import Rule, operating_point

NUM_BINS = 10
SMALLEST = 1e-9  # a probability of 0 has no log odds
YOUDEN = Rule()
# Logits that separate the classes want a temperature of 0; beyond these a softmax no longer changes to speak of.
COLDEST, HOTTEST = 0.05, 20.0
HOW = "fitted on the test predictions of the other folds, judged on the fold left out (cross-fitting)"
LIMIT = "The other folds' models were trained on images of the fold that is judged, so this is not an outside test."


def reliability_bins(labels: np.ndarray, probabilities: np.ndarray, num_bins: int = NUM_BINS) -> dict[str, Any]:
    """Return expected calibration error, Brier score with its parts, and the bins of the reliability diagram.

    Of two classes the Brier score has three parts over the bins (Murphy 1973, J. Appl. Meteorology 12(4)):
    reliability (distance of what is stated from what happens, lower is better), resolution (how far the bins lie from
    the mean, higher is better) and uncertainty (of the classes). The score is reliability - resolution + uncertainty,
    up to what probabilities differ within a bin.

    Two classes: the probability of class 1 against the share of class 1. More: the probability of the predicted class
    against the share that is right. Bins have equal width; a probability on an edge belongs to the upper bin.
    """
    if probabilities.shape[1] == 2:
        stated, happened = probabilities[:, 1], labels == 1
    else:
        stated, happened = probabilities.max(1), labels == probabilities.argmax(1)
    edges = np.linspace(0, 1, num_bins + 1)
    number = np.clip(np.searchsorted(edges, stated, side="right") - 1, 0, num_bins - 1)
    bins, error = [], 0.0
    overall = float(happened.mean())
    parts = {"reliability": 0.0, "resolution": 0.0, "uncertainty": overall * (1 - overall)}
    for k in range(num_bins):
        inside = number == k
        mean, share = (float(v[inside].mean()) if inside.any() else None for v in (stated, happened))
        span = {"low": float(edges[k]), "high": float(edges[k + 1]), "count": int(inside.sum())}
        bins.append({**span, "mean_probability": mean, "share_positive": share})
        if mean is not None and share is not None:
            weight = float(inside.mean())
            error += weight * abs(mean - share)
            parts["reliability"] += weight * (mean - share) ** 2
            parts["resolution"] += weight * (share - overall) ** 2
    brier = brier_score_loss(labels, probabilities, labels=range(probabilities.shape[1]))
    two = probabilities.shape[1] == 2
    return {"ece": error, "brier": float(brier), "brier_parts": parts if two else None, "bins": bins}


def describe_calibration(test: pd.DataFrame, estimand: Estimand = Estimand.MODELS) -> dict[str, Any]:
    """Return `reliability_bins` of test predictions, an interval of the share in each bin, and slope and intercept.

    Slope and intercept are those of a logistic regression of the class on the log odds of its probability, two classes
    only: 1 and 0 if calibrated, a slope below 1 if too certain (Cox 1958, Biometrika 45). None where they are infinite
    or where there is one class.
    """
    labels, prob = test["label"].to_numpy(), probabilities_of(test)
    found = reliability_bins(labels, prob)
    images = images_of(test)
    stated, happened = (prob[:, 1], labels == 1) if prob.shape[1] == 2 else (prob.max(1), labels == prob.argmax(1))
    number = np.clip(np.searchsorted(np.linspace(0, 1, NUM_BINS + 1), stated, side="right") - 1, 0, NUM_BINS - 1)
    counts = np.zeros((2, images.num_groups, NUM_BINS))
    np.add.at(counts, (np.zeros(len(number), int), images.groups, number), happened)
    np.add.at(counts, (np.ones(len(number), int), images.groups, number), 1)
    filled = [k for k in range(NUM_BINS) if counts[1, :, k].any()]

    def shares(weights: np.ndarray) -> dict[str, np.ndarray]:
        right, whole = (weights @ counts[side] for side in (0, 1))
        share = np.divide(right, whole, out=np.full(right.shape, np.nan), where=whole > 0)
        return {str(k): share[:, k] for k in filled}

    bounds = intervals(shares, images.num_groups, classes=images.group_classes, estimand=estimand)
    for k, part in enumerate(found["bins"]):
        one = bounds.get(str(k), {"low": None, "high": None})
        part |= {"share_low": one["low"], "share_high": one["high"]}
    return found | _calibration_line(labels, prob)


def _calibration_line(labels: np.ndarray, prob: np.ndarray) -> dict[str, float | None]:
    if prob.shape[1] != 2 or len(np.unique(labels)) < 2:
        return {"slope": None, "intercept": None}
    odds = logit(np.clip(prob[:, 1], SMALLEST, 1 - SMALLEST))
    if odds[labels == 1].min() > odds[labels == 0].max() or np.ptp(odds) == 0:
        return {"slope": None, "intercept": None}
    line = LogisticRegression(C=np.inf, max_iter=1000).fit(odds[:, None], labels)
    return {"slope": float(line.coef_[0, 0]), "intercept": float(line.intercept_[0])}


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the temperature by which to divide the logits so that the likelihood of the labels is highest."""

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-np.take_along_axis(scaled, labels[:, None], axis=1).mean())

    found = minimize_scalar(loss, bounds=np.log([COLDEST, HOTTEST]), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def decide(
    test: pd.DataFrame,
    refusal: str | None,
    rule: Rule = YOUDEN,
    estimand: Estimand = Estimand.MODELS,
    how: tuple[str, str] = (HOW, LIMIT),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fit threshold and temperature on all test predictions and judge both by cross-fitting.

    Args:
        test: pooled test predictions.
        refusal: why neither can be judged here, or None.
        rule: by which the threshold is chosen.
        estimand: what the intervals are about.
        how: how both were judged, and the limit of that, in words.

    Returns:
        What decision.json says, and the `temperature` entries of summary.json.
    """
    classes = classes_of(test)
    empty = {"threshold": None, "rule": None, "temperature": None, "fitted_on": None, "cross_fitted": None}
    if refusal is not None:
        return {"format": 1, **empty, "reason": refusal}, {"temperature": None, "temperature_reason": refusal}
    labels, logits = test["label"].to_numpy(), logits_of(test)
    temperature = fit_temperature(labels, logits)
    folds = sorted(test["fold"].unique())
    fitted = [_left_out(test, fold, rule) for fold in folds]
    calibrated = np.concatenate([softmax(f["logits"] / f["temperature"], axis=1) for f in fitted])
    after = reliability_bins(np.concatenate([f["labels"] for f in fitted]), calibrated)
    before = reliability_bins(labels, probabilities_of(test))
    scores = {"ece_after": after["ece"], "brier_after": after["brier"], "how": how[0], "limit": how[1]}
    binary = len(classes) == 2
    cross_fitted, chosen = _cross_fitted(fitted, calibrated, classes)
    if binary:
        judged = pd.concat([test[test["fold"] == fold] for fold in folds], ignore_index=True)
        cross_fitted["operating_point"] = operating_point(judged, chosen, estimand)
    decision = {
        "format": 1,
        "threshold": rule.fit(labels, softmax(logits / temperature, axis=1)[:, 1]) if binary else None,
        "rule": str(rule) if binary else None,
        "applies_to": f"probability of {classes[1]}, logits divided by the temperature" if binary else None,
        "temperature": temperature,
        "fitted_on": {"part": "test", "folds": [int(f["fold"]) for f in fitted], "num_images": len(test)},
        "cross_fitted": {
            **cross_fitted,
            "ece_before": before["ece"],
            "brier_before": before["brier"],
            **scores,
        },
        "reason": None if binary else f"{len(classes)} classes have no threshold: the most probable one is taken.",
    }
    fit = {"value": temperature, **scores, "bins_after": after["bins"], "brier_parts_after": after["brier_parts"]}
    return decision, {"temperature": fit, "temperature_reason": None}


def refusal(test: pd.DataFrame, carry_over: str) -> str | None:
    """Say why threshold and temperature cannot be judged on these predictions, or None where they can."""
    if carry_over != "none":
        return "The model was carried over from fold to fold and had seen later test images, so no fold is unseen."
    folds = sorted(test["fold"].unique())
    if test["label"].nunique() < 2:
        name = classes_of(test)[int(test["label"].iloc[0])]
        return f"All test images are {name}. A threshold and a temperature need images of both classes."
    if len(folds) < 2:
        return "One fold only: a threshold or temperature fitted on it cannot be judged on another."
    for fold in folds:
        if other_folds(test, fold)["label"].nunique() < 2:
            return f"When fold {fold} is left out, the test images of the other folds are of one class."
    return None


def other_folds(test: pd.DataFrame, fold: int) -> pd.DataFrame:
    """Return the predictions of the other folds; of repeated hold-outs without the images that this fold judges."""
    own = test["fold"] == fold
    return test[~own & ~test["file_name"].isin(test["file_name"][own])]


def _left_out(test: pd.DataFrame, fold: int, rule: Rule) -> dict[str, Any]:
    """Fit on all folds but one, and return that one's labels and logits with what was fitted."""
    others, own = other_folds(test, fold), test[test["fold"] == fold]
    labels, logits = others["label"].to_numpy(), logits_of(others)
    temperature = fit_temperature(labels, logits)
    result = {"fold": fold, "temperature": temperature, "labels": own["label"].to_numpy(), "logits": logits_of(own)}
    if logits.shape[1] == 2:
        result["threshold"] = rule.fit(labels, softmax(logits / temperature, axis=1)[:, 1])
    return result


def _cross_fitted(
    fitted: list[dict[str, Any]], calibrated: np.ndarray, classes: list[str]
) -> tuple[dict[str, Any], np.ndarray]:
    """Score each fold at the threshold of the others; return the scores and the decisions, (n,)."""
    names = ["accuracy", "balanced_accuracy"] + ["sensitivity", "specificity"] * (len(classes) == 2)
    sizes = np.cumsum([len(f["labels"]) for f in fitted])[:-1]
    chosen, per_fold = [], []
    for one, prob in zip(fitted, np.split(calibrated, sizes), strict=True):
        chosen.append((prob[:, 1] >= one["threshold"]).astype(int) if "threshold" in one else prob.argmax(1))
        report = image_report(one["labels"], chosen[-1], classes=classes)
        fitted_values = {"threshold": one.get("threshold"), "temperature": one["temperature"]}
        per_fold.append({"fold": int(one["fold"]), **fitted_values, **{name: report[name] for name in names}})
    decisions = np.concatenate(chosen)
    pooled = image_report(np.concatenate([f["labels"] for f in fitted]), decisions, classes=classes)
    return {"per_fold": per_fold, **{name: pooled[name] for name in names}}, decisions
