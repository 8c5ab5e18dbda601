"""The rows and labels that a recipe asks for, of all that a source holds."""

from collections.abc import Sequence
from dataclasses import replace

import datasets
import numpy as np
import pyarrow as pa

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.filenames import MAGNIFICATIONS
from hf_breakhis.data.images import TARGETS, Images, in_order, warn_of_subset
from hf_breakhis.files import InputError


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
    return images


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
    # The column of the whole table, without the index of the selection: else datasets would copy the images.
    whole = in_order(images.dataset, None)
    labels = pa.array([number.get(kind) for kind in whole["tumor_type"]], pa.int64())
    whole = whole.remove_columns("label").add_column("label", labels, feature=datasets.ClassLabel(names=list(number)))
    return in_order(whole, images.dataset._indices)
