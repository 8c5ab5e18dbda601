"""Intervals: how far a score may move when other specimens are drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.special import expit, logit, stdtr, stdtrit

from hf_breakhis.arguments import require
from hf_breakhis.files import require_kind
from hf_breakhis.results.predictions import known
from hf_breakhis.results.scores.estimands import INFLATION, Estimand, Estimate

Scores = Callable[[np.ndarray], Mapping[str, np.ndarray]]
LEVEL, RESAMPLES, SEED = 0.95, 2000, 0
MIN_GROUPS = 10
# A resample may miss a class; an interval of the few that do not would be of another quantity.
MAX_UNDEFINED = 0.05
METHOD = "bootstrap error"
# Scores that set classes against each other, or average over them, are no better known than the rarest one.
COMPARING = ("balanced_accuracy", "mcc", "roc_auc", "average_precision")
MAX_LEFT_OUT = 2000  # groups; of more, which are single images, each counts for nothing
TINY = 1e-12
NEAREST = 20  # a resample counts as at most so many times nearer to 0 or 1 than the score is


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
    """Return the largest groups the source knows: specimens, else patients, else single images.

    Where every patient counts as one specimen, the groups are called patients.
    """
    one_each = (table["specimen_id"] == table["patient_id"]).all()
    for level in ("patient",) if one_each else ("specimen", "patient"):
        if known(table, f"{level}_id"):
            return Groups(level, np.unique(table[f"{level}_id"], return_inverse=True)[1])
    return Groups("image", np.unique(table["file_name"], return_inverse=True)[1])


def groups_by_class(table: pd.DataFrame, groups: Groups, classes: Sequence[str]) -> dict[str, int]:
    """Return how many groups have images of each class; one of two classes counts for both."""
    labels = table["label"].to_numpy()
    return {name: len(np.unique(groups.codes[labels == label])) for label, name in enumerate(classes)}


def draw_groups(
    num_groups: int, resamples: int = RESAMPLES, seed: int = SEED, strata: np.ndarray | None = None
) -> np.ndarray:
    """Return how often each group is drawn, (resamples, num_groups): as many draws as groups, with replacement.

    The array is read-only, since the next call with the same arguments gets it too.

    Args:
        num_groups: number of groups.
        resamples: number of resamples.
        seed: of the draw.
        strata: (num_groups,) whole numbers; groups are then drawn within each stratum, so that its size stays.
    """
    return _drawn(num_groups, resamples, seed, None if strata is None else tuple(strata.tolist()))


@lru_cache(maxsize=1)  # a summary asks for the same draws thirty times in a row; many groups take 100 MB
def _drawn(num_groups: int, resamples: int, seed: int, strata: tuple[int, ...] | None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, num_groups), dtype=np.int64)
    within = np.zeros(num_groups) if strata is None else np.array(strata)
    for stratum in np.unique(within):
        inside = np.flatnonzero(within == stratum)
        picks = rng.integers(len(inside), size=(resamples, len(inside)))
        offsets = np.arange(resamples)[:, None] * len(inside)
        counts = np.bincount((picks + offsets).ravel(), minlength=resamples * len(inside))
        drawn[:, inside] = counts.reshape(resamples, len(inside))
    drawn.setflags(write=False)
    return drawn


@dataclass(frozen=True)
class Replicates:
    """What a method makes an interval of.

    Attributes:
        value: the score.
        scores: (resamples,) the score of each resample, none of them NaN.
        degrees: degrees of freedom of the spread.
        inflation: what the variance over resamples has to be multiplied by.
        is_share: whether the score lies between 0 and 1, as a difference does not.
        level: share of the intervals that shall hold the truth.
        limits: the range of a score that is no share.
    """

    value: float
    scores: np.ndarray
    degrees: float
    inflation: float = 1.0
    is_share: bool = True
    level: float = LEVEL
    limits: tuple[float, float] = (-1.0, 1.0)


def percentile(replicates: Replicates) -> tuple[float, float]:
    """Return the quantiles of the resampled scores that leave (1 - level) / 2 on either side."""
    low, high = np.quantile(replicates.scores, [(1 - replicates.level) / 2, (1 + replicates.level) / 2])
    return float(low), float(high)


def bootstrap_error(replicates: Replicates) -> tuple[float, float]:
    """Return the value -+ a t quantile times the spread of the resampled scores, shares in log odds.

    Resamples of few groups vary too little, and their spread is itself uncertain; see `weigh`. How often such
    intervals hold the truth where specimens are as few as in BreakHis stands in docs/statistics.md.
    Shares of exactly 0 or 1 have no log odds: a resample counts as at most `NEAREST` times nearer to 0 or 1 than the
    score itself, so that such resamples change neither the scale nor its end. A score of 0 or 1 needs `exact_bound`.

    Source:
        Hesterberg 2015, What Teachers Should Know About the Bootstrap, The American Statistician 69(4): t interval
        with bootstrap standard error, and narrowness bias.
    """
    scores, middle = replicates.scores, replicates.value
    if replicates.is_share:
        scores = logit(np.clip(scores, middle / NEAREST, 1 - (1 - middle) / NEAREST))
        middle = float(logit(middle))
    quantile = stdtrit(replicates.degrees, (1 + replicates.level) / 2)  # `t.ppf` without its checks
    half = quantile * scores.std(ddof=1) * np.sqrt(replicates.inflation)
    ends = np.array([middle - half, middle + half])
    ends = expit(ends) if replicates.is_share else np.clip(ends, *replicates.limits)
    return float(ends[0]), float(ends[1])


def exact_bound(value: float, num_groups: float, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a share of 0 or 1: exact for groups that are all correct, or all wrong.

    Source:
        Clopper and Pearson 1934, Biometrika 26(4), with as many trials as groups.
    """
    bound = float(((1 - level) / 2) ** (1 / num_groups))
    return (bound, 1.0) if value == 1 else (0.0, 1 - bound)


