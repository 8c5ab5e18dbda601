"""Which column of a table is what."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_breakhis.data.filenames import CLASSES, TUMOR_TYPES
from hf_breakhis.files import InputError, nearest

COLUMNS = {
    "name": "file_name filename file image image_name img_name img image_path image_file image_id filepath path name",
    "label": "label true_label true_class y_true true truth target ground_truth actual class",
    "predicted": "predicted prediction pred y_pred predicted_class predicted_label pred_class pred_label",
    "fold": "fold",
    "part": "part",
    "patient_id": "patient_id patient",
    "specimen_id": "specimen_id specimen",
    "seen": "seen_in_training",
}
PREFIXES = {
    "prob": "probability", "probability": "probability", "p": "probability", "": "auto", "score": "auto",
    "percent": "percent", "votes": "votes", "logit": "logits", "logits": "logits",
}  # fmt: skip
ONLY_CLASSES = "classes"


def find_columns(
    columns: Sequence[str], given: Mapping[str, str], path: Path, only_classes: bool = False
) -> tuple[dict[str, str], dict[str, str], str]:
    """Find the columns by their names.

    Args:
        columns: names of all columns.
        given: key -> column, for columns that are not found by their names; "" leaves the column of a key out.
        path: the file, for messages.
        only_classes: scores are not used.

    Returns:
        Key -> column; class -> column of its scores; and what the scores are according to the names.

    Raises:
        InputError: a column is missing, is not known, or two columns have the same name.
    """
    _require_keys(columns, given, path)
    plain = by_plain_name(columns)
    found = {
        key: given[key] if key in given else first_column(words.split(), plain, key, path)
        for key, words in COLUMNS.items()
    }
    found = {key: name for key, name in found.items() if name}
    by_class, kind = {key: name for key, name in given.items() if key not in COLUMNS}, "auto"
    if not by_class and not only_classes:
        by_class, kind = _class_columns(plain, path, has_classes="predicted" in found)
    if "name" not in found:
        raise InputError(
            f"{path} has the columns {few_names(columns)}, none with names of images. Give --columns name=..."
        )
    if only_classes and "predicted" not in found:
        raise InputError(f"{path} has no column with predicted classes. Give --columns predicted=...")
    if not by_class and "predicted" not in found:
        raise InputError(
            f"{path} has the columns {few_names(columns)}, none with a score or a predicted class. Give --columns "
            'malignant="..." or predicted="...".'
        )
    if {*by_class} & set(CLASSES) and {*by_class} & set(TUMOR_TYPES):
        raise InputError("--columns has malignancy and tumour types. Give the columns of one of them.")
    if by_class and not set(by_class) & set(CLASSES):
        _require_each_type(by_class, path, "predicted" in found)
    return found, {} if only_classes else by_class, kind


def _require_keys(columns: Sequence[str], given: Mapping[str, str], path: Path) -> None:
    allowed = [*COLUMNS, *CLASSES, *TUMOR_TYPES]
    for key, name in given.items():
        if key not in allowed:
            raise InputError(f"--columns has `{key}`; allowed are {', '.join(allowed)}.{nearest(key, allowed)}")
        if not name and (key == "name" or key not in COLUMNS):
            raise InputError(f"--columns has no column for `{key}`. Give {key}=COLUMN.")
        if name and name not in columns:
            raise InputError(
                f"{path} has no column {name!r}; it has {few_names(columns)}.{nearest(name, list(columns))}"
            )


def _class_columns(plain: Mapping[str, Sequence[str]], path: Path, has_classes: bool) -> tuple[dict[str, str], str]:
    words: list[dict[str, tuple[str, ...]]] = [{name: (name,) for name in CLASSES}]
    words.append({code: (code.lower(), *name_forms(name)) for code, name in TUMOR_TYPES.items()})
    incomplete: dict[str, str] = {}
    for prefix, kind in PREFIXES.items():
        for classes in words:
            forms = {name: [f"{prefix}_{form}".strip("_") for form in own] for name, own in classes.items()}
            by_class = {
                name: column for name, own in forms.items() if (column := first_column(own, plain, name, path))
            }
            if by_class and (len(by_class) == len(classes) or len(classes) == len(CLASSES)):
                return by_class, kind
            incomplete = max(incomplete, by_class, key=len)
    # A few short names such as A and F may be something else in a table that has predicted classes.
    if incomplete and (not has_classes or len(incomplete) >= len(TUMOR_TYPES) // 2):
        _require_each_type(incomplete, path, has_classes)
    return {}, "auto"


def by_plain_name(columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns by their plain names."""
    plain: dict[str, list[str]] = {}
    for name in columns:
        plain.setdefault(plain_name(name), []).append(name)
    return plain


def first_column(
    words: Sequence[str],
    plain: Mapping[str, Sequence[str]],
    key: str,
    path: Path,
    remedy: str = "Give --columns {key}=COLUMN, or remove one of them.",
) -> str:
    """Return the column with the first of these names; "" if there is none.

    Raises:
        InputError: several columns have this name, apart from capital letters and punctuation.
    """
    named = next((plain[word] for word in words if word in plain), [""])
    if len(named) > 1:
        raise InputError(f"{path} has {len(named)} columns for `{key}`: {few_names(named)}. {remedy.format(key=key)}")
    return named[0]


def _require_each_type(by_class: Mapping[str, str], path: Path, has_classes: bool) -> None:
    missing = [code for code in TUMOR_TYPES if code not in by_class]
    if missing:
        raise InputError(
            f"{path} has scores of {len(by_class)} of {len(TUMOR_TYPES)} tumour types; missing: "
            f"{', '.join(f'{code} ({TUMOR_TYPES[code]})' for code in missing)}. Add a column for each"
            f"{f', or give --scores {ONLY_CLASSES} to use the predicted classes' if has_classes else ''}."
        )


def name_forms(name: str) -> tuple[str, str]:
    """Return how columns and cells write the name of a tumour type: phyllodes_tumor, phyllodes_tumour."""
    plain = name.replace(" ", "_")
    return plain, plain.replace("tumor", "tumour")


def plain_name(name: str) -> str:
    """Return the name of a column in lower case, with one underscore for each other character than a letter."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def few_names(names: Sequence[str]) -> str:
    """Return the first eight names in quotation marks, and how many more there are."""
    shown = ", ".join(repr(name[:40]) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
