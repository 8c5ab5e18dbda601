"""Images as rows of a table with pictures in it: Parquet files as `hf-breakhis data export` writes them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from hf_breakhis.data.filenames import CLASSES, BreakHisName, parse_file_name
from hf_breakhis.data.images import Images, arrange
from hf_breakhis.data.inventory import NUM_OFFICIAL_FOLDS, official_folds
from hf_breakhis.data.sources.columns import OPTIONAL, build_images, require_once
from hf_breakhis.data.sources.datasets_cache import file_stamp, preparing_images
from hf_breakhis.files import InputError, few

REQUIRED = ("image", "label", "file_name")
_OFFICIAL = tuple(f"official_fold_{fold + 1}" for fold in range(NUM_OFFICIAL_FOLDS))


def find_parquet(place: Path, magnifications: Sequence[str]) -> list[Path]:
    """Return the Parquet files at `place`, sorted; none if it holds none.

    Args:
        place: one file, or a folder with files in it, in its `data/`, or in a folder for each magnification.
        magnifications: the folders to take in the last case.
    """
    if place.is_file():
        return [place]
    for folders in ([place], [place / "data"], [place / name for name in magnifications]):
        if files := sorted(path for folder in folders for path in folder.glob("*.parquet")):
            return files
    return []


def read_parquet(files: Sequence[Path], place: str, required: Sequence[str] = REQUIRED) -> datasets.Dataset:
    """Copy Parquet files into the datasets cache, once for their paths, sizes and times of change.

    Raises:
        InputError: one is damaged, or they lack a required column; or the cache has no room.
    """
    filled = []
    for path in files:
        try:
            about = pq.read_metadata(path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is no whole Parquet file ({error}); fetch or export it again.") from error
        require_export_columns(about.schema.to_arrow_schema().names, str(path), required)
        if about.num_rows:  # datasets does not take an empty file
            filled.append(str(path))
    if not filled:
        raise InputError(f"{place} holds no row; export or fetch it again.")
    with preparing_images(place):
        rows = datasets.Dataset.from_parquet(filled, cache_dir=str(datasets.config.HF_DATASETS_CACHE))
    return as_pictures(rows, place)


def require_export_columns(columns: Iterable[str], place: str, required: Sequence[str] = REQUIRED) -> None:
    """Refuse a table that is not in the form of `data export`.

    Raises:
        InputError: a required column is not there.
    """
    there = list(columns)
    if lacking := [name for name in required if name not in there]:
        what = f"column{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
        raise InputError(
            f"{place} lacks the {what}; it has {', '.join(there[:12])}. "
            "Give a table that `hf-breakhis data export` wrote, or class folders with dataset=imagefolder."
        )


def as_pictures(rows: datasets.Dataset, place: str) -> datasets.Dataset:
    """Return `rows` with a column `image` that datasets knows to be pictures.

    Raises:
        InputError: there is no row, or it holds no picture.
    """
    if not len(rows):
        raise InputError(f"{place} holds no row; export or fetch it again.")
    if not isinstance(rows.features["image"], datasets.Image):
        try:
            rows = rows.cast_column("image", datasets.Image(decode=False))
        except (pa.ArrowException, datasets.table.CastError, TypeError, ValueError) as error:
            raise InputError(
                f"The column image of {place} holds no pictures; give the bytes of image files."
            ) from error
    first = rows.cast_column("image", datasets.Image(decode=False))[0]["image"]
    if first is None or not first["bytes"]:
        raise InputError(f"The column image of {place} holds paths without pictures; give the bytes of image files.")
    return rows


def load_parquet(files: Sequence[Path], place: Path) -> Images:
    """Read Parquet files as images; what they are follows from the file names, if these are of BreakHis."""
    stamp = file_stamp(files)
    rows = read_parquet(files, str(place))
    return from_rows(rows, "parquet", str(place), stamp)


def from_rows(rows: datasets.Dataset, source: str, location: str, stamp: str) -> Images:
    """Turn a table with our columns into images.

    BreakHis names are believed before columns: they go the way of every other form of BreakHis, and columns that
    disagree are a finding. Where no name is of BreakHis, the columns are all there is.

    Args:
        rows: has `REQUIRED`, and any of `OPTIONAL`, official_fold_1 to 5 and specimen_fold.
        source: what to call images that are not of BreakHis.
        location: see `Images`.
        stamp: see `Images`.
    """
    names = [str(name) for name in rows["file_name"]]
    require_once(names, location)
    parsed = [_parse(name) for name in names]
    if any(parsed):
        places = [name if one is None else one.path for name, one in zip(names, parsed, strict=True)]
        images = rows.select_columns("image")
        found = arrange(images, places, location, stamp)
        found.findings.extend(_compare(rows, parsed, location))
        return found
    feature = rows.features["label"]
    labels = list(rows["label"])
    if not all(type(label) is int and label >= 0 for label in labels):
        raise InputError(f"The column label of {location} is not made of whole numbers from 0; export it again.")
    classes = feature.names if isinstance(feature, datasets.ClassLabel) else [str(i) for i in range(max(labels) + 1)]
    columns = {name: list(rows[name]) for name in OPTIONAL if name in rows.column_names}
    columns |= {"label": labels, "file_name": names}
    return build_images(rows.select_columns("image"), columns, classes, source, location, stamp)


def _parse(name: str) -> BreakHisName | None:
    try:
        return parse_file_name(name)
    except InputError:
        return None


def _compare(rows: datasets.Dataset, names: Sequence[BreakHisName | None], location: str) -> list[str]:
    """Say in which rows a column disagrees with the file name, or with the official folds."""
    findings, official = [], official_folds()
    for column in ("label", *OPTIONAL, *_OFFICIAL):
        if column not in rows.column_names or (column == "label" and not _is_malignancy(rows)):
            continue
        pairs = zip(names, rows[column], strict=True)
        wrong = [str(name) for name, value in pairs if name is not None and value != _expected(name, column, official)]
        if wrong:
            findings.append(f"The column {column} of {location} is wrong (the file name is believed): {few(wrong)}.")
    if "specimen_fold" in rows.column_names:
        folds: dict[str, set[Any]] = {}
        for name, fold in zip(names, rows["specimen_fold"], strict=True):
            if name is not None:
                folds.setdefault(name.specimen_id, set()).add(fold)
        divided = sorted(specimen for specimen, several in folds.items() if len(several) > 1)
        if divided:
            findings.append(f"The column specimen_fold of {location} divides specimens: {few(divided)}.")
    return findings


def _expected(name: BreakHisName, column: str, official: dict[str, tuple[str, ...]]) -> Any:
    """Return what a column has to hold for an image; None in the official folds for a patient who is in none."""
    if column in _OFFICIAL:
        parts = official.get(name.patient_id)
        return parts and parts[_OFFICIAL.index(column)]
    return getattr(name, column)


def _is_malignancy(rows: datasets.Dataset) -> bool:
    """Tell whether `label` is benign or malignant, and not another target."""
    feature = rows.features["label"]
    return not isinstance(feature, datasets.ClassLabel) or tuple(feature.names) == CLASSES
