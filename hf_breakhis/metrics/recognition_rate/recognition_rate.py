"""Recognition rate, as a metric of `evaluate`: mean over patients of the share of their images classified right."""

from typing import Any

import datasets
import evaluate

from hf_breakhis.metrics.functions.recognition_rate import recognition_rate

_DESCRIPTION = """
Patient score: images of the patient classified right / images of the patient. The recognition rate is the mean of the
patient scores, so every patient weighs the same, however many images they have. Beside it stands another number, the
share of patients whose mean probability names the right class: one verdict per patient. Both are fractions in [0, 1];
higher is better. In BreakHis a patient is one of 82 slide folders.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list[int]`): predicted class of each image.
    references (`list[int]`): true class of each image.
    patient_ids (`list[str]`): patient of each image.
    probabilities (`list`, optional): for each image the probability of every class or, with two classes, of class 1.
    num_classes (`int`): number of classes, 2 by default.

Returns:
    `dict`: `recognition_rate` (`float`), `accuracy_of_mean_probability` (`float`; None without probabilities
    or where a patient has images of several classes), `num_patients` (`int`).

Examples:
    Patient "a" has 1 of 2 images right, patient "b" 1 of 1: (1/2 + 1/1) / 2. The mean probability of "a" is 0.4, below
    one half, so one verdict of two is right.

    >>> metric = RecognitionRate()
    >>> metric.compute(
    ...     predictions=[1, 0, 1], references=[1, 1, 1], patient_ids=["a", "a", "b"], probabilities=[0.6, 0.2, 0.9]
    ... )
    {'recognition_rate': 0.75, 'accuracy_of_mean_probability': 0.5, 'num_patients': 2}
"""

_CITATION = """
@article{spanhol2016dataset,
  title={A Dataset for Breast Cancer Histopathological Image Classification},
  author={Spanhol, Fabio A. and Oliveira, Luiz S. and Petitjean, Caroline and Heutte, Laurent},
  journal={IEEE Transactions on Biomedical Engineering},
  volume={63}, number={7}, pages={1455--1462}, year={2016}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RecognitionRate(evaluate.Metric):
    """`recognition_rate` as a metric of `evaluate`."""

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
                    "patient_ids": datasets.Value("string"),
                }
            ),
        )

    def _compute(
        self, predictions: Any, references: Any, patient_ids: Any, probabilities: Any = None, num_classes: Any = 2
    ) -> dict[str, Any]:
        return recognition_rate(references, predictions, patient_ids, probabilities, num_classes)
