"""Intervals: how far a score may move when other specimens are drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import t

from hf_breakhis.results.predictions import known

Scores = Callable[[np.ndarray], Mapping[str, np.ndarray]]
LEVEL, RESAMPLES, SEED = 0.95, 2000, 0
MIN_GROUPS = 10
# A resample may miss a class; an interval of the few that do not would be of another quantity.
MAX_UNDEFINED = 0.05
METHOD = "bootstrap error"


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


def draw(
    num_groups: int, resamples: int = RESAMPLES, seed: int = SEED, strata: np.ndarray | None = None
) -> np.ndarray:
    """Return how often each group is drawn, (resamples, num_groups): as many draws as groups, with replacement.

    Args:
        num_groups: number of groups.
        resamples: number of resamples.
        seed: of the draw.
        strata: (num_groups,) whole numbers; groups are then drawn within each stratum, so that its size stays.
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, num_groups), dtype=np.int64)
    for stratum in [0] if strata is None else np.unique(strata):
        inside = np.arange(num_groups) if strata is None else np.flatnonzero(strata == stratum)
        picks = rng.integers(len(inside), size=(resamples, len(inside)))
        offsets = np.arange(resamples)[:, None] * len(inside)
        counts = np.bincount((picks + offsets).ravel(), minlength=resamples * len(inside))
        drawn[:, inside] = counts.reshape(resamples, len(inside))
    return drawn


@dataclass(frozen=True)
class Replicates:
    """What a method makes an interval of.

    Attributes:
        value: the score.
        scores: (resamples,) the score of each resample, none of them NaN.
        fewest: number of groups of the class that has the fewest.
        is_share: whether the score lies between 0 and 1, as a difference does not.
        level: share of the intervals that shall hold the truth.
    """

    value: float
    scores: np.ndarray
    fewest: int
    is_share: bool = True
    level: float = LEVEL


def percentile(told: Replicates) -> tuple[float, float]:
    """Return the quantiles of the resampled scores that leave (1 - level) / 2 on either side."""
    low, high = np.quantile(told.scores, [(1 - told.level) / 2, (1 + told.level) / 2])
    return float(low), float(high)


def bootstrap_error(told: Replicates) -> tuple[float, float]:
    """Return the value -+ a t quantile times the spread of the resampled scores, shares in log odds.

    Resamples of n groups vary too little, by sqrt((n - 1) / n), and their spread is itself uncertain; both are decided
    by the class of the fewest groups (16 benign specimens). Without them a percentile interval covers .88 to .94 in
    place of .95 in simulations with the specimens of BreakHis, with them .93 to .98 (docs/statistics.md).
    Shares of exactly 0 or 1 have no log odds: where a resample is one, the shares themselves are taken, cut to 0..1.

    Source:
        Hesterberg 2015, What Teachers Should Know About the Bootstrap, The American Statistician 69(4): t interval
        with bootstrap standard error, and narrowness bias. That the rarer class decides is our own reading, tried in
        simulations.
    """
    n = told.fewest
    inside = told.is_share and min(told.value, told.scores.min()) > 0 and max(told.value, told.scores.max()) < 1
    scores, middle = (logit(told.scores), logit(told.value)) if inside else (told.scores, told.value)
    half = t.ppf((1 + told.level) / 2, n - 1) * scores.std(ddof=1) * np.sqrt(n / (n - 1))
    ends = np.array([middle - half, middle + half])
    if told.is_share:
        ends = expit(ends) if inside else np.clip(ends, 0, 1)
    return float(ends[0]), float(ends[1])


WORDS = {
    "bootstrap error": "t interval with the bootstrap standard error",
    "percentile": "percentile bootstrap",
}
METHODS = {"bootstrap error": bootstrap_error, "percentile": percentile}


def intervals(
    scores: Scores,
    num_groups: int,
    *,
    fewest: int | None = None,
    shares: bool = True,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    method: str = METHOD,
) -> dict[str, dict[str, float | None]]:
    """Return {"value", "low", "high"} of every score.

    Args:
        scores: from weights (resamples, num_groups) to the scores, (resamples,) each.
        num_groups: number of groups; below ten `low` and `high` are None.
        fewest: number of groups of the class that has the fewest, `num_groups` where that is not known.
        shares: whether the scores lie between 0 and 1; differences do not.
        level: share of the intervals that shall hold the truth.
        resamples: number of resamples.
        seed: of the draw.
        method: key of METHODS.
    """
    values = {name: float(value[0]) for name, value in scores(np.ones((1, num_groups))).items()}
    replicates: Mapping[str, np.ndarray] = {}
    if num_groups >= MIN_GROUPS:
        replicates = scores(draw(num_groups, resamples, seed))
    fewest = num_groups if fewest is None else fewest
    found = {}
    for name, value in values.items():
        told = Replicates(value, replicates.get(name, np.array([])), fewest, shares and name != "mcc", level)
        found[name] = bounded(told, method)
    return found


def bounded(told: Replicates, method: str = METHOD) -> dict[str, float | None]:
    """Return a value with its interval, None where there is no value, a class of one group, or too few resamples."""
    if np.isnan(told.value):
        return {"value": None, "low": None, "high": None}
    undefined = np.isnan(told.scores)
    if told.fewest < 2 or not len(told.scores) or undefined.mean() > MAX_UNDEFINED:
        return {"value": told.value, "low": None, "high": None}
    low, high = METHODS[method](replace(told, scores=told.scores[~undefined]))
    return {"value": told.value, "low": low, "high": high}


def describe(groups: Groups, method: str = METHOD) -> dict[str, object]:
    """Return what summary.json says of the intervals."""
    plural = f"{groups.level}s"
    known_reason = f"{groups.count} {plural} are fewer than the {MIN_GROUPS} an interval needs."
    return {
        "method": f"{WORDS[method]} over {plural}",
        "group": groups.level,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "num_groups": groups.count,
        "seed": SEED,
        "reason": known_reason if groups.count < MIN_GROUPS else None,
    }
