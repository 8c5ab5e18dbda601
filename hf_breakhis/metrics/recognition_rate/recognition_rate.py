"""Recognition rate: mean over patients of the share of their images classified right."""

from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike

from hf_breakhis.metrics.image_report.image_report import as_classes, as_probabilities

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

MIXED = -1  # no class


def recognition_rate(
    references: ArrayLike,
    predictions: ArrayLike,
    patient_ids: ArrayLike,
    probabilities: ArrayLike | None = None,
    num_classes: int = 2,
) -> dict[str, float | int | None]:
    """Return the recognition rate and the accuracy of the patients' mean probabilities.

    Args:
        references: true class of each image, (n,).
        predictions: predicted class of each image, (n,).
        patient_ids: patient of each image, (n,).
        probabilities: (n, num_classes), or (n,) of class 1 when there are two.
        num_classes: number of classes.

    Raises:
        ValueError: unequal lengths, or an image without a patient.
    """
    patients = patient_scores(references, predictions, patient_ids, probabilities, num_classes)
    verdicts, labels = patients["mean_probabilities"], patients["labels"]
    undefined = verdicts is None or (labels == MIXED).any()
    right = None if undefined else float((verdicts.argmax(1) == labels).mean())
    return {
        "recognition_rate": float(patients["scores"].mean()),
        "accuracy_of_mean_probability": right,
        "num_patients": len(patients["ids"]),
    }


def patient_scores(
    references: ArrayLike,
    predictions: ArrayLike,
    patient_ids: ArrayLike,
    probabilities: ArrayLike | None = None,
    num_classes: int = 2,
) -> dict[str, Any]:
    """Return arrays with one entry a patient: ids (sorted), num_images, scores, labels, mean_probabilities or None.

    The label of a patient with images of several classes is MIXED.
    """
    truth = as_classes(references, "references", num_classes)
    predicted = as_classes(predictions, "predictions", num_classes)
    names = np.asarray(patient_ids, dtype=str)
    if not len(truth) == len(predicted) == len(names):
        raise ValueError(
            f"{len(truth)} references, {len(predicted)} predictions and {len(names)} patient_ids; "
            "give one of each per image."
        )
    if (names == "").any():
        raise ValueError("An image without a patient: the recognition rate needs the patient of every image.")
    ids, first, patient, num_images = np.unique(names, return_index=True, return_inverse=True, return_counts=True)
    means = None
    if probabilities is not None:
        values = as_probabilities(probabilities, len(truth), num_classes)
        means = np.stack([np.bincount(patient, weights=column) for column in values.T], axis=1) / num_images[:, None]
    mixed = np.bincount(patient, weights=truth != truth[first][patient]) > 0
    scores = np.bincount(patient, weights=truth == predicted) / num_images
    return {
        "ids": ids,
        "num_images": num_images,
        "scores": scores,
        "labels": np.where(mixed, MIXED, truth[first]),
        "mean_probabilities": means,
    }


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
