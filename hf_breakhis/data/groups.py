"""Which images belong together, and whether there are enough groups to split."""

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
import pandas as pd

from hf_breakhis.arguments import SplitBy, require
from hf_breakhis.data.inventory import official_folds
from hf_breakhis.files import InputError, few, nearest_name, require_kind

PART_COLUMN = "folder_part"  # of images whose folders suggest a split: train, validation, test, or None
GROUP_COLUMNS = {"patient": "patient_id", "specimen": "specimen_id", "official": "patient_id"}


def require_splittable(
    labels: np.ndarray,
    columns: Mapping[str, Sequence[str | None]],
    split_by: str,
    num_folds: int,
    shares: Mapping[str, float],
) -> None:
    """Refuse arguments of `make_folds` that a recipe could not have.

    Raises:
        InputError: names the argument, its value and what is allowed.
    """
    splits = get_args(SplitBy)
    require(split_by in splits, f"`split_by` is {split_by!r}, but has to be one of {', '.join(splits)}.")
    is_number = isinstance(num_folds, int | np.integer) and not isinstance(num_folds, bool) and num_folds >= 1
    require(is_number, f"`num_folds` is {num_folds!r}, but has to be a whole number of at least 1.")
    for name, share in shares.items():
        require(0 <= share < 1, f"`{name}` is {share}, but a share is at least 0 and below 1.")
    are_numbers = labels.ndim == 1 and (not len(labels) or np.issubdtype(labels.dtype, np.integer))
    if not are_numbers or (labels < 0).any():
        shown = few([str(value)[:30] for value in np.unique(labels.astype(str))])
        has = f"the shape {labels.shape}, the type {labels.dtype} and the values {shown}"
        raise InputError(f"`labels` has {has}; give a whole number from 0 on for each image.")
    remedy = "{'specimen_id': images.dataset['specimen_id']}"
    require_kind(columns, (Mapping, pd.DataFrame), "`columns` is a dict from names to columns", remedy)
    for name, values in columns.items():
        lengths = (
            f"`columns` has {len(values):,} values of {name} for {len(labels):,} labels; give one for each image."
        )
        require(len(values) == len(labels), lengths)


def groups_of(num_images: int, columns: Mapping[str, Sequence[str | None]], split_by: str) -> np.ndarray:
    """Return (num_images,) int: equal numbers may not straddle a split.

    Raises:
        InputError: the images have no such ids.
    """
    if split_by in ("image", "folders"):
        return np.arange(num_images)
    column = GROUP_COLUMNS[split_by]
    ids = [identity for identity in columns.get(column, ()) if identity]
    if len(ids) != num_images:
        raise InputError(
            f"split_by={split_by} needs the column {column}, which these images do not have; "
            "use split_by=image, which may put one patient on both sides."
        )
    return np.unique(ids, return_inverse=True)[1]


def require_two_classes(labels: np.ndarray, classes: Sequence[str]) -> None:
    """Refuse images that leave nothing to tell apart.

    Raises:
        InputError: they are of one class.
    """
    present = np.unique(labels)
    if len(present) < 2:
        here = f"are of class {classes[present[0]]}" if len(present) else "have no class"
        raise InputError(f"All {len(labels):,} images {here}; give images of two classes or more.")


def require_enough_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    split_by: str,
    num_folds: int,
    reserve: bool,
    validation: bool,
) -> None:
    """Refuse what no draw can give: every class in every part.

    Raises:
        InputError: a class has too few groups; the message says what is possible.
    """
    count = {int(label): len(np.unique(groups[labels == label])) for label in np.unique(labels)}
    scarce = min(count, key=lambda label: (count[label], label))
    least = least_groups(num_folds, validation)
    left = count[scarce] - reserve
    if left >= least:
        return
    extra = " and ".join(name for name, asked in (("a reserve", reserve), ("a validation part", validation)) if asked)
    asked = f"num_folds={num_folds}" + (f" with {extra}" if extra else "")
    if left >= least_groups(left, validation):
        possible = f"at most {left} are possible: set num_folds={left}"
    elif extra:
        possible = "do without the extra part, or give more data"
    else:
        possible = f"give more data{'' if split_by == 'image' else ', or split_by=image, which leaks'}"
    units = split_by + "s" * (count[scarce] != 1)
    raise InputError(f"Class {classes[scarce]} has {count[scarce]} {units}, too few for {asked}; {possible}.")


def least_groups(num_folds: int, validation: bool) -> int:
    """Return how many groups of a class allow every part of every fold one of them; 1 fold is a hold-out."""
    if not validation:
        return max(2, num_folds)
    return 4 if num_folds == 2 else max(3, num_folds)


def official_parts(patient_ids: Sequence[str | None]) -> np.ndarray:
    """Return (num_images, 5) bool: whether an image is in the test set of each official fold.

    Raises:
        InputError: a patient is none of the 82.
    """
    parts = official_folds()
    strange = sorted({str(patient) for patient in patient_ids} - parts.keys())
    if strange:
        raise InputError(
            f"split_by=official knows the 82 slide folders of BreakHis, but not {strange[0]}; use split_by=specimen."
        )
    return np.array([[part == "test" for part in parts[str(patient)]] for patient in patient_ids])


def folder_rows(parts: Sequence[str | None]) -> dict[str, np.ndarray]:
    """Return the rows of the parts train, validation and test that the folders of the images suggest.

    Raises:
        InputError: the folders suggest no split, or not for every image.
    """
    found = np.array([part or "" for part in parts])
    rows = {part: np.flatnonzero(found == part) for part in ("train", "validation", "test")}
    if not (len(rows["train"]) and len(rows["test"])):
        raise InputError(
            "`split_by` is folders, but the images do not lie in folders train/ and test/; use split_by=specimen."
        )
    if outside := int((found == "").sum()):
        raise InputError(
            f"`split_by` is folders, but {outside:,} of {len(found):,} images lie outside of train/, val/ and test/; "
            "move them there, or use split_by=specimen."
        )
    return rows


def named_part(
    patient_ids: Sequence[str | None], wanted: Sequence[str], groups: np.ndarray, split_by: str
) -> np.ndarray:
    """Return (num_images,) bool: whether an image is of one of the patients that are named.

    Args:
        patient_ids: (num_images,) patient of each image.
        wanted: the patients.
        groups: (num_images,) what may not straddle the split.
        split_by: name of the groups, for messages.

    Raises:
        InputError: a patient is not among the images, or the part would divide a group.
    """
    ids = np.array([str(patient) for patient in patient_ids])
    absent = sorted(set(wanted) - set(ids))
    if absent:
        near = nearest_name(absent[0], sorted(set(ids)))
        hint = f" Did you mean `{near}`?" if near else ""
        raise InputError(f"`test_patients` has {absent[0]}, of whom there is no image here.{hint}")
    part = np.isin(ids, list(wanted))
    divided = np.intersect1d(groups[part], groups[~part])
    if len(divided):
        rest = np.unique(ids[(groups == divided[0]) & ~part])[0]
        raise InputError(
            f"`test_patients` divides a {split_by}: {rest} belongs to one that is named; name it too, or give "
            "split_by=patient, which leaks."
        )
    return part
