"""An evaluated run: scores next to those of the run that trained the model, and its decision locked and refitted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.metrics.functions.image_report import image_report
from hf_breakhis.results.predictions import classes_of, logits_of, probabilities_of
from hf_breakhis.results.scores.calibration import reliability_bins
from hf_breakhis.results.scores.estimands import Estimand, Estimate
from hf_breakhis.results.scores.intervals import choose_groups
from hf_breakhis.results.scores.thresholds import operating_point
from hf_breakhis.results.scores.warnings import design
from hf_breakhis.run import Run

PARTS = 5  # of the groups, for cross-fitting
SCORES = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "average_precision", "mcc", "brier",
    "recognition_rate",
)  # fmt: skip
RATES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity")
TOO_FEW = "A class has images of one {group} only, so a refitted threshold or temperature cannot be judged on others."
SAME_DATA = (
    "The images are those of the run that trained the model. Its threshold and temperature were fitted on predictions "
    "of them, so the locked row is optimistic."
)
LIMIT = "It is judged on these images only and is not locked for others."


def cross_fitting_parts(test: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return test predictions whose `fold` is a part of the groups for cross-fitting, and the name of the groups.

    All images of a specimen (a patient, or an image if no groups are known) are in one part. A single part means that
    there are too few groups.
    """
    groups = choose_groups(test)
    labels = test["label"].to_numpy()
    fewest = min(len(np.unique(groups.codes[labels == label])) for label in np.unique(labels))
    if fewest < 2 or len(np.unique(labels)) < 2:
        return test.assign(fold=0), groups.level
    splitter = StratifiedGroupKFold(min(PARTS, fewest), shuffle=True, random_state=0)
    part = np.zeros(len(test), dtype=int)
    for number, (_, rows) in enumerate(splitter.split(labels, labels, groups.codes)):
        part[rows] = number
    return test.assign(fold=part), groups.level


def how_refitted(group: str) -> tuple[str, str]:
    """Return how the refitted decision was judged, as the end of "The temperature was ..." and as a sentence."""
    how = f"fitted on these images without the {group}s that are judged, in {PARTS} parts or fewer (cross-fitting)"
    return how, LIMIT


def internal_scores(run: Run, fold: str) -> dict[str, Any]:
    """Return the scores of the run that trained a model on its own test sets.

    Args:
        run: with a summary, also that of a publication.
        fold: the fold of the model, or "refit".

    Returns:
        Scores of all folds, each with the interval of the trained models, and those of the model on its own test set.
    """
    summary = run.summary
    pooled = _pooled(summary)
    interval = summary["interval"]
    own = [row for row in summary["image"]["per_fold"] if str(row["fold"]) == fold]
    by_patient = {str(row["fold"]): row for row in (summary["patient"] or {}).get("per_fold", [])}
    same = {**own[0], "recognition_rate": by_patient.get(fold, {}).get("recognition_rate")} if own else None
    return {
        "name": summary["name"],
        "data": source_of(summary["data"]).title,
        "design": design(summary["protocol"]),
        "num_images": summary["protocol"].get("num_tested"),
        "num_groups": interval["num_groups"],
        "group": interval["group"],
        "scores": {name: _of_models(pooled[name]) for name in SCORES if name in pooled},
        "same_weights": None
        if same is None
        else {
            "fold": fold,
            "num_images": same["num_images"],
            "scores": {name: same[name] for name in SCORES if name in same},
        },
    }


