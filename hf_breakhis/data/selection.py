"""The rows and labels that a recipe asks for, of all that a source holds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.filenames import CLASSES, MAGNIFICATIONS
from hf_breakhis.data.images import TARGETS, Images, in_order, warn_of_subset
from hf_breakhis.files import InputError

_ABSENCE = {"benign", "healthy", "normal", "negative", "control", "no", "not", "without", "0"}
_DISEASE = (
    "malign",
    "cancer",
    "carcinoma",
    "tumor",
    "tumour",
    "positive",
    "abnormal",
    "disease",
    "lesion",
    "yes",
    "1",
)


def select_images(images: Images, data: DataArguments) -> Images:
    """Return the images at the magnifications and of the tumour types asked for, labelled by the target.

    Raises:
        InputError: no image is left, or the source does not know the magnification or the type of its images.
    """
    if set(data.magnifications) != set(MAGNIFICATIONS):
        images = _at_magnifications(images, data.magnifications)
    if images.source == "breakhis":
        missing = warn_of_subset(images.dataset["file_name"], data.magnifications)
        images = replace(images, warnings=[*images.warnings, *missing])
    if data.tumor_types:
        images = _of_types(images, data.tumor_types)
    if data.target == "tumor_type":
        images = replace(images, dataset=_labelled_by_type(images, data.tumor_types))
    in_order_given = data.target == "tumor_type" and bool(data.tumor_types)
    if data.positive_class is None and (in_order_given or images.classes == CLASSES or len(images.classes) != 2):
        return images
    return _with_positive_class(images, data.positive_class)


def _at_magnifications(images: Images, wanted: Sequence[str]) -> Images:
    found = list(images.dataset["magnification"])
    if not all(found):
        raise InputError(
            f"`magnifications` is {' '.join(wanted)}, but {images.location} does not say the magnification of every "
            "image; leave `magnifications` out."
        )
    rows = [row for row, magnification in enumerate(found) if magnification in wanted]
    if not rows:
        there = sorted(set(found), key=lambda name: (len(name), name))
        raise InputError(
            f"No image at {', '.join(wanted)} in {images.location}: there are only {', '.join(there)}. "
            "Change `magnifications` or the data."
        )
    return replace(images, dataset=images.dataset.select(rows, keep_in_memory=True))


def _of_types(images: Images, tumor_types: Sequence[str]) -> Images:
    found = np.array(images.dataset["tumor_type"], dtype=object)
    there = sorted({str(kind) for kind in found if kind})
    absent = [kind for kind in tumor_types if kind not in there]
    if absent:
        has = f"has {' '.join(there)}" if there else "does not say the tumour type of its images"
        raise InputError(f"`tumor_types` has {absent[0]}, but {images.location} {has}; choose among these.")
    dataset = images.dataset.select(np.flatnonzero(np.isin(found, tumor_types)), keep_in_memory=True)
    return replace(images, dataset=dataset)


def _labelled_by_type(images: Images, tumor_types: Sequence[str]) -> datasets.Dataset:
    """Return the rows with the tumour type as label; types that the recipe names keep their order there."""
    found = set(images.dataset["tumor_type"])
    if not all(found):
        raise InputError(
            f"`target` is tumor_type, but {images.location} does not say the tumor_type of every image; "
            "use malignancy."
        )
    known = TARGETS["tumor_type"] if found <= set(TARGETS["tumor_type"]) else sorted(found)
    number = {name: label for label, name in enumerate(tumor_types or known)}
    return _relabelled(images.dataset, "tumor_type", number, list(number))


def _relabelled(
    dataset: datasets.Dataset, column: str, number: Mapping[Any, int], classes: Sequence[str]
) -> datasets.Dataset:
    """Return the rows with a label that follows from another column."""
    # The column of the whole table, without the index of the selection: else datasets would copy the images.
    whole = in_order(dataset, None)
    labels = pa.array([number.get(value) for value in whole[column]], pa.int64())
    feature = datasets.ClassLabel(names=list(classes))
    whole = whole.remove_columns("label").add_column("label", labels, feature=feature)
    return in_order(whole, dataset._indices)


def _with_positive_class(images: Images, wanted: str | None) -> Images:
    """Put the positive class last, as every score expects it; where the recipe does not name it, guess with a warning.

    Raises:
        InputError: there is no such class, or there are not two.
    """
    classes = list(images.classes)
    if wanted is not None and (len(classes) != 2 or wanted not in classes):
        raise InputError(
            f"`positive_class` is {wanted}, but has to be one of two classes; {images.location} has "
            f"{', '.join(classes)}. Change it or leave it out."
        )
    warnings = list(images.warnings)
    positive = wanted
    if positive is None:
        first, second = (_meaning(name) for name in classes)
        positive = classes[0] if first > second else classes[1]
        how = "by the alphabet, since the names do not tell" if first == second else "by the names of the classes"
        warnings.append(
            f"The positive class is {positive}, chosen {how} ({', '.join(classes)}): sensitivity and thresholds "
            "are about it. Set positive_class to confirm or change it."
        )
    if positive == classes[1]:
        return replace(images, warnings=warnings)
    dataset = _relabelled(images.dataset, "label", {0: 1, 1: 0}, classes[::-1])
    return replace(images, dataset=dataset, warnings=warnings)


def _meaning(name: str) -> int:
    """Return 1 for the name of a disease, -1 for that of its absence, 0 for any other."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    if any(word in _ABSENCE or word.startswith("non") for word in words):
        return -1
    return int(any(word.startswith(_DISEASE) for word in words))
