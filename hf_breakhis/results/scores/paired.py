"""Pairs of runs: how far their scores lie apart on the images that both tested."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import classes_of, known
from hf_breakhis.results.scores.estimands import Estimand, Estimate, interval_of
from hf_breakhis.results.scores.intervals import RESAMPLES, choose_groups, intervals
from hf_breakhis.results.scores.resampling import Predicted, image_scores, images_of, patient_rates

SCORES = ("accuracy", "balanced_accuracy", "roc_auc")
PAIRED = (*SCORES, "recognition_rate")


class NothingInCommonError(InputError):
    """Two runs tested no image in common."""


def premium(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    """Return score differences, `one` less `other`, with their intervals, and the number of images compared.

    Args:
        one: test predictions of a run.
        other: of the run that it is compared with.

    Raises:
        InputError: no image was tested exactly once by both, or they have different classes.
    """
    found = paired_scores([(one, other)])
    return {name: interval_of(found[name]) for name in PAIRED} | {"num_images": found["num_images"]}


def paired_scores(pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return mean differences over pairs of runs, such as repeats, each on the images that both of a pair tested once.

    The same specimens are drawn for all pairs. The intervals and p-values are about the recipes: training on other
    specimens is included, see `estimands`. What other seeds change is in `repeats`.

    Args:
        pairs: of test predictions.
        resamples: number of resamples.

    Returns:
        For each of `PAIRED` `value`, `low`, `high`, `p_value` and `repeats` (the difference of each pair);
        `num_images` and `num_tested` of the first pair; `group`, what was drawn.

    Raises:
        InputError: the two of a pair tested no image in common, or have different classes or labels.
    """
    tables = [_common(one, other) for one, other in pairs]
    images, group, classes = _in_groups([table for pair in tables for table in pair])
    scores = [_scores(one, table) for one, table in zip(images, [t for pair in tables for t in pair], strict=True)]

    def differences(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = [score(weights) for score in scores]
        both = list(zip(found[::2], found[1::2], strict=True))
        each = {f"{name} {k}": one[name] - other[name] for k, (one, other) in enumerate(both) for name in PAIRED}
        return each | {name: np.mean([each[f"{name} {k}"] for k in range(len(both))], axis=0) for name in PAIRED}

    found = intervals(
        differences,
        images[0].num_groups,
        classes=classes,
        shares=False,
        resamples=resamples,
        estimand=Estimand.RECIPE,
    )
    return {
        **{
            name: found[name] | {"repeats": [found[f"{name} {k}"]["value"] for k in range(len(pairs))]}
            for name in PAIRED
        },
        "num_images": len(images[0].labels),
        "num_tested": len(pairs[0][0]),
        "group": group,
    }


def mean_scores(tables: Sequence[pd.DataFrame], estimand: Estimand = Estimand.MODELS) -> dict[str, Estimate]:
    """Return the mean of each of `PAIRED` over runs such as repeats, with its interval.

    About the models, the mean itself is resampled. About the recipe, the ends are the means of the ends of the runs'
    own intervals: all repeats train on the same specimens, so that averaging over seeds removes only a part of what
    training adds, and an interval of the resampled mean is too narrow (benchmarks/coverage_training.py).
    """
    images, _, classes = _in_groups(tables)
    scores = [_scores(one, table) for one, table in zip(images, tables, strict=True)]

    def means(weights: np.ndarray) -> dict[str, np.ndarray]:
        found = [score(weights) for score in scores]
        each = {f"{name} {k}": one[name] for k, one in enumerate(found) for name in PAIRED}
        return each | {name: np.mean([one[name] for one in found], axis=0) for name in PAIRED}

    found = intervals(means, images[0].num_groups, classes=classes, estimand=estimand)
    if estimand is not Estimand.RECIPE:
        return {name: found[name] for name in PAIRED}
    return {
        name: mean_interval(found[name]["value"], [found[f"{name} {k}"] for k in range(len(tables))])
        for name in PAIRED
    }


def point_scores(table: pd.DataFrame) -> dict[str, float]:
    """Return each of `PAIRED` of test predictions, without an interval; NaN where it is not defined."""
    images = images_of(table)
    found = _scores(images, table)(np.ones((1, images.num_groups)))
    return {name: float(found[name][0]) for name in PAIRED}


def mean_interval(value: float | None, runs: Sequence[Estimate]) -> Estimate:
    """Return a value with the means of the ends of the runs' intervals; None where a run has no interval."""
    ends = [(one["low"], one["high"]) for one in runs]
    if any(low is None or high is None for low, high in ends):
        return {"value": value, "low": None, "high": None}
    low, high = np.mean(np.array(ends, dtype=float), axis=0)
    return {"value": value, "low": float(low), "high": float(high)}


def _common(one: pd.DataFrame, other: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of the images that both tested exactly once, in one order."""
    left, right = (table.drop_duplicates("file_name", keep=False).set_index("file_name") for table in (one, other))
    names = left.index.intersection(right.index).sort_values()
    if names.empty:
        raise NothingInCommonError("The runs tested no image in common, so nothing can be compared image by image.")
    pair = left.loc[names].reset_index(), right.loc[names].reset_index()
    if classes_of(one) != classes_of(other) or (pair[0]["label"] != pair[1]["label"]).any():
        raise InputError("The two runs have different classes or labels, so their scores cannot be compared.")
    return pair


def _in_groups(tables: Sequence[pd.DataFrame]) -> tuple[list[Predicted], str, np.ndarray]:
    """Return the images of tables with one numbering of their groups, what the groups are, and the class of each."""
    everything = pd.concat(list(tables), ignore_index=True)
    groups = choose_groups(everything)
    ends = np.cumsum([len(table) for table in tables])[:-1]
    images = [
        replace(images_of(table), groups=codes, total_groups=groups.count)
        for table, codes in zip(tables, np.split(groups.codes, ends), strict=True)
    ]
    return images, groups.level, replace(images_of(everything), groups=groups.codes).group_classes


def _scores(images: Predicted, table: pd.DataFrame) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a function from weights to `PAIRED`; the recognition rate is NaN where no patients are known."""
    score = image_scores(images)
    rates = patient_rates(images, table["patient_id"].to_numpy()) if known(table, "patient_id") else None

    def scores(weights: np.ndarray) -> dict[str, np.ndarray]:
        nothing = {"recognition_rate": np.full(len(weights), np.nan)}
        return score(weights) | (nothing if rates is None else rates(weights))

    return scores