def _pooled(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pooled scores by image, and the recognition rate where patients are known."""
    rate = ((summary["patient"] or {}).get("pooled") or {}).get("recognition_rate")
    return {**summary["image"]["pooled"], **({} if rate is None else {"recognition_rate": rate})}


def _of_models(score: Mapping[str, Any]) -> Estimate:
    """Return a score with the interval of the trained models, as an external score has it."""
    low, high = (score.get(f"models_{end}", score[end]) for end in ("low", "high"))
    return {"value": score["value"], "low": low, "high": high}


def describe_evaluation(
    run: Run, test: pd.DataFrame, summary: Mapping[str, Any], decision: Mapping[str, Any], estimand: Estimand
) -> dict[str, Any]:
    """Return the field `evaluation` of summary.json: the model, internal and external scores, and the decisions.

    Args:
        run: the evaluated run.
        test: its predictions.
        summary: with `image` and `patient`.
        decision: what was fitted on these images, see `decide`.
        estimand: what the intervals are about.
    """
    found = run.evaluation
    locked = found["decision"]
    internal, pooled = found["internal"], _pooled(summary)
    rows = [
        {
            "score": name,
            "internal": None if internal is None else internal["scores"].get(name),
            "same_weights": ((internal or {}).get("same_weights") or {"scores": {}})["scores"].get(name),
            "external": _of_models(pooled[name]),
        }
        for name in SCORES
        if name in pooled
    ]
    for row in rows:
        row["difference"] = None if row["internal"] is None else difference(row["external"], row["internal"])
    return {
        "model": found["model"],
        "training": found["training"],
        "classes": found["classes"],
        "internal": None if internal is None else {k: v for k, v in internal.items() if k != "scores"},
        "scores": rows,
        "decisions": _decisions(test, locked, decision, estimand),
        "locked_reason": locked["reason"] if locked["temperature"] is None else None,
        "locked_note": SAME_DATA if found["training"]["is_same_data"] and locked["temperature"] is not None else None,
    }


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> Estimate:
    """Return one score minus another of other images, with an interval from those of both.

    Source:
        Zou and Donner 2008, Construction of confidence limits about effect measures, Statistics in Medicine 27(10).
    """
    if one["value"] is None or other["value"] is None:
        return {"value": None, "low": None, "high": None}
    value = one["value"] - other["value"]
    if None in (one["low"], one["high"], other["low"], other["high"]):
        return {"value": value, "low": None, "high": None}
    low = value - np.hypot(one["value"] - one["low"], other["high"] - other["value"])
    high = value + np.hypot(one["high"] - one["value"], other["value"] - other["low"])
    return {"value": value, "low": float(low), "high": float(high)}


def _decisions(
    test: pd.DataFrame, locked: Mapping[str, Any], refitted: Mapping[str, Any], estimand: Estimand
) -> list[dict[str, Any]]:
    """Return a row for each way to decide: the most probable class, the locked decision, and the refitted one."""
    prob = probabilities_of(test)
    rows = [{"kind": "most_probable", **_scored(test, prob, test["predicted"].to_numpy(), estimand)}]
    if locked["temperature"] is not None:
        prob = softmax(logits_of(test) / locked["temperature"], axis=1)
        threshold = locked["threshold"]
        chosen = prob.argmax(1) if threshold is None else (prob[:, 1] >= threshold).astype(int)
        row = _scored(test, prob, chosen, estimand)
        rows.append({"kind": "locked", "threshold": threshold, "temperature": locked["temperature"], **row})
    if refitted["temperature"] is not None:
        fitted = refitted["cross_fitted"]
        rows.append(
            {
                "kind": "refitted",
                "threshold": refitted["threshold"],
                "temperature": refitted["temperature"],
                **{name: {"value": fitted[name], "low": None, "high": None} for name in RATES if name in fitted},
                **{k: v for k, v in (fitted.get("operating_point") or {}).items() if k in RATES},
                "ece": fitted["ece_after"],
                "brier": fitted["brier_after"],
            }
        )
    return [{"threshold": None, "temperature": None} | row for row in rows]


def _scored(test: pd.DataFrame, prob: np.ndarray, chosen: np.ndarray, estimand: Estimand) -> dict[str, Any]:
    classes = classes_of(test)
    report = image_report(test["label"], chosen, classes=classes)
    found: dict[str, Any] = {
        name: {"value": report[name], "low": None, "high": None} for name in RATES if report.get(name) is not None
    }
    if len(classes) == 2:
        point = operating_point(test, chosen, estimand)
        found |= {name: point[name] for name in ("sensitivity", "specificity")}
    measured = reliability_bins(test["label"].to_numpy(), prob)
    return {**found, "ece": measured["ece"], "brier": measured["brier"]}
