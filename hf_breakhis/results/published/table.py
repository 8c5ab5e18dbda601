"""A published table as it is printed: its numbers keep their digits, since these say what they were rounded from."""

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from hf_breakhis.files import InputError, nearest
from hf_breakhis.yaml_files import AsText, other_kind, read_yaml

SCORES = ("precision", "recall", "f1")
MEANS = ("macro", "weighted")
FOLD_SCORES = ("accuracy", "balanced_accuracy", "auc")
UNNAMED = "mean"  # a mean of classes of which the table does not say how it was taken
UNITS = {"share": 1, "percent": 100}
MOST_IMAGES, MOST_DIGITS = 1_000_000, 8  # products of them fit into 64 bits
TOP = ("title", "source", "unit", "tables")
OF_TABLE = ("printed_in", "folds", "averages")
DECIMAL_COMMA = re.compile(r"[0-9]{0,3},[0-9]+ ?%?")
OTHER_NAMES = {
    "sensitivity": "the `recall` of the positive class", "specificity": "the `recall` of the negative class",
    "ppv": "the `precision` of the positive class", "npv": "the `precision` of the negative class",
}  # fmt: skip
KIND = "a table is YAML like papers/pixels-to-prognosis.yaml"


@dataclass(frozen=True)
class Printed:
    """A score as printed.

    Attributes:
        text: the digits, for messages.
        value: as a share.
        low: the smallest share that rounds to it, whichever way a half is rounded.
        high: the largest.
        unit: what a share of 1 is printed as, 1 or 100.
    """

    text: str
    value: float
    low: Fraction
    high: Fraction
    unit: int = 1


@dataclass(frozen=True)
class PublishedFold:
    """The rows of one fold, or of the averages over folds.

    Attributes:
        name: as printed.
        classes: class -> score -> number, for each class that has a row.
        supports: class -> test images; empty where none are printed.
        means: "macro" (mean of classes), "weighted" (by support) or "mean" (unknown which) -> score -> number.
        scores: of `FOLD_SCORES`.
        images: printed number of test images; None if there is none.
    """

    name: str
    classes: dict[str, dict[str, Printed]] = field(default_factory=dict)
    supports: dict[str, int] = field(default_factory=dict)
    means: dict[str, dict[str, Printed]] = field(default_factory=dict)
    scores: dict[str, Printed] = field(default_factory=dict)
    images: int | None = None

    @property
    def total(self) -> int:
        """The number of test images; 0 if it is unknown."""
        return sum(self.supports.values()) or self.images or 0


@dataclass(frozen=True)
class Table:
    """The folds of one classifier and their averages; `classes` in the order of the first fold, positive last."""

    name: str
    printed_in: str
    classes: tuple[str, ...]
    folds: tuple[PublishedFold, ...]
    averages: PublishedFold | None


@dataclass(frozen=True)
class Paper:
    """All tables of a file."""

    title: str
    source: str
    tables: tuple[Table, ...]


def read_paper(path: Path) -> Paper:
    """Read the tables of a paper.

    Raises:
        InputError: it is not YAML of this form, a field is unknown, or a number or a support is none that can be.
    """
    values = read_yaml(path, KIND, AsText)
    if "tables" not in values and (hint := other_kind(path, values, "table")):
        raise InputError(f"{path} has no `tables`.{hint}")
    _known(values, TOP, str(path))
    unit = values.get("unit", "share")
    if unit not in UNITS:
        raise InputError(f"{path}: `unit` is {unit!r}, but has to be one of {', '.join(UNITS)}.")
    tables = _mapping(values, "tables", str(path))
    read = tuple(_table(str(name), rows, f"{path}, {name}", UNITS[unit]) for name, rows in tables.items())
    return Paper(_text(values, "title", str(path)) or path.stem, _text(values, "source", str(path)), read)


def read_number(text: Any, unit: int, where: str) -> Printed:
    """Read a score as it is printed, such as .90 or 93.4.

    Args:
        text: the digits; a % after them makes them per cent.
        unit: what a share of 1 is printed as, 1 or 100.
        where: for messages.

    Raises:
        InputError: it is no number, or no share.
    """
    match = re.fullmatch(rf"([0-9]{{0,3}})(?:\.([0-9]{{1,{MOST_DIGITS}}}))?(%?)", str(text).replace(" %", "%"))
    if match is None or not (match[1] or match[2]):
        point = f" Write {str(text).replace(',', '.')}." if DECIMAL_COMMA.fullmatch(str(text)) else ""
        raise InputError(f"{where} is {text!r}, but has to be a number as printed, such as 0.90 or 89.5%.{point}")
    in_percent = unit == 100 and not match[3]
    unit = 100 if match[3] else unit
    decimals = match[2] or ""
    value = Fraction(int((match[1] or "0") + decimals), 10 ** len(decimals) * unit)
    if value > 1:
        raise InputError(f"{where} is {text}, but has to be from 0 to {unit}. Set `unit: percent` for per cent.")
    if in_percent and 0 < value <= Fraction(1, 100):
        raise InputError(
            f"{where} is {text} in a table with `unit: percent`, that is {text} %. Set `unit: share` if it is a "
            f"share, or write {text}%."
        )
    half = Fraction(1, 2 * 10 ** len(decimals) * unit)
    return Printed(str(text), float(value), max(value - half, Fraction(0)), min(value + half, Fraction(1)), unit)


