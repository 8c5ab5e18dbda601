"""Scores of resampled test sets: every score as a function of how often each group was drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hf_breakhis.arguments import require
from hf_breakhis.files import require_kind
from hf_breakhis.results.predictions import classes_of, probabilities_of
from hf_breakhis.results.scores.intervals import choose_groups
from hf_breakhis.tables import require_columns

ResampleWeights = np.ndarray  # (resamples, groups): how often each group is in each resample
BLOCK, MANY_IMAGES, CACHED = 16, 20_000, 12_800
COVERAGES = tuple(k / 10 for k in range(5, 11))  # shares of cases that are kept


@dataclass(frozen=True)
class Predicted:
    """Predicted images and the group each belongs to.

    Attributes:
        labels: (n,) true classes.
        predicted: (n,) predicted classes.
        probabilities: (n, num_classes).
        groups: (n,) numbers from 0 below the number of groups.
        classes: names of the classes in the order of their numbers.
        total_groups: number of groups where some of them have no image here.
        folds: (n,) fold whose model predicted the image; None for one model.
    """

    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...] = ("benign", "malignant")
    total_groups: int | None = None
    folds: np.ndarray | None = None

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1 if self.total_groups is None else self.total_groups

    @property
    def group_classes(self) -> np.ndarray:
        """(num_groups,) the class of each group, that of most of its images; -1 of a group without images here."""
        counts = np.zeros((self.num_groups, len(self.classes)), dtype=np.int64)
        np.add.at(counts, (self.groups, self.labels), 1)
        return np.where(counts.any(1), counts.argmax(1), -1)


def images_of(rows: pd.DataFrame) -> Predicted:
    """Return predictions as arrays, grouped as `choose_groups` says.

    Raises:
        InputError: this is no table of predictions, or one of several parts, such as the file of a fold.
    """
    require_kind(rows, pd.DataFrame, "images_of takes a table of predictions", "read_predictions(FILE)")
    require_columns(rows, "The table of predictions", ("label", "predicted", "fold"))
    parts = sorted(rows["part"].unique()) if "part" in rows else []
    require(
        len(parts) < 2, f"The table has images of {', '.join(parts)}; give one part: rows[rows['part'] == 'test']."
    )
    labels, predicted, folds = (rows[name].to_numpy() for name in ("label", "predicted", "fold"))
    classes = tuple(classes_of(rows))
    return Predicted(labels, predicted, probabilities_of(rows), choose_groups(rows).codes, classes, folds=folds)


def image_scores(images: Predicted, ranked: bool = True) -> Callable[[ResampleWeights], dict[str, np.ndarray]]:
    """Return a function from weights to every score of the image report, by the names of `flat_scores`.

    A score of the confusion matrix needs the matrix of each group alone; a ranking needs the images. AUC and average
    precision are the mean over the folds, since scores of different models have no common scale: pooled scores are
    biased downwards, also after centring if folds differ in the shares of the classes (benchmarks/pooled_auc.py).

    Args:
        images: the predicted images.
        ranked: include the scores of the ranking, which take most of the time.

    Raises:
        InputError: `images` are not what `images_of` returns.
    """
    require_kind(images, Predicted, "image_scores takes what images_of returns", "images_of(read_predictions(FILE))")
    classes = len(images.classes)
    cells = (images.groups * classes + images.labels) * classes + images.predicted
    matrices = np.bincount(cells, minlength=images.num_groups * classes**2).reshape(images.num_groups, -1)
    counts = np.bincount(images.groups, minlength=images.num_groups)
    squares = ((images.probabilities - np.eye(classes)[images.labels]) ** 2).sum(1) / (2 if classes == 2 else 1)
    losses = np.bincount(images.groups, weights=squares, minlength=images.num_groups)
    rankings = [
        [_ranking(part, k) for k in ([1] if classes == 2 else range(classes))] for part in _by_fold(images) if ranked
    ]

    def scores(weights: ResampleWeights) -> dict[str, np.ndarray]:
        weights = np.asarray(weights, dtype=float)
        matrix = (weights @ matrices).reshape(-1, classes, classes)
        result = matrix_scores(matrix, images.classes) | {"brier": _ratio(weights @ losses, weights @ counts)}
        if ranked:
            per_fold = [zip(*(ranking(weights) for ranking in fold), strict=True) for fold in rankings]
            areas, averages = zip(*([_mean_of_defined(score) for score in fold] for fold in per_fold), strict=True)
            result |= {"roc_auc": _mean_of_defined(areas), "average_precision": _mean_of_defined(averages)}
        return result

    return scores


def matrix_scores(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the scores of many confusion matrices at once; (resamples, num_classes, num_classes), rows the truth."""
    right, support, drawn = matrix.diagonal(axis1=1, axis2=2), matrix.sum(2), matrix.sum(1)
    precision, recall = _ratio(right, drawn), _ratio(right, support)
    f1 = _ratio(2 * right, support + drawn)
    occurs = support > 0
    scores = {"accuracy": _ratio(right.sum(1), matrix.sum((1, 2))), "balanced_accuracy": _mean(recall, occurs)}
    scores["mcc"] = _matthews(right.sum(1), support, drawn)
    several = occurs.sum(1) > 1
    for name in ("balanced_accuracy", "mcc"):
        scores[name] = np.where(several, scores[name], np.nan)
    if len(classes) == 2:
        scores |= {"sensitivity": recall[:, 1], "specificity": recall[:, 0]}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        scores[f"macro.{name}"] = _mean(values, occurs)
        scores[f"weighted.{name}"] = _mean(values, support)
        scores |= {f"per_class.{which}.{name}": values[:, k] for k, which in enumerate(classes)}
    return scores


