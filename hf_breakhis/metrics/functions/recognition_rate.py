"""Recognition rate: mean over patients of the share of their images classified right."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hf_breakhis.metrics.functions.image_report import as_classes, as_probabilities

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
