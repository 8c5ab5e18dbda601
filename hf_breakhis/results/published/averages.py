"""Whether printed averages follow from the rows of the folds, and how they were taken."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from hf_breakhis.results.published.consistency import FITS, NOT, OPEN, PrintedRows
from hf_breakhis.results.published.matrices import SLACK, Matrices, matrices, scores_of
from hf_breakhis.results.published.table import MEANS, UNNAMED, Printed, PublishedFold, Table

MEAN = "mean over folds"
LABELS = {"macro": "mean of classes", "weighted": "mean of classes weighted by support"}
MOST_COMBINATIONS = 500_000  # of the matrices of all folds that are looked at one by one


def check_averages(table: Table) -> dict[str, Any]:
    """Say how the printed averages follow from the rows: as means over folds, or of the folds pooled; of which mean.

    All combinations of the matrices that fit the folds are tried where these are few enough; otherwise each average is
    compared with the least and the most that it could be.
    """
    averages = table.averages or PublishedFold("averages")
    wanted = list((averages.means | averages.classes).items()) or [(UNNAMED, {})]
    found = [matrices(fold) if len(fold.classes) == 2 and fold.supports else None for fold in table.folds]
    if any(one is not None and not one.count for one in found):
        return {"verdict": OPEN, "how": "not compared, since a fold does not fit", "rows": []}
    pairs = [one.pairs for one in found if one is not None and one.pairs is not None]
    every = len(pairs) == len(found) and math.prod(map(len, pairs)) <= MOST_COMBINATIONS
    ways = _ways(pairs, table) if every else {MEAN: _bounds(table, found)}
    ways |= {"mean over folds of the printed digits": _digits(table)}
    rows = []
    for kind, printed in wanted:
        kinds = [*MEANS, *table.classes] if kind == UNNAMED and printed else [kind]

        def fitting(numbers: dict[str, Printed], scores: dict[str, Printed], kinds: list[str] = kinds) -> list[str]:
            return [
                f"{LABELS.get(label, label)}, {over}" if numbers else over
                for label in kinds
                for over, fits in ways.items()
                if fits({f"{label} {score}": value for score, value in numbers.items()} | scores)
            ]

        found_ways = fitting(printed, averages.scores)
        both = printed | averages.scores
        alone = []
        if not found_ways:
            alone = [key for key in both if fitting(_less(printed, key), _less(averages.scores, key))]
        rows.append(
            {
                "kind": kind,
                "printed": {key: value.text for key, value in both.items()},
                "ways": found_ways,
                "fits_without": alone,
            }
        )
    verdict = NOT if any(not row["ways"] for row in rows) else FITS if every else OPEN
    return {"verdict": verdict, "how": "every combination" if every else "bounds", "rows": rows}


def _less(numbers: dict[str, Printed], key: str) -> dict[str, Printed]:
    return {name: value for name, value in numbers.items() if name != key}


def _ways(pairs: list[np.ndarray], table: Table) -> dict[str, Callable[[dict[str, Printed]], bool]]:
    """Return the two ways to average, each with a function that says whether numbers fit one combination at once."""
    grid = np.indices([len(one) for one in pairs]).reshape(len(pairs), -1)
    per_fold = [scores_of(one, fold) for one, fold in zip(pairs, table.folds, strict=True)]
    summed = np.sum([one[index] for one, index in zip(pairs, grid, strict=True)], axis=0)
    supports = {name: sum(fold.supports[name] for fold in table.folds) for name in table.classes}
    pooled = scores_of(summed, replace(table.folds[0], supports=supports))

    @cache
    def mean(name: str) -> np.ndarray:
        return np.asarray(np.mean([fold[name][index] for fold, index in zip(per_fold, grid, strict=True)], axis=0))

    def fits(value: Callable[[str], np.ndarray], wanted: dict[str, Printed]) -> bool:
        good = np.ones(grid.shape[1], bool)
        for name, printed in wanted.items():
            if name == "auc":  # no matrix knows it
                good &= _overlap(*_bounds_of("auc", table, [None] * len(pairs)), printed)
                continue
            shares = value(name)
            good &= (shares >= float(printed.low) - SLACK) & (shares <= float(printed.high) + SLACK)
        return bool(good.any())

    return {MEAN: lambda wanted: fits(mean, wanted), "folds pooled": lambda wanted: fits(pooled.__getitem__, wanted)}


def _bounds(table: Table, found: Sequence[Matrices | None]) -> Callable[[dict[str, Printed]], bool]:
    """Return a function that compares each average with the least and the most that the folds allow."""
    return lambda wanted: all(_overlap(*_bounds_of(name, table, found), one) for name, one in wanted.items())


def _digits(table: Table) -> Callable[[dict[str, Printed]], bool]:
    """Return a function that compares averages with those of the printed digits, as if these were exact."""

    def exact(rows: PrintedRows) -> PrintedRows:
        return {name: {key: _exactly(value) for key, value in row.items()} for name, row in rows.items()}

    folds = tuple(
        replace(fold, classes=exact(fold.classes), means=exact(fold.means),
                scores={key: _exactly(value) for key, value in fold.scores.items()})
        for fold in table.folds
    )  # fmt: skip
    digits = replace(table, folds=folds)

    def fits(wanted: dict[str, Printed]) -> bool:
        bounds = [(_bounds_of(name, digits, [None] * len(folds)), printed) for name, printed in wanted.items()]
        return all(least == most and _overlap(least, most, printed) for (least, most), printed in bounds)

    return fits


def _exactly(printed: Printed) -> Printed:
    return replace(printed, low=Fraction(printed.value), high=Fraction(printed.value))


def _bounds_of(name: str, table: Table, found: Sequence[Matrices | None]) -> tuple[float, float]:
    """Return the least and the most that the mean over folds of a score can be."""
    bounds = [_bounds_of_fold(name, fold, one) for fold, one in zip(table.folds, found, strict=True)]
    return math.fsum(low for low, _ in bounds) / len(bounds), math.fsum(high for _, high in bounds) / len(bounds)


def _bounds_of_fold(name: str, fold: PublishedFold, one: Matrices | None) -> tuple[float, float]:
    if one is not None and one.pairs is not None and name != "auc":
        values = scores_of(one.pairs, fold)[name]
        return float(values.min()), float(values.max())
    kind, _, score = name.rpartition(" ")
    printed = fold.scores.get(name) or {**fold.classes, **fold.means}.get(kind, {}).get(score)
    if printed is not None:
        return float(printed.low), float(printed.high)
    if kind in MEANS and all(score in row for row in fold.classes.values()) and (kind == "macro" or fold.supports):
        weights = [fold.supports[name] if kind == "weighted" else 1 for name in fold.classes]
        rows = [row[score] for row in fold.classes.values()]
        low, high = (
            math.fsum(w * float(getattr(one, side)) for w, one in zip(weights, rows, strict=True)) / sum(weights)
            for side in ("low", "high")
        )
        return low, high
    return 0.0, 1.0


def _overlap(least: float, most: float, printed: Printed) -> bool:
    return most >= float(printed.low) - SLACK and least <= float(printed.high) + SLACK
