"""Predicted classes of a file that also has scores: do they agree?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hf_breakhis.files import InputError

TIE = 1e-9


@dataclass(frozen=True)
class Difference:
    """Predicted classes that follow another threshold than the highest score.

    Attributes:
        count: images whose predicted class is not the class with the highest score.
        correct: images whose predicted class is the true one.
        threshold: the highest probability of malignant among images predicted benign, and the lowest among those
            predicted malignant; None if the folds of the file have several thresholds.
    """

    count: int
    correct: int
    threshold: tuple[float, float] | None


def compare_classes(
    prob: np.ndarray,
    own: np.ndarray,
    rows: pd.DataFrame,
    cells: "pd.Series[str]",
    classes: Sequence[str],
    path: Path,
) -> tuple[np.ndarray, Difference | None]:
    """Compare the predicted classes of a file with its scores.

    Args:
        prob: (n, num_classes) probabilities.
        own: (n,) predicted classes of the file.
        rows: with file_name, label and fold.
        cells: (n,) the predicted classes as written.
        classes: names of the classes.
        path: the file, for messages.

    Returns:
        The classes with the highest score, where a tie is decided by the file; and the difference.

    Raises:
        InputError: the classes differ, and no threshold in each fold explains them.
    """
    highest = prob.max(1)
    differs = np.take_along_axis(prob, own[:, None], axis=1)[:, 0] < highest - TIE
    predicted = np.where(differs, prob.argmax(1), own)
    if not differs.any():
        return predicted, None
    limits = _thresholds(prob, own, differs, rows["fold"].to_numpy()) if len(classes) == 2 else None
    if limits is None:
        row = int(np.argmax(differs))
        score = prob[row, predicted[row]]
        raise InputError(
            f"{path}: the predicted class of {int(differs.sum()):,} of {len(rows):,} rows is not the class with the "
            f"highest score{' and does not follow a threshold' if len(classes) == 2 else ''}, such as "
            f"{rows['file_name'].iloc[row]}, predicted {cells.iloc[row]!r}, with {score:.3g} for "
            f"{classes[predicted[row]]}. Correct the file, or give --scores classes to score the predicted classes, "
            "or --columns predicted= to score the scores."
        )
    correct = int((own == rows["label"].to_numpy()).sum())
    return predicted, Difference(int(differs.sum()), correct, limits[0] if len(limits) == 1 else None)


def _thresholds(
    prob: np.ndarray, own: np.ndarray, differs: np.ndarray, folds: np.ndarray
) -> list[tuple[float, float]] | None:
    """Return the range of the threshold of each fold that differs; None if one of them has no threshold."""
    found = []
    for fold in pd.unique(folds[differs]):
        mine = folds == fold
        benign, malignant = prob[mine & (own == 0), 1], prob[mine & (own == 1), 1]
        if not len(benign) or not len(malignant) or benign.max() > malignant.min():
            return None
        found.append((float(benign.max()), float(malignant.min())))
    return found
