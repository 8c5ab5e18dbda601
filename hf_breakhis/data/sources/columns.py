"""The columns of images whose file names say nothing: what a table or a folder tells, None for the rest."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from hf_breakhis.data.filenames import CLASSES, MAGNIFICATIONS, TUMOR_TYPES
from hf_breakhis.data.images import TARGETS, Images, few, in_order
from hf_breakhis.files import InputError

_FORMULA = ("=", "+", "-", "@")
_MARKUP = "<>|`[]\\"
OPTIONAL = ("tumor_type", "patient_id", "specimen_id", "magnification")


def describe(
    images: datasets.Dataset,
    columns: Mapping[str, Sequence[Any]],
    classes: Sequence[str],
    source: str,
    location: str,
    data_args: Any,
    stamp: str = "",
    warnings: Sequence[str] = (),
) -> Images:
    """Give images the seven columns from what a source tells of them.

    Args:
        images: one column, `image`.
        columns: `file_name`, unique, and `label`, an index into `classes`; and any of `OPTIONAL`. An empty
            text counts as unknown.
        classes: names of the classes.
        source: see `Images`.
        location: see `Images`.
        data_args: has `magnifications` and `target`.
        stamp: see `Images`.
        warnings: see `Images`.

    Raises:
        InputError: a name is there twice or would do harm in a table, or the magnification or target asked for is
            not known of these images.
    """
    unknown = [None] * len(images)
    table = {name: [_text(value) for value in columns.get(name, unknown)] for name in OPTIONAL}
    file_names, labels = [str(name) for name in columns["file_name"]], list(columns["label"])
    require_once(file_names, location)
    _require_plain({"file_name": file_names, "class": classes, **table}, location)
    rows = _rows_at(table["magnification"], data_args.magnifications, location)
    if data_args.target != "malignancy":
        labels, classes = _types(table["tumor_type"], location)
    text = datasets.Value("string")
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=list(classes))} | dict.fromkeys([*OPTIONAL, "file_name"], text)
    )
    beside = datasets.Dataset.from_dict({"label": labels} | table | {"file_name": file_names}, features=features)
    order = sorted(rows, key=lambda row: file_names[row])
    dataset = in_order(datasets.concatenate_datasets([images, beside], axis=1), order)
    return Images(dataset, source, location, list(warnings), stamp=stamp)


def label_classes(names: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Return the label of each name, and the classes: sorted, benign and malignant in their usual order and spelling.

    Args:
        names: the class of each image, in words.
    """
    classes = tuple(sorted(set(names)))
    if {name.lower() for name in names} == set(CLASSES):
        names, classes = [name.lower() for name in names], CLASSES
    number = {name: label for label, name in enumerate(classes)}
    return [number[name] for name in names], classes


def _text(value: Any) -> str | None:
    """Return an id as text; a table may hold numbers, and empty cells in several forms."""
    return None if value is None or value != value or value == "" else str(value)


def require_once(file_names: Sequence[str], location: str) -> None:
    """Refuse images of one name.

    Raises:
        InputError: a name is there twice.
    """
    seen: set[str] = set()
    twice = sorted({name for name in file_names if name in seen or seen.add(name)})  # type: ignore[func-returns-value]
    if twice:
        raise InputError(f"{location} holds a name twice: {few(twice)}; give every image a name of its own.")


def _require_plain(columns: Mapping[str, Sequence[str | None]], location: str) -> None:
    """Refuse names that break the lines of a table, or that a spreadsheet or a card takes for more than a name.

    These names stand in CSV files that are opened with spreadsheets, and some in headers and in cards.
    """
    for column, values in columns.items():
        for value in sorted({value for value in values if value}):
            if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
                problem = "holds a control character"
            elif value.startswith(_FORMULA) and not re.fullmatch(r"[+-]?[0-9.]+", value):
                problem = f"begins with {value[0]}, as a formula of a spreadsheet does"
            elif column not in ("file_name", "patient_id", "specimen_id") and set(value) & set(_MARKUP):
                problem = f"holds one of {' '.join(_MARKUP)}, which mean something else in a card"
            else:
                continue
            raise InputError(f"The {column} {value!r} of {location} {problem}; give it another name.")


def _rows_at(magnifications: Sequence[str | None], wanted: Sequence[str], location: str) -> list[int]:
    """Return the rows at the magnifications wanted; all of them are wanted by default."""
    if set(wanted) == set(MAGNIFICATIONS):
        return list(range(len(magnifications)))
    if not all(magnifications):
        raise InputError(
            f"`magnifications` is {' '.join(wanted)}, but {location} does not say the magnification of every image; "
            "leave `magnifications` out."
        )
    rows = [row for row, magnification in enumerate(magnifications) if magnification in wanted]
    if not rows:
        there = ", ".join(sorted({str(magnification) for magnification in magnifications}))
        raise InputError(f"No image at {', '.join(wanted)} in {location}: there is {there}. Change `magnifications`.")
    return rows


def _types(types: Sequence[str | None], location: str) -> tuple[list[int], tuple[str, ...]]:
    """Return labels and classes for target=tumor_type."""
    if not all(types):
        raise InputError(
            f"`target` is tumor_type, but {location} does not say the tumor_type of every image; use malignancy."
        )
    found = {str(name) for name in types}
    classes = TARGETS["tumor_type"] if found <= set(TUMOR_TYPES) else tuple(sorted(found))
    return [classes.index(str(name)) for name in types], classes
