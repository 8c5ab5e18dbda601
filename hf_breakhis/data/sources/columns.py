"""The columns of images whose file names say nothing: what a table or a folder tells, None for the rest."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import datasets

from hf_breakhis.data.filenames import CLASSES
from hf_breakhis.data.groups import PART_COLUMN
from hf_breakhis.data.images import Images, in_order, tell
from hf_breakhis.files import InputError, few
from hf_breakhis.tables import FORMULA

_MARKUP = "<>|`[]\\"
OPTIONAL = ("tumor_type", "patient_id", "specimen_id", "magnification")


def build_images(
    images: datasets.Dataset,
    columns: Mapping[str, Sequence[Any]],
    classes: Sequence[str],
    source: str,
    location: str,
    stamp: str = "",
    warnings: Sequence[str] = (),
    places: Mapping[str, list[str]] | None = None,
) -> Images:
    """Give images the seven columns from what a source tells of them.

    Args:
        images: one column, `image`.
        columns: `file_name`, unique, and `label`, an index into `classes`; and any of `OPTIONAL` and
            `PART_COLUMN`. An empty text counts as unknown.
        classes: names of the classes.
        source: see `Images`.
        location: see `Images`.
        stamp: see `Images`.
        warnings: see `Images`.
        places: see `Images`.

    Raises:
        InputError: a name is there twice or would do harm in a table.
    """
    unknown = [None] * len(images)
    table = {name: [_text(value) for value in columns.get(name, unknown)] for name in OPTIONAL}
    file_names, labels = [str(name) for name in columns["file_name"]], list(columns["label"])
    require_once(file_names, location)
    _require_plain({"file_name": file_names, "class": classes, **table}, location)
    parts = {name: list(columns[name]) for name in (PART_COLUMN,) if name in columns}
    text = datasets.Value("string")
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=list(classes))} | dict.fromkeys([*OPTIONAL, "file_name", *parts], text)
    )
    table |= {"file_name": file_names} | parts
    beside = datasets.Dataset.from_dict({"label": labels} | table, features=features)
    order = sorted(range(len(file_names)), key=file_names.__getitem__)
    dataset = in_order(datasets.concatenate_datasets([images, beside], axis=1), order)
    places = places or {}
    return Images(dataset, source, location, list(warnings), tell(places), stamp, places)


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
            elif value.startswith(FORMULA) and not re.fullmatch(r"[+-]?[0-9.]+", value):
                problem = f"begins with {value[0]}, as a formula of a spreadsheet does"
            elif column not in ("file_name", "patient_id", "specimen_id") and set(value) & set(_MARKUP):
                problem = f"holds one of {' '.join(_MARKUP)}, which mean something else in a card"
            else:
                continue
            raise InputError(f"The {column} {value!r} of {location} {problem}; give it another name.")
