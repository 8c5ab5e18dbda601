"""Whether the printed scores of a fold can come from whole numbers of images.

For two classes every confusion matrix is counted. For more classes, and where no supports are printed, bounds are
compared: what they do not exclude may still be impossible.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hf_breakhis.results.published.matrices import SLACK, matrices, scores_of, whole_scores
from hf_breakhis.results.published.table import SCORES, Printed, PublishedFold

FITS, NOT, OPEN = "fits", "does not fit", "not excluded"
PrintedRows = dict[str, dict[str, Printed]]


def check_fold(fold: PublishedFold) -> dict[str, Any]:
    """Say whether a fold's numbers fit, in how many ways, and if not, without which one of them they do.

    `fits_without` has each number without which the others fit; `allowed` is the range that the others allow for it.
    """
    names = list(fold.classes)
    row: dict[str, Any] = {
        "fold": fold.name,
        "images": fold.total or None,
        "supports": fold.supports,
        "example": None,
        "fits_without": [],
    }
    if len(names) == 2 and fold.supports:
        found = matrices(fold)
        row |= {"how": "integer matrices", "num_matrices": found.count}
        if found.count and found.pairs is not None:
            right = found.pairs[len(found.pairs) // 2]
            n0, n1 = (fold.supports[name] for name in names)
            row["example"] = [[int(right[0]), int(n0 - right[0])], [int(n1 - right[1]), int(right[1])]]
        verdict = FITS if found.count else NOT
        if found.count and found.pairs is None and whole_scores(fold):
            verdict = OPEN
    elif set(fold.scores) == {"accuracy"} and not fold.classes:
        row |= {"how": "whole images", "num_matrices": None}
        accuracy = fold.scores["accuracy"]
        verdict = FITS if math.ceil(accuracy.low * fold.total) <= math.floor(accuracy.high * fold.total) else NOT
    else:
        row |= {"how": "bounds", "num_matrices": None}
        verdict = OPEN if _bounds_fit(fold) else NOT
    if verdict == NOT and row["how"] == "integer matrices":
        row["fits_without"] = [
            {"number": name, "printed": printed.text, "allowed": allowed, "unit": printed.unit}
            for name, printed, rest in _without_one(fold)
            if (allowed := _allowed(rest, name)) is not None
        ]
    return row | {"verdict": verdict}


def _bounds_fit(fold: PublishedFold) -> bool:
    """Compare what does not need a matrix of two classes: F1 with precision and recall, sums over classes."""
    for row in fold.classes.values():
        if set(row) == set(SCORES):
            bounds = [_harmonic(float(row["precision"].low), float(row["recall"].low)),
                      _harmonic(float(row["precision"].high), float(row["recall"].high))]  # fmt: skip
            if bounds[0] > float(row["f1"].high) + SLACK or bounds[1] < float(row["f1"].low) - SLACK:
                return False
    if not fold.supports or any("recall" not in row for row in fold.classes.values()):
        return True
    right, drawn = [0, 0], [0, 0]
    for name, row in fold.classes.items():
        n, recall = fold.supports[name], row["recall"]
        least, most = math.ceil(recall.low * n), math.floor(recall.high * n)
        if least > most:
            return False
        right = [right[0] + least, right[1] + most]
        precision = row.get("precision")
        drawn[0] += least if precision is None else math.ceil(least / precision.high) if precision.high else 0
        drawn[1] += math.floor(most / precision.low) if precision is not None and precision.low else fold.total
    accuracy = fold.scores.get("accuracy")
    if accuracy and (right[1] < accuracy.low * fold.total or right[0] > accuracy.high * fold.total):
        return False
    return drawn[0] <= fold.total <= drawn[1]


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _without_one(fold: PublishedFold) -> Iterator[tuple[str, Printed, PublishedFold]]:
    """Yield each printed number by name, and the fold without it."""
    for name, score, printed, rows in _without_cell(fold.classes):
        yield f"{name} {score}", printed, replace(fold, classes=rows)
    for name, score, printed, rows in _without_cell(fold.means):
        yield f"{name} {score}", printed, replace(fold, means=rows)
    for score, printed in fold.scores.items():
        yield score, printed, replace(fold, scores={k: v for k, v in fold.scores.items() if k != score})


def _without_cell(rows: PrintedRows) -> Iterator[tuple[str, str, Printed, PrintedRows]]:
    for name, row in rows.items():
        for score, printed in row.items():
            yield name, score, printed, rows | {name: {key: value for key, value in row.items() if key != score}}


def _allowed(rest: PublishedFold, name: str) -> list[float] | None:
    """Return the least and the most that the other numbers leave for one; None where they fit nothing themselves."""
    found = matrices(rest)
    if not found.count or found.pairs is None:
        return None
    scores = scores_of(found.pairs, rest)
    least, most = (scores["auc least"], scores["auc most"]) if name == "auc" else (scores[name], scores[name])
    return [float(least.min()), float(most.max())]
