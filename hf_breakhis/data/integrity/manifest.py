"""The manifest: one number for a set of images with their labels and groups, the same wherever they lie."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

import datasets

from hf_breakhis.data.filenames import CLASSES, MALIGNANT_TYPES
from hf_breakhis.data.images import TARGETS


def manifest_sha256(dataset: datasets.Dataset, content_sha256: Iterable[str]) -> str:
    """Return the sha256 of the sorted lines [file name, content hash, class, patient, specimen].

    Args:
        dataset: has the columns `file_name`, `label`, `patient_id`, `specimen_id`; a tumour type counts as its class,
            so that the number does not depend on the target of a run.
        content_sha256: of the bytes of each image's file, in the order of the rows; walked through twice at most.
            Folder, archive and Parquet agree as long as they hold the original bytes.
    """
    classes = dataset.features["label"].names
    if tuple(classes) == TARGETS["tumor_type"]:
        classes = [CLASSES[name in MALIGNANT_TYPES] for name in classes]
    whole, before = hashlib.sha256(), ""
    for line in _lines(dataset, content_sha256, classes):
        if line < before:  # a name that sorts otherwise as JSON; then all lines are needed at once
            lines = sorted(_lines(dataset, content_sha256, classes))
            return hashlib.sha256("\n".join(lines).encode()).hexdigest()
        whole.update(f"\n{line}".encode() if before else line.encode())
        before = line
    return whole.hexdigest()


def _lines(dataset: datasets.Dataset, content_sha256: Iterable[str], classes: Sequence[str]) -> Iterator[str]:
    """Yield the lines in the order of the rows, with some thousands of rows in memory at a time."""
    content = iter(content_sha256)
    names = ["file_name", "label", "patient_id", "specimen_id"]
    for part in dataset.select_columns(names).iter(batch_size=10_000):
        for file_name, label, patient, specimen in zip(*(part[name] for name in names), strict=True):
            yield json.dumps([file_name, next(content), classes[label], patient, specimen])
