"""Which data set, and which part of it, has the supports of a table.

Data sets are compared by size and by class. Sizes follow scikit-learn: `train_test_split` sets aside the ceiling of
its share, `KFold` gives the first folds one image more. Only splits by image and the official folds are compared:
parts that keep patients together have sizes that depend on the draw.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from scipy.stats import hypergeom

from hf_breakhis.data.filenames import CLASSES, MAGNIFICATIONS, TUMOR_TYPES
from hf_breakhis.data.inventory import INVENTORY, NUM_OFFICIAL_FOLDS, RCL_PER_CLASS, SlideFolder
from hf_breakhis.results.published.consistency import FITS, NOT
from hf_breakhis.results.published.table import Table

SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.33, 0.4, 0.5)  # that people set aside
MOST_FOLDS = 10
# A random split has class counts as far from its expectation as this less often than once in a thousand.
ALPHA = 0.001
Counts = dict[str, int]


@dataclass(frozen=True)
class DataSet:
    """Images by class; `official` holds the test sets of the official folds, empty where it has none."""

    name: str
    counts: Counts
    official: tuple[Counts, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return sum(self.counts.values())


@cache
def data_sets(classes: tuple[str, ...]) -> tuple[DataSet, ...]:
    """Return the data sets that have these classes: by malignancy or by tumour type, whole or of one magnification."""
    found = [_breakhis(f"BreakHis, {one}", (one,), classes) for one in MAGNIFICATIONS]
    found.insert(0, _breakhis("BreakHis, all images", MAGNIFICATIONS, classes))
    if classes == tuple(sorted(CLASSES)):
        found.append(DataSet("RCL-7500", dict.fromkeys(CLASSES, RCL_PER_CLASS)))
    return tuple(one for one in found if tuple(sorted(one.counts)) == classes)


def check_supports(table: Table) -> dict[str, Any]:
    """Say for each data set whether a part of it has the supports of a table.

    Returns:
        `verdict` ("fits", "does not fit" or None where nothing can be compared, with the `reason`), and `data_sets`:
        for each its name, the `parts` that fit, those with fewest steps first, and if none does, the `reasons`.
    """
    rows = [{_canonical(name): number for name, number in fold.supports.items()} for fold in table.folds]
    if not all(rows):
        return {"verdict": None, "reason": "The table has no supports.", "data_sets": []}
    known = data_sets(tuple(sorted(rows[0])))
    if not known:
        classes = ", ".join(table.classes)
        return {"verdict": None, "reason": f"No data set known here has the classes {classes}.", "data_sets": []}
    compared = [_compare(data, rows) for data in known]
    fits = any(row["parts"] for row in compared)
    return {"verdict": FITS if fits else NOT, "reason": None, "data_sets": compared}


def in_common(checked: Sequence[dict[str, Any]]) -> list[str]:
    """Return what all tables may have used at once: a data set, and what was set aside of it before the split."""
    kept = [
        {f"{row['name']}, {part['kept']}" for row in one["data_sets"] for part in row["parts"]}
        for one in checked
        if one["verdict"] is not None
    ]
    return sorted(set.intersection(*kept)) if kept else []


def _breakhis(name: str, magnifications: tuple[str, ...], classes: tuple[str, ...]) -> DataSet:
    by_type = classes != tuple(sorted(CLASSES))

    def counts(folders: Iterator[SlideFolder]) -> Counts:
        found: Counts = {}
        for folder in folders:
            key = folder.tumor_type if by_type else CLASSES[folder.label]
            found[key] = found.get(key, 0) + sum(len(folder.numbers[one]) for one in magnifications)
        return found

    official = tuple(
        counts(folder for folder in INVENTORY if folder.official[fold] == "test") for fold in range(NUM_OFFICIAL_FOLDS)
    )
    return DataSet(name, counts(iter(INVENTORY)), official)


def _canonical(name: str) -> str:
    """Return a class by the name that the data sets here use: ductal carcinoma is DC, Benign is benign."""
    plain = name.strip().lower().replace("_", " ")
    types = {long: short for short, long in TUMOR_TYPES.items()} | {short.lower(): short for short in TUMOR_TYPES}
    return types.get(plain, plain)


def _compare(data: DataSet, rows: list[Counts]) -> dict[str, Any]:
    sizes = [sum(row.values()) for row in rows]
    parts: list[dict[str, str]] = []
    off_balance = None
    if data.official:
        parts += _official(data, rows)
    for kept, number in _kept(len(data)):
        for rule in _rules(number, sizes, number == len(data)):
            how = _balance(data, rows, number == len(data) == sum(sizes))
            if how is None:
                off_balance = rule
            else:
                parts.append({"kept": kept, "rule": rule, "how": how})
    return {
        "name": data.name,
        "num_images": len(data),
        "parts": parts,
        "reasons": [] if parts else _reasons(data, rows, off_balance),
    }


def _kept(number: int) -> Iterator[tuple[str, int]]:
    """Yield what may be left after something was set aside, with its size."""
    yield "nothing set aside", number
    for share in SHARES:
        left = number - math.ceil(share * number)
        yield f"{share:.0%} set aside ({left:,} images left)", left


def _rules(number: int, sizes: list[int], whole: bool) -> Iterator[str]:
    """Yield the ways to take test sets of these sizes from `number` images, which are a data set's `whole` or not.

    Of what is left after a part was set aside only hold-outs and folds are tried: with every way there would hardly be
    a size that fits none.
    """
    k = len(sizes)
    if k > 1 and sorted(sizes) == sorted(_fold_sizes(number, k)):
        yield f"{k} folds of {_sizes(sizes)}"
    if len(set(sizes)) > 1:
        return
    over = "" if k == 1 else f", {k} times"
    for share in SHARES:  # a floating-point product, as in scikit-learn
        held_out = math.ceil(share * number)
        if sizes[0] == held_out:
            yield f"a hold-out of {share:.0%}{over}"
        if whole and sizes[0] == math.ceil(0.5 * held_out):
            yield f"half of a hold-out of {share:.0%}{over}"
    if whole and sizes[0] == number:
        yield f"all of it{over}"
    for folds in range(3, MOST_FOLDS + 1):  # two folds are a hold-out of half
        if whole and k == 1 and sizes[0] in _fold_sizes(number, folds):
            yield f"one of {folds} folds"


def _fold_sizes(number: int, k: int) -> list[int]:
    return [number // k + (i < number % k) for i in range(k)]


def _balance(data: DataSet, rows: list[Counts], whole: bool) -> str | None:
    """Say how the class counts can have come about: "stratified", "random", or None where they cannot."""
    if whole and any(sum(row[name] for row in rows) != number for name, number in data.counts.items()):
        return None  # each image is tested once
    expected = [{name: sum(row.values()) * n / len(data) for name, n in data.counts.items()} for row in rows]
    if all(abs(row[name] - mean[name]) <= 1 for row, mean in zip(rows, expected, strict=True) for name in row):
        return "with the class counts of a stratified split"
    tests = [
        _tail(row[name], len(data), number, sum(row.values())) for row in rows for name, number in data.counts.items()
    ]
    return None if min(tests) < ALPHA / len(tests) else "drawn at random"


@cache
def _tail(found: int, total: int, of_class: int, drawn: int) -> float:
    """Return the two-sided probability of class counts as uneven as these in a random draw."""
    draw = (total, of_class, drawn)
    return min(1.0, 2 * float(min(hypergeom.cdf(found, *draw), hypergeom.sf(found - 1, *draw))))


def _official(data: DataSet, rows: list[Counts]) -> Iterator[dict[str, Any]]:
    """Yield the official folds, counted from 1 as published, that have exactly these counts."""
    fits = [[i + 1 for i, counts in enumerate(data.official) if counts == row] for row in rows]
    if all(fits):
        numbers = ", ".join(str(fold[0]) for fold in fits)
        yield {"kept": "nothing set aside", "rule": f"official fold{'s' * (len(rows) > 1)} {numbers}", "how": "exact"}


def _reasons(data: DataSet, rows: list[Counts], off_balance: str | None) -> list[str]:
    """Say why no part of a data set has these counts."""
    reasons, sizes = [], [sum(row.values()) for row in rows]
    k = len(rows)
    for name, number in data.counts.items():
        tested = sum(row[name] for row in rows)
        if max(row[name] for row in rows) > number:
            reasons.append(f"it has {number:,} {name} images, fewer than one test set")
        elif k > 1 and tested > number:
            reasons.append(f"it has {number:,} {name} images, and the folds test {tested:,}")
    if off_balance is None and k > 1:
        fold = _sizes(_fold_sizes(len(data), k))
        reasons.append(f"{k} folds of it have {fold} images, those of the table {_sizes(sizes)}")
    elif off_balance is None:
        reasons.append(f"no usual share or fold of it has {sizes[0]:,} images")
    shares = {name: sum(row[name] for row in rows) / sum(sizes) for name in data.counts}
    worst = max(shares, key=lambda name: abs(shares[name] - data.counts[name] / len(data)))
    if _balance(data, rows, False) is None:
        reasons.append(
            f"{data.counts[worst] / len(data):.0%} of its images are {worst}, in the table {shares[worst]:.0%}; a "
            "random split by image does not differ that much"
        )
    return reasons


def _sizes(sizes: list[int]) -> str:
    return " or ".join(f"{size:,}" for size in sorted(set(sizes)))
