"""The card of an exported data set: what it is, what is in it, what is wrong with it, and how to load it."""

from pathlib import Path
from typing import Any

import pandas as pd
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData

from hf_breakhis.data.counts import columns_of, count_images, magnifications_of
from hf_breakhis.data.filenames import TUMOR_TYPES
from hf_breakhis.data.images import Images
from hf_breakhis.data.inventory import (
    NUM_OFFICIAL_FOLDS,
    NUM_SPECIMEN_FOLDS,
    SPECIMEN_FOLDS,
    SPECIMEN_SEED,
    expected_file_names,
    official_folds,
)
from hf_breakhis.data.sources.about import Source
from hf_breakhis.data.twin.twin import read_settings
from hf_breakhis.hub.templates import markdown_template

TEMPLATE = "dataset.md"
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K")


def write_card(
    images: Images,
    manifest_sha256: str,
    sentences: list[str],
    repo_id: str | None = None,
    infos: DatasetInfosDict | None = None,
) -> str:
    """Return the text of README.md.

    Args:
        images: what is exported.
        manifest_sha256: of these images.
        sentences: warnings and findings, one sentence each.
        repo_id: the repository on the Hub, if there is one.
        infos: columns and sizes of each configuration; None leaves them out.
    """
    table = columns_of(images.dataset)
    magnifications = magnifications_of(table)
    # What a reader needs of the whole of BreakHis is said of the whole, whatever part of it is here.
    complete = set(expected_file_names()) <= set(table["file_name"])
    return markdown_template(TEMPLATE).render(
        metadata=_metadata(images.about, len(table), magnifications, infos).to_yaml().rstrip(),
        twin=images.about.is_generated,
        settings=twin_settings(images),
        place=repo_id or "FOLDER_OR_REPOSITORY",
        example=magnifications[0],
        num_images=len(table),
        complete=complete,
        sentences=sentences,
        manifest_sha256=manifest_sha256,
        magnifications=magnifications,
        counts=_counts(images),
        num_patients=table["patient_id"].nunique(),
        num_specimens=table["specimen_id"].nunique(),
        official=_official_counts(table),
        specimen_folds=_specimen_counts(table),
        split_seed=SPECIMEN_SEED,
    )


def _metadata(
    source: Source, num_images: int, magnifications: list[str], infos: DatasetInfosDict | None
) -> DatasetCardData:
    """Return the block that the Hub and `load_dataset` read; all configurations name the same files."""
    paths = {name: f"data/{name}-*.parquet" for name in magnifications}
    everything = {
        "config_name": "default",
        "default": True,
        "data_files": [{"split": "train", "path": list(paths.values())}],
    }
    single = [{"config_name": name, "data_files": [{"split": "train", "path": path}]} for name, path in paths.items()]
    twin = source.is_generated
    metadata = DatasetCardData(
        license=source.licence,
        language=["en"],  # of the names of the columns and classes
        annotations_creators=["machine-generated" if twin else "expert-generated"],
        pretty_name="BreakHis twin (generated images)" if twin else "BreakHis with patients, specimens and folds",
        task_categories=["image-classification"],
        size_categories=[_SIZES[sum(num_images >= limit for limit in (1_000, 10_000))]],
        tags=["breakhis", "histopathology", "breast-cancer", "medical"] + ["synthetic"] * twin,
        configs=[everything, *single],
    )
    if infos is not None:
        infos.to_dataset_card_data(metadata)
    return metadata


def _counts(images: Images) -> list[list[str]]:
    """Return the rows of the table of counts, the heading first."""
    counts = count_images(images.dataset)
    numbers = list(counts.columns[2:])
    rows = [["class", "tumour type", *numbers]]
    for row in counts.to_dict("records"):
        tumor = row["tumor_type"]
        named = f"{TUMOR_TYPES[tumor]} ({tumor})" if tumor else ""
        cells = ["" if tumor else f"**{row['class']}**", named, *(f"{row[name]:,}" for name in numbers)]
        rows.append(cells)
    return rows


def _official_counts(table: pd.DataFrame) -> list[tuple[int, int, int]]:
    """Return (fold, training images, test images) of each official fold."""
    parts = official_folds()
    known = [parts[patient] for patient in table["patient_id"] if patient in parts]
    return [
        (i + 1, sum(part[i] == "train" for part in known), sum(part[i] == "test" for part in known))
        for i in range(NUM_OFFICIAL_FOLDS)
    ]


def _specimen_counts(table: pd.DataFrame) -> list[tuple[int, int, int, int]]:
    """Return (fold, specimens, benign images, malignant images) of each fold of the fixed split."""
    folds = table["specimen_id"].map(SPECIMEN_FOLDS)
    rows = []
    for i in range(NUM_SPECIMEN_FOLDS):
        part = table[folds == i]
        benign = int((part["label"] == "benign").sum())
        rows.append((i, part["specimen_id"].nunique(), benign, len(part) - benign))
    return rows


def twin_settings(images: Images) -> dict[str, Any]:
    """Return the settings of a twin, where the place it was read from tells them."""
    settings = read_settings(Path(images.location)) if images.about.is_generated else None
    return {} if settings is None else settings.to_dict()
