"""Image report, as a metric of `evaluate`: every score that one confusion matrix and one ranking give."""

from typing import Any

import datasets
import evaluate

from hf_breakhis.metrics.functions.image_report import BINARY_CLASSES, image_report

_DESCRIPTION = """
Accuracy, balanced accuracy, Matthews correlation, precision, recall and F1 per class with their macro and
support-weighted averages, the confusion matrix (rows are the truth) and, with probabilities, area under the ROC curve,
average precision and Brier score. Two classes add sensitivity and specificity; class 1 is the positive one. What the
images leave undefined is None.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[int]`): predicted class of each image.
    references (`list[int]`): true class of each image.
    probabilities (`list`, optional): for each image the probability of every class or, with two classes, of class 1.
    classes (`list[str]`, optional): names of the classes, in order; "benign" and "malignant" by default.

Returns:
    `dict`: `accuracy`, `balanced_accuracy`, `mcc`, `sensitivity` and `specificity` (two classes), `per_class`,
    `macro`, `weighted`, `confusion_matrix`, `num_images`, and with probabilities `roc_auc`, `average_precision`,
    `brier`.

Examples:
    One of two benign images and both malignant ones are right.

    >>> metric = ImageReport()
    >>> report = metric.compute(predictions=[0, 1, 1, 1], references=[0, 0, 1, 1], probabilities=[0.1, 0.6, 0.7, 0.9])
    >>> report["accuracy"], report["sensitivity"], report["specificity"], report["roc_auc"]
    (0.75, 1.0, 0.5, 1.0)
    >>> report["confusion_matrix"]
    [[1, 1], [0, 2]]
"""

_CITATION = """
@article{pedregosa2011scikit,
  title={Scikit-learn: Machine Learning in Python},
  author={Pedregosa, F. and Varoquaux, G. and Gramfort, A. and Michel, V. and Thirion, B. and Grisel, O. and others},
  journal={Journal of Machine Learning Research},
  volume={12}, pages={2825--2830}, year={2011}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ImageReport(evaluate.Metric):
    """`image_report` as a metric of `evaluate`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            # evaluate cuts 0.7 to 0 in an int feature and says nothing; as a float it arrives and is refused.
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(
        self, predictions: Any, references: Any, probabilities: Any = None, classes: Any = BINARY_CLASSES
    ) -> dict[str, Any]:
        return image_report(references, predictions, probabilities, classes)