def patient_rates(images: Predicted, patients: np.ndarray) -> Callable[[ResampleWeights], dict[str, np.ndarray]]:
    """Return a function from weights to the recognition rate and the accuracy of the patients' mean probability.

    Args:
        images: the predicted images; a patient lies whole inside one group.
        patients: (n,) patient of each image, any values.
    """
    _, first, patient, sizes = np.unique(patients, return_index=True, return_inverse=True, return_counts=True)
    share = np.bincount(patient, weights=images.labels == images.predicted) / sizes
    mean = np.stack([np.bincount(patient, weights=column) for column in images.probabilities.T], axis=1)
    one_class = np.bincount(patient, weights=images.labels != images.labels[first][patient]) == 0
    verdict = np.where(one_class.all(), mean.argmax(1) == images.labels[first], np.nan)
    group = images.groups[first]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, weights=values, minlength=images.num_groups)

    totals = {"recognition_rate": total(share), "accuracy_of_mean_probability": total(verdict)}
    count = total(np.ones(len(sizes)))
    return lambda weights: {name: _ratio(weights @ values, weights @ count) for name, values in totals.items()}


def patient_sides(images: Predicted, patients: np.ndarray) -> Callable[[ResampleWeights], dict[str, np.ndarray]]:
    """Return a function from weights to sensitivity and specificity of two classes' mean probability by patient.

    Args:
        images: the predicted images of two classes.
        patients: (n,) patient of each image; one whose images are of both classes is left out.
    """
    _, first, patient = np.unique(patients, return_index=True, return_inverse=True)
    verdict = np.stack([np.bincount(patient, weights=column) for column in images.probabilities.T], axis=1).argmax(1)
    label, group = images.labels[first], images.groups[first]
    one_class = np.bincount(patient, weights=images.labels != label[patient]) == 0
    counts = {}
    for name, side in (("sensitivity", 1), ("specificity", 0)):
        kept = one_class & (label == side)
        right = np.bincount(group[kept], weights=verdict[kept] == side, minlength=images.num_groups)
        counts[name] = right, np.bincount(group[kept], minlength=images.num_groups)
    return lambda weights: {name: _ratio(weights @ right, weights @ whole) for name, (right, whole) in counts.items()}


