"""How accuracies move from fold to fold: more than sampling allows, and steadily upwards."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from hf_breakhis.results.published.table import Table

ALPHA = 0.001  # what chance does less often than this is reported


def spread_of_folds(table: Table) -> dict[str, Any] | None:
    """Compare the accuracies of the folds with what the sampling of test images alone would make of one accuracy.

    The test of homogeneity (chi-square) is given every benefit of rounding: within what each accuracy may have been
    rounded from, the values nearest to a common one are taken. What else may make folds differ: their training sets,
    patients kept together, one model that is trained on from fold to fold.
    """
    rows = _accuracies(table)
    if rows is None:
        return None
    low, high, n, printed = rows
    common = np.linspace(low.min(), high.max(), 2001)[1:-1]
    common = common[(common > 0) & (common < 1)]
    if not len(common):
        return None
    nearest = np.clip(common[:, None], low, high)
    chi2 = ((nearest - common[:, None]) ** 2 * n / (common * (1 - common))[:, None]).sum(1)
    best = int(np.argmin(chi2))
    p = float(stats.chi2.sf(chi2[best], len(n) - 1))
    return {
        "accuracies": printed,
        "sampling_error": float(np.sqrt(common[best] * (1 - common[best]) / n.mean())),
        "chi2": float(chi2[best]),
        "p": p,
        "unit": max(fold.scores["accuracy"].unit for fold in table.folds),
        "more_than_sampling": p < ALPHA,
    }


def climb(table: Table) -> dict[str, Any] | None:
    """Say whether accuracies rise from fold to fold, as those of a model do that is carried from fold to fold.

    They climb if the last is above the first by more than sampling allows and, rounding aside, none is below the one
    before it. `chance` is how often folds in random order would: 1 in k!.
    """
    rows = _accuracies(table)
    if rows is None or len(rows[2]) < 3:
        return None
    low, high, n, printed = rows
    rises = all(high[i + 1] >= low[i] for i, _ in pairwise(range(len(n))))
    gap = low[-1] - high[0]
    middle = float(np.clip((low.mean() + high.mean()) / 2, 0.01, 0.99))
    error = math.sqrt(middle * (1 - middle) * (1 / n[0] + 1 / n[-1]))
    climbs = bool(rises and gap > stats.norm.isf(ALPHA / 2) * error)
    return {"accuracies": printed, "climbs": climbs, "chance": 1 / math.factorial(len(n))}


def _accuracies(table: Table) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]] | None:
    """Return bounds of the accuracies, test images and printed text of all folds; None where one is lacking."""
    printed = [fold.scores.get("accuracy") for fold in table.folds]
    if len(printed) < 2 or any(one is None for one in printed) or any(not fold.total for fold in table.folds):
        return None
    there = [one for one in printed if one is not None]
    low, high = (np.array([float(getattr(one, side)) for one in there]) for side in ("low", "high"))
    return low, high, np.array([fold.total for fold in table.folds], dtype=float), [one.text for one in there]
