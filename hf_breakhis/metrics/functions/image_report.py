"""Image report: every score of an image classifier that one confusion matrix and one ranking give."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics

BINARY_CLASSES = ("benign", "malignant")


def image_report(
    references: ArrayLike,
    predictions: ArrayLike,
    probabilities: ArrayLike | None = None,
    classes: Sequence[str] = BINARY_CLASSES,
) -> dict[str, Any]:
    """Return every score of one set of classified images.

    Args:
        references: true class of each image, (n,).
        predictions: predicted class of each image, (n,).
        probabilities: (n, num_classes), or (n,) of class 1 when there are two.
        classes: names of the classes in the order of their numbers.

    Raises:
        ValueError: no images, unequal lengths, a class that has no name, or probabilities that are none.
    """
    truth = as_classes(references, "references", len(classes))
    predicted = as_classes(predictions, "predictions", len(classes))
    if len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} references and {len(predicted)} predictions; give one of each per image.")
    report = class_scores(truth, predicted, classes)
    if probabilities is not None:
        report |= probability_scores(truth, as_probabilities(probabilities, len(truth), len(classes)))
    return report


def class_scores(truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str] = BINARY_CLASSES) -> dict[str, Any]:
    """Return the scores that the predicted classes give.

    The averages run over the classes that occur in the truth. One of them that is never predicted counts there with
    precision 0, as in scikit-learn; left out, it would flatter a model that ignores it.
    """
    numbers = range(len(classes))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, predicted, labels=numbers, zero_division=np.nan
    )
    scores = {"precision": precision, "recall": recall, "f1": f1}
    occurs = support > 0
    several = occurs.sum() > 1
    averaged = {name: np.nan_to_num(values[occurs]) for name, values in scores.items()}
    report: dict[str, Any] = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "balanced_accuracy": recall[occurs].mean() if several else None,
        "mcc": metrics.matthews_corrcoef(truth, predicted) if several else None,
    }
    if len(classes) == 2:
        report |= {"sensitivity": recall[1], "specificity": recall[0]}
    report |= {
        "per_class": {
            name: {score: values[k] for score, values in scores.items()} | {"support": support[k]}
            for k, name in enumerate(classes)
        },
        "macro": {name: values.mean() for name, values in averaged.items()},
        "weighted": {name: np.average(values, weights=support[occurs]) for name, values in averaged.items()},
        "confusion_matrix": metrics.confusion_matrix(truth, predicted, labels=numbers),
        "num_images": len(truth),
    }
    result: dict[str, Any] = plain(report)
    return result


def probability_scores(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """Return area under the ROC curve, average precision and Brier score; (n,), (n, num_classes).

    More than two classes: the first two are means over one class against the rest, for the classes that both occur
    and are not everything; the Brier score is the sum over classes, so it ranges from 0 to 2.
    """
    num_classes = probabilities.shape[1]
    judged = [k for k in ([1] if num_classes == 2 else range(num_classes)) if 0 < (truth == k).sum() < len(truth)]
    areas = [metrics.roc_auc_score(truth == k, probabilities[:, k]) for k in judged]
    average = [metrics.average_precision_score(truth == k, probabilities[:, k]) for k in judged]
    with warnings.catch_warnings():
        # `as_probabilities` allows for rounding, as of a softmax in single precision; scikit-learn warns of it.
        warnings.filterwarnings("ignore", "The y_prob values do not sum to one")
        brier = metrics.brier_score_loss(truth, probabilities, labels=range(num_classes))
    result: dict[str, float | None] = plain(
        {
            "roc_auc": np.mean(areas) if judged else None,
            "average_precision": np.mean(average) if judged else None,
            "brier": brier,
        }
    )
    return result


def as_classes(values: ArrayLike, what: str, num_classes: int) -> np.ndarray:
    """Return whole class numbers from 0 below `num_classes`, or say which is none."""
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"`{what}` has shape {numbers.shape}; give one class number per image, at least one.")
    bad = ~np.isin(numbers, np.arange(num_classes))
    if bad.any():
        raise ValueError(f"`{what}` holds {numbers[bad][0]:g}; allowed are the classes 0 to {num_classes - 1}.")
    return numbers.astype(int)


def as_probabilities(values: ArrayLike, num_images: int, num_classes: int) -> np.ndarray:
    """Return (num_images, num_classes) probabilities in 0..1 that sum to 1, or say what is wrong with them."""
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim == 1 and num_classes == 2:
        numbers = np.stack([1 - numbers, numbers], axis=1)
    if numbers.shape != (num_images, num_classes):
        raise ValueError(f"`probabilities` has shape {numbers.shape}; allowed is ({num_images}, {num_classes}).")
    # NaN fails the comparison too.
    if not ((numbers >= -1e-6).all() and (np.abs(numbers.sum(1) - 1) <= 1e-4).all()):
        raise ValueError("`probabilities` must lie in 0..1 and sum to 1 per image; give a softmax, not logits.")
    return numbers.clip(0, 1)


def plain(value: Any) -> Any:
    """Return `value` with numpy's types as Python's and NaN as None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value