def _table(name: str, rows: Any, where: str, unit: int) -> Table:
    if not isinstance(rows, dict):
        raise InputError(f"{where} holds no fields; give {', '.join(OF_TABLE)}.")
    _known(rows, OF_TABLE, where)
    folds = tuple(
        _fold(str(fold), values, f"{where}, fold {fold}", unit, None)
        for fold, values in _mapping(rows, "folds", where).items()
    )
    classes = tuple(folds[0].classes)
    unknown = next((fold for fold in folds if not fold.classes and not fold.total), None)
    if unknown is not None:
        raise InputError(
            f"{where}, fold {unknown.name} has no classes and no number of test images. Add a row with a support for "
            "each class, or `images:` with the number of test images."
        )
    if len(classes) == 1:
        raise InputError(
            f"{where}, fold {folds[0].name} has one class, {classes[0]}; give a row for each, two or more."
        )
    for fold in folds:
        if set(fold.classes) != set(classes):
            raise InputError(
                f"{where}, fold {fold.name} has the classes {', '.join(fold.classes) or 'none'}, but the first fold "
                f"has {', '.join(classes) or 'none'}. Write the same classes in every fold."
            )
    folds = tuple(replace(fold, classes={name: fold.classes[name] for name in classes}) for fold in folds)
    averages = rows.get("averages")
    read = None if averages is None else _fold("averages", averages, f"{where}, averages", unit, classes)
    return Table(name, _text(rows, "printed_in", where), classes, folds, read)


def _fold(name: str, values: Any, where: str, unit: int, classes: tuple[str, ...] | None) -> PublishedFold:
    """Read the rows of a fold, or of averages, which know the classes and have means without a name."""
    if not isinstance(values, dict):
        raise InputError(f"{where} holds no rows; give classes, {', '.join(FOLD_SCORES)} or {', '.join(MEANS)}.")
    of_averages = classes is not None
    rows = {key: row for key, row in values.items() if isinstance(row, dict)}
    numbers = {key: value for key, value in values.items() if key not in rows}
    _known(numbers, (*FOLD_SCORES, *(SCORES if of_averages else ("images",))), where)
    images = _support(numbers.pop("images"), f"{where}: images") if "images" in numbers else None
    if of_averages:
        _known(rows, (*MEANS, *(classes or ())), where)
    found: dict[str, dict[str, Printed]] = {}
    supports = {}
    for key, row in rows.items():
        allowed = SCORES if key in MEANS or of_averages else (*SCORES, "support")
        _known(row, allowed, f"{where}, {key}")
        if "support" in row:
            supports[key] = _support(row["support"], f"{where}: support of {key}")
        found[key] = {s: read_number(row[s], unit, f"{where}: {s} of {key}") for s in SCORES if s in row}
    scores = {key: read_number(value, unit, f"{where}: {key}") for key, value in numbers.items()}
    own = {key: row for key, row in found.items() if key not in MEANS}
    means = {key: row for key, row in found.items() if key in MEANS}
    unnamed = {key: scores.pop(key) for key in SCORES if key in scores}
    if supports and set(supports) != set(own):
        lacking = next(key for key in own if key not in supports)
        raise InputError(f"{where} has no support of {lacking}; give it for every class, or for none.")
    if images is not None and supports and images != sum(supports.values()):
        raise InputError(
            f"{where} has {images:,} images, but supports that sum to {sum(supports.values()):,}. Leave one out."
        )
    return PublishedFold(name, own, supports, means | ({UNNAMED: unnamed} if unnamed else {}), scores, images)


def _support(text: Any, where: str) -> int:
    digits = str(text).replace(",", "")
    if not re.fullmatch("[0-9]{1,9}", digits) or not 1 <= int(digits) <= MOST_IMAGES:
        raise InputError(f"{where} is {text!r}, but has to be a whole number from 1 to {MOST_IMAGES:,}.")
    return int(digits)


def _mapping(values: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    given = values.get(name)
    if not isinstance(given, dict) or not given:
        raise InputError(f"{where} has no `{name}:` with names below it; {KIND}.")
    return given


def _text(values: dict[str, Any], name: str, where: str) -> str:
    given = values.get(name, "")
    if not isinstance(given, str):
        raise InputError(f"{where}: `{name}` has to be text; write it in quotes.")
    return given


def _known(values: dict[Any, Any], allowed: tuple[str, ...], where: str) -> None:
    for key, value in values.items():
        if key not in allowed:
            if re.fullmatch("[0-9]+%?", str(key)) and not value:  # YAML ends a value in braces at a comma
                raise InputError(
                    f"{where} has a decimal comma before {key}. Write numbers with a point, such as 0.85."
                )
            if place := OTHER_NAMES.get(str(key).lower()):
                raise InputError(f"{where}: write `{key}` as {place}.")
            raise InputError(
                f"{where}: unknown field `{key}`; allowed are {', '.join(allowed)}.{nearest(key, allowed)}"
            )
