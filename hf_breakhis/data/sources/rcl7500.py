"""RCL-7500, the Hub data set that the paper seems to have used: pictures and labels, and nothing about patients."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.filenames import CLASSES
from hf_breakhis.data.images import Images
from hf_breakhis.data.inventory import RCL_PER_CLASS
from hf_breakhis.data.sources.about import SOURCES
from hf_breakhis.data.sources.columns import build_images
from hf_breakhis.data.sources.datasets_cache import file_stamp
from hf_breakhis.data.sources.hub import fetch_published, rows_stamp
from hf_breakhis.data.sources.parquet import find_parquet, read_parquet
from hf_breakhis.data.twin.rcl7500 import row_names, write_rcl_twin
from hf_breakhis.data.twin.twin import TwinSettings
from hf_breakhis.files import InputError, expand_home

HUB_ID = str(SOURCES["rcl7500"].hub_id)
COPIES = (
    "3,750 benign images are more than the 2,480 of BreakHis: if RCL-7500 was made from BreakHis, as its page says, "
    "it holds copies, and a split by image puts copies of one image on both sides."
)
_REQUIRED = ("image", "label")


def load_rcl(data: DataArguments) -> Images:
    """Read RCL-7500 from the Hub, or from a folder of its Parquet files.

    Raises:
        InputError: it cannot be fetched, or what is there is something else.
    """
    notes: list[str] = []
    commit = None
    if data.data_dir is None:
        location = HUB_ID
        rows, commit, notes = fetch_published(HUB_ID, data.dataset_revision, required=_REQUIRED, without="rcl7500")
        stamp = rows_stamp(rows)
    else:
        place = Path(expand_home(data.data_dir))
        location = str(place)
        files = find_parquet(place, ())
        if not files:
            raise InputError(f"`data_dir` is {place}, which holds no Parquet file; leave it out to fetch {HUB_ID}.")
        stamp = file_stamp(files)
        rows = read_parquet(files, location, _REQUIRED)
    if {"file_name", "patient_id"} & set(rows.column_names):
        raise InputError(
            f"{location} has names or patients, which RCL-7500 has not: this is an export of BreakHis. "
            "Use --dataset breakhis."
        )
    images = _describe(rows, location, stamp)
    images.warnings.extend(notes)
    return replace(images, revision=commit)


def _describe(rows: datasets.Dataset, location: str, stamp: str) -> Images:
    """Give the rows names and labels, and count these."""
    labels = _labels(rows, location)
    counts = Counter(labels)
    warnings = [COPIES]
    if (counts[0], counts[1]) != (RCL_PER_CLASS, RCL_PER_CLASS):
        warnings.append(
            f"RCL-7500 has 3,750 images of each class; here are {counts[0]:,} benign, {counts[1]:,} malignant."
        )
    columns: dict[str, Sequence[Any]] = {"file_name": row_names(len(rows)), "label": labels}
    images = rows.select_columns("image")
    return build_images(images, columns, CLASSES, "rcl7500", location, stamp, warnings)


def read_rcl_twin(folder: Path, twin: Path, settings: TwinSettings) -> Images:
    """Read the twin of RCL-7500, written to `folder` if it is not there: image and label, as the original has them."""
    rows = write_rcl_twin(folder, twin, settings)
    paths = [str(folder / f"{name}.png") for name in rows["file_name"]]
    images = datasets.Dataset.from_dict({"image": paths}, datasets.Features({"image": datasets.Image(decode=False)}))
    copies = int((rows["turn"] != 0).sum())
    note = (
        f"{copies:,} of {len(rows):,} images are rotated copies of others, as RCL-7500 seems to contain: a split by "
        "image leaks."
    )
    columns = {"file_name": rows["file_name"].tolist(), "label": rows["label"].tolist()}
    return build_images(images, columns, CLASSES, "rcl7500_twin", str(folder), warnings=[note])


def _labels(rows: datasets.Dataset, location: str) -> list[int]:
    """Return the labels, 0 benign and 1 malignant, whether they are numbers or words.

    Raises:
        InputError: they are others.
    """
    feature = rows.features["label"]
    labels = list(rows["label"])
    if isinstance(feature, datasets.ClassLabel) and {name.lower() for name in feature.names} == set(CLASSES):
        labels = [CLASSES.index(feature.names[label].lower()) for label in labels]
    elif any(isinstance(label, str) for label in labels):
        labels = [{"benign": 0, "malignant": 1, "0": 0, "1": 1}.get(str(label).lower(), -1) for label in labels]
    if not set(labels) <= {0, 1}:
        raise InputError(f"{location} is not RCL-7500: its labels are not 0 (benign) and 1 (malignant) alone.")
    return labels
