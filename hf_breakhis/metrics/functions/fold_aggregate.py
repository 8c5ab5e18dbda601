"""Fold aggregate: what the folds of a cross-validation add up to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics

from hf_breakhis.metrics.functions.image_report import (
    BINARY_CLASSES,
    as_classes,
    as_probabilities,
    image_report,
    plain,
)

COUNTS = ("support", "num_images")


def fold_aggregate(
    references: ArrayLike,
    predictions: ArrayLike,
    folds: ArrayLike,
    probabilities: ArrayLike | None = None,
    classes: Sequence[str] = BINARY_CLASSES,
) -> dict[str, Any]:
    """Return the reports of the folds, their mean and standard deviation, and the pooled report.

    Args:
        references: true class of each image, (n,).
        predictions: predicted class of each image, (n,).
        folds: fold of each image, (n,).
        probabilities: (n, num_classes), or (n,) of class 1 when there are two.
        classes: names of the classes in the order of their numbers.
    """
    truth = as_classes(references, "references", len(classes))
    predicted = as_classes(predictions, "predictions", len(classes))
    fold = np.asarray(folds)
    if not len(truth) == len(predicted) == len(fold):
        raise ValueError(
            f"{len(truth)} references, {len(predicted)} predictions and {len(fold)} folds; give one of each per image."
        )
    prob = None if probabilities is None else as_probabilities(probabilities, len(truth), len(classes))

    def report(rows: Any) -> dict[str, Any]:
        return image_report(truth[rows], predicted[rows], None if prob is None else prob[rows], classes)

    per_fold = [{"fold": int(i), **report(fold == i)} for i in np.unique(fold)]
    result = {"num_folds": len(per_fold), "per_fold": per_fold, **mean_and_sd(per_fold), "pooled": report(slice(None))}
    return result if prob is None else result | {"roc": mean_roc(truth, prob, fold, classes)}


def mean_and_sd(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return `mean` and `sd` (sample standard deviation) of each score, and `mean_confusion_matrix`.

    A score that one fold leaves undefined has no mean, and one fold has no standard deviation: both are None.
    """
    rows = [flat_scores(report) for report in reports]
    table = {name: np.array([np.nan if row[name] is None else row[name] for row in rows]) for name in rows[0]}
    result: dict[str, Any] = plain(
        {
            "mean": {name: values.mean() for name, values in table.items()},
            "sd": {name: values.std(ddof=1) if len(values) > 1 else None for name, values in table.items()},
            "mean_confusion_matrix": np.mean([report["confusion_matrix"] for report in reports], axis=0),
        }
    )
    return result


def flat_scores(report: dict[str, Any], prefix: str = "") -> dict[str, float | None]:
    """Return the scores of an image report by name, nested names joined by a point; counts are left out."""
    flat: dict[str, float | None] = {}
    for name, value in report.items():
        if isinstance(value, dict):
            flat |= flat_scores(value, f"{prefix}{name}.")
        elif name not in (*COUNTS, "fold", "confusion_matrix"):
            flat[prefix + name] = value
    return flat


def mean_roc(
    truth: np.ndarray, probabilities: np.ndarray, folds: np.ndarray, classes: Sequence[str] = BINARY_CLASSES
) -> dict[str, Any]:
    """Return the ROC curves of the folds and their vertical average, of class 1 or of each class against the rest."""
    if len(classes) == 2:
        return _mean_curve(truth == 1, probabilities[:, 1], folds)
    return {
        "one_vs_rest": {name: _mean_curve(truth == k, probabilities[:, k], folds) for k, name in enumerate(classes)}
    }


def _mean_curve(positive: np.ndarray, score: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    grid = np.linspace(0, 1, 101)
    curves, rates = [], []
    for fold in np.unique(folds):
        rows = folds == fold
        if not 0 < positive[rows].sum() < rows.sum():
            continue  # without both sides there is no curve
        fpr, tpr, _ = metrics.roc_curve(positive[rows], score[rows])
        curves.append({"fold": int(fold), "fpr": fpr, "tpr": tpr, "auc": metrics.auc(fpr, tpr)})
        rates.append(np.interp(grid, fpr, tpr))  # where the curve is vertical, its upper end
    if not rates:
        return {"mean": None, "per_fold": []}
    # The curve starts at the origin and rises on the axis to the rate that costs no false positive.
    rate = np.concatenate([np.zeros((len(rates), 1)), rates], axis=1)
    fpr = np.concatenate([[0.0], grid])
    sd = rate.std(0, ddof=1) if len(rates) > 1 else None
    mean = {"fpr": fpr, "tpr": rate.mean(0), "sd": sd, "auc": np.mean([curve["auc"] for curve in curves])}
    return {"mean": plain(mean), "per_fold": [plain(curve) for curve in curves]}