WORDS = {
    "bootstrap error": "t interval with the standard error of a",
    "percentile": "percentile interval of a",
}
TRAINING = ", drawn by class, variance doubled for training"
METHODS = {"bootstrap error": bootstrap_error, "percentile": percentile}


def intervals(
    scores: Scores,
    num_groups: int,
    *,
    classes: np.ndarray | None = None,
    shares: bool = True,
    limits: tuple[float, float] = (-1.0, 1.0),
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    method: str = METHOD,
    estimand: Estimand = Estimand.MODELS,
) -> dict[str, Estimate]:
    """Return the estimate of every score; of differences, which are no shares, also "p_value".

    Args:
        scores: from weights (resamples, num_groups) to the scores, (resamples,) each.
        num_groups: number of groups. `low` and `high` are None where a score rests on fewer than `MIN_GROUPS`: on all
            of them, on those of one class, or, where it compares classes, on those of any.
        classes: (num_groups,) the class of each group, -1 if it has no image; all of one where that is not known.
        shares: whether the scores lie between 0 and 1; differences do not.
        limits: the range of scores that are no shares.
        level: share of the intervals that shall hold the truth.
        resamples: number of resamples.
        seed: of the draw.
        method: key of METHODS.
        estimand: what the intervals are about. For the recipe, specimens are drawn within their class, since the
            numbers of the classes were chosen, and the variance is multiplied by its `INFLATION`.

    Raises:
        InputError: the level, the number of resamples or the method is not allowed, `scores` are no function, or
            `classes` are not one for each group.
    """
    what = f"intervals takes a function from weights to scores, not {type(scores).__name__}"
    require(callable(scores), f"{what}; give image_scores(images).")
    require_kind(num_groups, (int, np.integer), "`num_groups` is a number", "images.num_groups")
    require(num_groups >= 1, f"`num_groups` is {num_groups}, but has to be at least 1.")
    given = num_groups if classes is None else len(classes)
    require(given == num_groups, f"`classes` has {given} values for {num_groups} groups; give images.group_classes.")
    require(0 < level < 1, f"`level` is {level}, but has to be between 0 and 1, such as 0.95.")
    require(resamples >= 1, f"`resamples` is {resamples}, but has to be at least 1; {RESAMPLES} are usual.")
    require(method in METHODS, f"`method` is {method!r}, but has to be one of {', '.join(METHODS)}.")
    inflated = INFLATION[estimand]
    values = {name: float(value[0]) for name, value in scores(np.ones((1, num_groups))).items()}
    if num_groups < MIN_GROUPS:
        return {name: unbounded(value) if shares else _untested(value) for name, value in values.items()}
    classes = np.zeros(num_groups, int) if classes is None else classes
    numbers = np.bincount(classes[classes >= 0])
    fewest = min(numbers[numbers > 0])
    strata = classes if estimand is Estimand.RECIPE else None
    replicates = scores(draw_groups(num_groups, resamples, seed, strata))
    left_out = scores(1 - np.eye(num_groups)) if num_groups <= MAX_LEFT_OUT else {}
    needs_exact = shares and left_out and any(value in (0, 1) for value in values.values())
    alone = scores(np.eye(num_groups)) if needs_exact else {}
    found: dict[str, Estimate] = {}
    for name, value in values.items():
        degrees, inflation = weigh(value, left_out[name], classes) if name in left_out else (fewest - 1.0, 1.0)
        compares = name.partition(" ")[0] in COMPARING or name.startswith("macro.")
        few = min(degrees + 1, fewest if compares else np.inf) < MIN_GROUPS
        # Resampling cannot say how certain it is that all are correct or all are wrong.
        is_share = shares and name != "mcc"
        has_bound = is_share and not name.endswith("f1")  # which is no share of groups, so that no exact bound holds
        defined = replicates[name][~np.isnan(replicates[name])]
        constant = shares and len(defined) > 0 and np.ptp(defined) < TINY
        if few or (constant and not (has_bound and value in (0, 1))):
            found[name] = unbounded(value) if shares else _untested(value)
        elif constant:
            rests_on = int((~np.isnan(alone[name])).sum()) if name in alone else 0
            rests_on = rests_on or int(fewest)  # a comparison of classes is undefined for one group
            ends = exact_bound(value, rests_on / inflated, level) if rests_on >= MIN_GROUPS else (None, None)
            found[name] = {"value": value, "low": ends[0], "high": ends[1]}
        else:
            resampled = Replicates(value, replicates[name], degrees, inflation * inflated, is_share, level, limits)
            found[name] = bounded(resampled, method)
            if not shares:
                found[name]["p_value"] = None if found[name]["low"] is None else p_value(resampled)
    return found


