"""Fold aggregate: what the folds of a cross-validation add up to."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics

from hf_breakhis.metrics.image_report.image_report import (
    BINARY_CLASSES,
    as_classes,
    as_probabilities,
    image_report,
    plain,
)

_DESCRIPTION = """
The image report of every fold; mean and standard deviation over the folds of each of its scores; the mean confusion
matrix; the mean ROC curve with a band of one standard deviation; and the image report of all folds' test predictions
pooled. The mean ROC curve averages the folds' true positive rates at equal false positive rates; its area is the mean
of their areas.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[int]`): predicted class of each image.
    references (`list[int]`): true class of each image.
    folds (`list[int]`): fold whose model predicted the image.
    probabilities (`list`, optional): for each image the probability of every class or, with two classes, of class 1.
    classes (`list[str]`, optional): names of the classes, in order; "benign" and "malignant" by default.

Returns:
    `dict`: `num_folds`, `per_fold` (image reports with their `fold`), `mean` and `sd` (one number a score, names of
    nested ones joined by a point: `macro.f1`, `per_class.benign.recall`), `mean_confusion_matrix`, `pooled` (an image
    report) and, with probabilities, `roc` (`mean`: `fpr`, `tpr`, `sd`, `auc`; `per_fold`: `fold`, `fpr`, `tpr`, `auc`;
    with more than two classes the same for each class against the rest, under `one_vs_rest`).

Examples:
    One fold has 3 of 4 images right, the other 1 of 2. The mean of the folds is not the pooled accuracy of 4 in 6.

    >>> metric = FoldAggregate()
    >>> result = metric.compute(
    ...     predictions=[0, 0, 1, 0, 0, 0], references=[0, 0, 1, 1, 0, 1], folds=[0, 0, 0, 0, 1, 1]
    ... )
    >>> result["mean"]["accuracy"], round(result["sd"]["accuracy"], 4), round(result["pooled"]["accuracy"], 4)
    (0.625, 0.1768, 0.6667)
    >>> result["mean_confusion_matrix"]
    [[1.5, 0.0], [1.0, 0.5]]
"""

_CITATION = """
@article{fawcett2006introduction,
  title={An introduction to {ROC} analysis},
  author={Fawcett, Tom},
  journal={Pattern Recognition Letters},
  volume={27}, number={8}, pages={861--874}, year={2006}
}
"""

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


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class FoldAggregate(evaluate.Metric):
    """`fold_aggregate` as a metric of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            # Floats, because evaluate cuts 0.7 to 0 in an int feature and says nothing.
            features=datasets.Features(
                {
                    "predictions": datasets.Value("float64"),
                    "references": datasets.Value("float64"),
                    "folds": datasets.Value("int64"),
                }
            ),
        )

    def _compute(
        self, predictions: Any, references: Any, folds: Any, probabilities: Any = None, classes: Any = BINARY_CLASSES
    ) -> dict[str, Any]:
        return fold_aggregate(references, predictions, folds, probabilities, classes)
