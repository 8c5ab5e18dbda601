"""Averages of probabilities: over transforms of an image (test-time augmentation), and over networks (an ensemble)."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from hf_breakhis.files import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

Transform = Callable[[torch.Tensor], torch.Tensor]

# Each takes pixels (..., side, side) and returns them in the same shape; the order has no effect on the mean.
DIHEDRAL: dict[str, Transform] = {
    "identity": lambda pixels: pixels,
    "left_right": lambda pixels: pixels.flip(-1),
    "up_down": lambda pixels: pixels.flip(-2),
    "half_turn": lambda pixels: pixels.flip(-2, -1),
    "transpose": lambda pixels: pixels.transpose(-2, -1),
    "quarter_turn": lambda pixels: pixels.transpose(-2, -1).flip(-2),
    "three_quarter_turn": lambda pixels: pixels.transpose(-2, -1).flip(-1),
    "anti_transpose": lambda pixels: pixels.transpose(-2, -1).flip(-2, -1),
}
TTA: dict[str, dict[str, Transform]] = {"none": {"identity": DIHEDRAL["identity"]}, "dihedral": DIHEDRAL}


def transforms_of(tta: str) -> dict[str, Transform]:
    """Return the transforms of a test-time augmentation, by name.

    Raises:
        InputError: the name is not a key of `TTA`.
    """
    if tta not in TTA:
        raise InputError(f"`tta` is {tta}, but has to be one of {', '.join(TTA)}.{nearest(tta, list(TTA))}")
    return TTA[tta]


def log_mean(logits: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the mean of the softmax of several logits, which are logits themselves.

    Args:
        logits: (k, n, num_classes) float; those of one prediction (k = 1) are returned unchanged.

    Returns:
        (n, num_classes); their softmax is the mean of the k probabilities.
    """
    if logits.shape[0] == 1:
        return logits[0]
    return logits.log_softmax(-1).logsumexp(0) - math.log(logits.shape[0])


def mean_logits(logits: list[np.ndarray]) -> np.ndarray:
    """Return `log_mean` of k arrays (n, num_classes), in float64."""
    return log_mean(torch.from_numpy(np.stack(logits).astype(np.float64))).numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return (n, num_classes) probabilities in float64."""
    return torch.from_numpy(np.asarray(logits, dtype=np.float64)).softmax(-1).numpy()


def with_scores(table: "pd.DataFrame", logits: np.ndarray, classes: Sequence[str]) -> "pd.DataFrame":
    """Return a table with logits (n, num_classes) float64, their probabilities and the predicted class."""
    for prefix, values in (("logit", logits), ("prob", softmax(logits))):
        table = table.assign(**{f"{prefix}_{name}": values[:, i] for i, name in enumerate(classes)})
    return table.assign(predicted=logits.argmax(-1))