def risk_coverage(
    images: Predicted, wrong: np.ndarray, sure: np.ndarray
) -> Callable[[ResampleWeights], dict[str, np.ndarray]]:
    """Return a function from weights to the area and the error at each of COVERAGES; ties are kept or referred whole.

    Args:
        images: the cases.
        wrong: (n,) whether the decision is an error.
        sure: (n,) confidence.
    """
    order = np.argsort(-sure, kind="stable")
    ends = np.searchsorted(-sure[order], -sure[order], side="right") - 1
    groups, errors = images.groups[order], wrong[order].astype(float)

    def score(weights: ResampleWeights) -> dict[str, np.ndarray]:
        found: dict[str, list[np.ndarray]] = {}
        step = resamples_at_once(len(groups))
        for start in range(0, len(weights), step):
            own = np.asarray(weights[start : start + step], dtype=float)[:, groups]
            kept = own.cumsum(1)[:, ends]
            risk = np.divide((own * errors).cumsum(1)[:, ends], kept, out=np.zeros_like(kept), where=kept > 0)
            total = kept[:, -1]
            empty = np.where(total > 0, 1.0, np.nan)
            area = (own * risk).sum(1) / np.where(total > 0, total, 1) * empty
            found.setdefault("area", []).append(area)
            for share in COVERAGES:
                position = (kept >= share * total[:, None] - 1e-9).argmax(1)
                found.setdefault(f"risk {share}", []).append(risk[np.arange(len(risk)), position] * empty)
        return {name: np.concatenate(parts) for name, parts in found.items()}

    return score


def resamples_at_once(num_images: int) -> int:
    """Return a number of resamples whose cumulative sums over the images stay in the cache of the processor."""
    return 1 if num_images >= MANY_IMAGES else max(BLOCK, CACHED // max(num_images, 1))


def _by_fold(images: Predicted) -> list[Predicted]:
    """Return the images of each fold, with the numbers of the groups unchanged."""
    if images.folds is None:
        return [images]
    parts = [images.folds == fold for fold in np.unique(images.folds)]
    return [
        replace(
            images,
            labels=images.labels[part],
            predicted=images.predicted[part],
            probabilities=images.probabilities[part],
            groups=images.groups[part],
            total_groups=images.num_groups,
            folds=None,
        )
        for part in parts
    ]


def _ranking(images: Predicted, positive_class: int) -> Callable[[ResampleWeights], tuple[np.ndarray, np.ndarray]]:
    """Return a function from weights to area under the ROC curve and average precision of one class.

    Every positive image asks what weight of images stands above its score. Sorted once, the answers are cumulative
    sums.
    """
    score, positive = images.probabilities[:, positive_class], images.labels == positive_class
    highest, lowest = np.sort(-score[positive]), np.sort(-score[~positive])
    groups = [images.groups[side][np.argsort(-score[side], kind="stable")] for side in (positive, ~positive)]
    above, at_least = (np.searchsorted(lowest, highest, side) for side in ("left", "right"))
    hits = np.searchsorted(highest, highest, "right")

    def rank(weights: ResampleWeights) -> tuple[np.ndarray, np.ndarray]:
        area, average = np.empty(len(weights)), np.empty(len(weights))
        step = resamples_at_once(len(positive))
        for start in range(0, len(weights), step):
            block = slice(start, start + step)
            own, other = (weights[block][:, group] for group in groups)
            false = np.zeros((len(own), len(lowest) + 1))
            np.cumsum(other, axis=1, out=false[:, 1:])
            true = np.cumsum(own, axis=1)
            beaten = false[:, -1:] - (false[:, above] + false[:, at_least]) / 2
            area[block] = _ratio((own * beaten).sum(1), own.sum(1) * false[:, -1])
            found = true[:, hits - 1]
            precision = found / np.maximum(found + false[:, at_least], 1)
            defined = np.where(false[:, -1] > 0, own.sum(1), 0)
            average[block] = _ratio((own * precision).sum(1), defined)
        return area, average

    return rank


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return result


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over the classes; an undefined value counts 0, a weight of 0 leaves it out."""
    return _ratio((np.nan_to_num(values) * weights).sum(1), weights.sum(1))


def _mean_of_defined(values: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over the classes of what is not NaN; (num_classes, resamples) -> (resamples,)."""
    return _ratio(np.nan_to_num(values).sum(0), (~np.isnan(values)).sum(0))


def _matthews(right: np.ndarray, support: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Matthews correlation; 0, as in scikit-learn, where all images are predicted to be of one class."""
    total = support.sum(1)
    covariance = right * total - (support * drawn).sum(1)
    spread = np.sqrt((total**2 - (support**2).sum(1)) * (total**2 - (drawn**2).sum(1)))
    result: np.ndarray = np.nan_to_num(_ratio(covariance, spread))
    return result
