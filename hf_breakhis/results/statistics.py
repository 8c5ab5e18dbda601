"""Intervals: how far a score may move when other specimens are drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hf_breakhis.results.predictions import known

Scores = Callable[[np.ndarray], Mapping[str, np.ndarray]]
LEVEL, RESAMPLES, SEED = 0.95, 2000, 0
MIN_GROUPS = 10
# A resample may miss a class; an interval of the few that do not would be of another quantity.
MAX_UNDEFINED = 0.05


@dataclass(frozen=True)
class Groups:
    """What is drawn as a whole.

    Attributes:
        level: "specimen", "patient" or "image".
        codes: (n,) number of each image's group, from 0.
    """

    level: str
    codes: np.ndarray

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.codes.max()) + 1


def choose_groups(table: pd.DataFrame) -> Groups:
    """Return the largest groups the source knows: specimens, else patients, else single images."""
    for level in ("specimen", "patient"):
        if known(table, f"{level}_id"):
            return Groups(level, np.unique(table[f"{level}_id"], return_inverse=True)[1])
    return Groups("image", np.unique(table["file_name"], return_inverse=True)[1])


def draw(num_groups: int, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Return how often each group is drawn, (resamples, num_groups): as many draws as groups, with replacement."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(num_groups, size=(resamples, num_groups))
    offsets = np.arange(resamples)[:, None] * num_groups
    return np.bincount((picks + offsets).ravel(), minlength=resamples * num_groups).reshape(resamples, num_groups)


def percentile(replicates: np.ndarray, level: float) -> tuple[float, float]:
    """Return the quantiles of the resampled scores that leave (1 - level) / 2 on either side."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


METHODS = {"percentile": percentile}


def intervals(
    scores: Scores,
    num_groups: int,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    method: str = "percentile",
    weights: np.ndarray | None = None,
) -> dict[str, dict[str, float | None]]:
    """Return {"value", "low", "high"} of every score.

    A score is a function of how often each group is drawn, so a method that needs more than the resamples (the score
    with each group left out, for one) can ask for it with other weights.

    Args:
        scores: from weights (resamples, num_groups) to the scores, (resamples,) each.
        num_groups: number of groups; below ten `low` and `high` are None.
        level: share of the resampled scores inside.
        resamples: number of resamples.
        seed: of the draw.
        method: key of METHODS.
        weights: the draw, where it is shared by several calls; replaces `resamples` and `seed`.
    """
    values = {name: float(value[0]) for name, value in scores(np.ones((1, num_groups))).items()}
    replicates: Mapping[str, np.ndarray] = {}
    if num_groups >= MIN_GROUPS:
        replicates = scores(draw(num_groups, resamples, seed) if weights is None else weights)
    return {name: bounded(value, replicates.get(name), level, method) for name, value in values.items()}


def bounded(
    value: float, replicates: np.ndarray | None, level: float = LEVEL, method: str = "percentile"
) -> dict[str, float | None]:
    """Return a value with its interval; None where there is no value or too few resamples define it."""
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    if replicates is None or np.isnan(replicates).mean() > MAX_UNDEFINED:
        return {"value": value, "low": None, "high": None}
    low, high = METHODS[method](replicates[~np.isnan(replicates)], level)
    return {"value": value, "low": low, "high": high}


def describe(groups: Groups, method: str = "percentile") -> dict[str, object]:
    """Return what summary.json says of the intervals."""
    plural = f"{groups.level}s"
    known_reason = f"{groups.count} {plural} are fewer than the {MIN_GROUPS} an interval needs."
    return {
        "method": f"{method} bootstrap over {plural}",
        "group": groups.level,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "num_groups": groups.count,
        "seed": SEED,
        "reason": known_reason if groups.count < MIN_GROUPS else None,
    }
