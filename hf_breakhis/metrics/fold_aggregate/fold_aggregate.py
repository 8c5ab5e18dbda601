"""Fold aggregate, as a metric of `evaluate`: what the folds of a cross-validation add up to."""

from typing import Any

import datasets
import evaluate

from hf_breakhis.metrics.functions.fold_aggregate import fold_aggregate
from hf_breakhis.metrics.functions.image_report import BINARY_CLASSES

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
