"""The manifest: one number for a set of images with their labels and groups, the same wherever they lie."""

import hashlib
import json
from collections.abc import Sequence

import datasets

from hf_breakhis.data.filenames import CLASSES, MALIGNANT_TYPES
from hf_breakhis.data.images import TARGETS


def manifest_sha256(dataset: datasets.Dataset, content_sha256: Sequence[str]) -> str:
    """Return the sha256 of the sorted lines [file name, content hash, class, patient, specimen].

    Args:
        dataset: has the columns `file_name`, `label`, `patient_id`, `specimen_id`; a tumour type counts as its class,
            so that the number does not depend on the target of a run.
        content_sha256: of the bytes of each image's file, in the order of the rows. Folder, archive and Parquet agree
            as long as they hold the original bytes.
    """
    classes = dataset.features["label"].names
    if tuple(classes) == TARGETS["tumor_type"]:
        classes = [CLASSES[name in MALIGNANT_TYPES] for name in classes]
    columns = (dataset[name] for name in ("file_name", "label", "patient_id", "specimen_id"))
    lines = sorted(
        json.dumps([file_name, content, classes[label], patient, specimen])
        for content, file_name, label, patient, specimen in zip(content_sha256, *columns, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