def p_value(replicates: Replicates) -> float:
    """Return the two-sided p-value of a difference of 0, by the distribution that gives `bootstrap_error`."""
    error = np.nanstd(replicates.scores, ddof=1) * np.sqrt(replicates.inflation)
    if error < TINY:
        return float(abs(replicates.value) < TINY)
    return float(2 * stdtr(replicates.degrees, -abs(replicates.value) / error))  # `t.sf` without its checks


def weigh(value: float, left_out: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Return degrees of freedom of a score's spread over groups, and what its resampled variance is multiplied by.

    Each class has its own number of groups and its own share of the variance, which the scores without each group
    tell: a specificity hangs on the benign groups alone, an accuracy on all, but mostly on those that differ most.

    Args:
        value: the score.
        left_out: (num_groups,) the score without each group.
        classes: (num_groups,) the class of each group.

    Source:
        Degrees of freedom of a sum of variances: Satterthwaite 1946, Biometrics Bulletin 2(6). Narrowness of the
        bootstrap, (n - 1) / n of the variance: Hesterberg 2015.
    """
    influence = np.nan_to_num(value - left_out)
    parts = [influence[classes == kind] for kind in np.unique(classes)]
    moving = [(len(part), float(part.var() * len(part))) for part in parts if np.any(np.abs(part) > TINY)]
    if not moving:
        return len(classes) - 1.0, 1.0
    if min(count for count, _ in moving) < 2:
        return 0.0, 1.0
    # the sum of squares of n influences times (n - 1) / n is the jackknife's variance, n / (n - 1) of the bootstrap's
    variances = np.array([spread * (count - 1) / count for count, spread in moving])
    counts = np.array([count for count, _ in moving])
    total = variances.sum()
    if total < TINY:
        return float(counts.min() - 1), 1.0
    degrees = total**2 / (variances**2 / (counts - 1)).sum()
    return float(degrees), float(total / (variances * (counts - 1) / counts).sum())


def unbounded(value: float) -> Estimate:
    """Return a value without an interval."""
    return {"value": None if np.isnan(value) else value, "low": None, "high": None}


def _untested(value: float) -> Estimate:
    """Return a difference without an interval and without a p-value."""
    return {**unbounded(value), "p_value": None}


def bounded(replicates: Replicates, method: str = METHOD) -> Estimate:
    """Return a value with its interval, None where there is no value, or where it often cannot be computed."""
    undefined = np.isnan(replicates.scores)
    if (
        np.isnan(replicates.value)
        or undefined.mean() > MAX_UNDEFINED
        or (replicates.is_share and replicates.value in (0, 1))
    ):
        return unbounded(replicates.value)
    low, high = METHODS[method](replace(replicates, scores=replicates.scores[~undefined]))
    return {"value": replicates.value, "low": low, "high": high}


def resampling(level: str) -> str:
    """Return the name of the bootstrap that draws groups of this level."""
    return "bootstrap over images" if level == "image" else f"cluster bootstrap by {level}"


def describe_intervals(
    groups: Groups,
    by_class: Mapping[str, int],
    bounded: bool,
    method: str = METHOD,
    estimand: tuple[Estimand, str | None] = (Estimand.MODELS, None),
) -> dict[str, object]:
    """Return what summary.json says of the intervals.

    Args:
        groups: what is drawn.
        by_class: number of groups of each class.
        bounded: whether the pooled accuracy has an interval.
        method: key of METHODS.
        estimand: what the intervals are about, and why not about the recipe.
    """
    plural = f"{groups.level}s"
    reason = None
    if groups.count < MIN_GROUPS:
        reason = f"an interval needs at least {MIN_GROUPS} {plural}; the test sets contain {groups.count}."
    elif not bounded:
        counts = ", ".join(f"{count} {name}" for name, count in by_class.items())
        reason = f"the score is based on fewer than {MIN_GROUPS} {plural} ({counts})."
    return {
        "estimand": str(estimand[0]),
        "estimand_reason": estimand[1],
        "method": f"{WORDS[method]} {resampling(groups.level)}{TRAINING if estimand[0] is Estimand.RECIPE else ''}",
        "group": groups.level,
        "level": LEVEL,
        "resamples": RESAMPLES,
        "num_groups": groups.count,
        "num_groups_by_class": dict(by_class),
        "seed": SEED,
        "reason": reason,
    }
