"""Any pictures in a folder for each class, and a `metadata.csv` that may say whose they are."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import pandas as pd
from tqdm import tqdm

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.images import Images, few
from hf_breakhis.data.sources.arranged import arrange_once, folder_state
from hf_breakhis.data.sources.breakhis_folder import is_text
from hf_breakhis.data.sources.columns import OPTIONAL, describe, label_classes
from hf_breakhis.files import InputError, expand_home, nearest_name

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
METADATA = "metadata.csv"
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def load_folder(data: DataArguments) -> Images:
    """Read the class folders at `data.data_dir`.

    An image is called by its path below the folder. Pictures that are no 8-bit RGB are found by the integrity check.

    Raises:
        InputError: there are fewer than two class folders, or the metadata do not fit them.
    """
    if data.data_dir is None:
        raise InputError(
            "`data_dir` is missing: dataset=imagefolder needs --data_dir, a folder with one for each class."
        )
    folder = Path(expand_home(data.data_dir))
    if not folder.is_dir():
        raise InputError(f"`data_dir` is {folder}, which is no folder; give one that holds a folder for each class.")
    return arrange_once(str(folder), ("imagefolder",), lambda: folder_state(folder), lambda: _load(folder))


def _load(folder: Path) -> Images:
    names = _list_pictures(folder)
    labels, classes = label_classes([PurePosixPath(name).parts[0] for name in names])
    columns: dict[str, Sequence[Any]] = {"file_name": names, "label": labels}
    warnings = []
    if (folder / METADATA).is_file():
        more, unread = read_metadata(folder / METADATA, names)
        columns |= more
        warnings += unread
        if "patient_id" in more and "specimen_id" not in more:
            columns["specimen_id"] = more["patient_id"]
            warnings.append(f"{METADATA} has no column specimen_id: every patient counts as one specimen.")
    if _is_breakhis(names[0]):
        warnings.append("These files are named as BreakHis images are: dataset=breakhis would know their patients.")
    paths = [str(folder / name) for name in names]
    images = datasets.Dataset.from_dict({"image": paths}, datasets.Features({"image": datasets.Image(decode=False)}))
    return describe(images, columns, classes, "imagefolder", str(folder), warnings=warnings)


def _list_pictures(folder: Path) -> list[str]:
    """Return the paths of all pictures below the class folders, from `folder` on, sorted.

    Raises:
        InputError: there are none, or not two class folders, or these are parts of a split.
    """
    try:
        names = sorted(_walk(folder))
    except OSError as error:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}. Give yourself rights there.") from error
    if not names:
        raise InputError(
            f"No picture ({', '.join(ENDINGS)}) in {folder}; give a folder that holds one for each class."
        )
    loose = [name for name in names if "/" not in name]
    if loose:
        raise InputError(f"In {folder}, outside of a class folder: {few(loose)}; move them into one.")
    classes = sorted({name.partition("/")[0] for name in names})
    if {name.lower() for name in classes} <= _PARTS:
        raise InputError(
            f"{folder} holds the parts {', '.join(classes)} of a split, not classes; give one of them, "
            "or put their class folders together: this package splits by itself."
        )
    if len(classes) < 2:
        raise InputError(f"{folder} holds one class folder, {classes[0]}; two or more are needed.")
    return names


def _walk(folder: Path) -> Iterator[str]:
    with tqdm(desc="Indexing", unit=" images", disable=None) as bar:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            top = Path(entry.path)
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            places = os.walk(top, onerror=_raise) if top.is_dir() else [(str(folder), [], [entry.name])]
            for parent, inner, files in places:
                inner[:] = [name for name in inner if not name.startswith(".")]
                if METADATA in files and Path(parent) != folder:
                    raise InputError(
                        f"{Path(parent) / METADATA} lies below {folder}; give one {METADATA}, in {folder}."
                    )
                for name in files:
                    if name.lower().endswith(ENDINGS) and not name.startswith("."):
                        path = os.path.join(parent, name)
                        if not is_text(path):
                            raise InputError(f"The name {path!r} is not UTF-8; rename the file.")
                        bar.update()
                        yield Path(path).relative_to(folder).as_posix()


def _raise(error: OSError) -> None:
    raise error


def _is_breakhis(name: str) -> bool:
    try:
        return bool(parse_file_name(PurePosixPath(name).name))
    except InputError:
        return False


def read_metadata(path: Path, names: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the columns of `OPTIONAL` that a metadata.csv has, one value for each of `names`, and warnings.

    Args:
        path: has the column file_name: a path below its folder, or a bare name where that is unique.
        names: the pictures that are there.

    Raises:
        InputError: it is no table, names a file that is absent, ambiguous or named before, leaves a picture out, or
            leaves a cell of such a column empty.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no CSV table ({' '.join(str(error).split())}); write it again.") from error
    if "file_name" not in table.columns:
        raise InputError(f"{path} has no column file_name; it has {', '.join(map(str, table.columns[:8]))}.")
    table["file_name"] = _resolve(table["file_name"].tolist(), names, path)
    repeated = table["file_name"][table["file_name"].duplicated()].tolist()
    if repeated:
        raise InputError(f"{path} names a file twice: {few(repeated)}; keep one row for each.")
    unnamed = sorted(set(names) - set(table["file_name"]))
    if unnamed:
        raise InputError(f"{path} has no row for {few(unnamed)}; add rows, or take the pictures away.")
    table = table.set_index("file_name").loc[list(names)]
    columns = {name: table[name].str.strip().tolist() for name in OPTIONAL if name in table.columns}
    for name, values in columns.items():
        empty = [file for file, value in zip(names, values, strict=True) if not value]
        if empty and len(empty) < len(values):
            raise InputError(f"{path} has an empty {name} for {few(empty)}; fill it in, or leave the column out.")
    return {name: values for name, values in columns.items() if any(values)}, _warn_of_others(list(table.columns))


def _warn_of_others(columns: Sequence[str]) -> list[str]:
    """Name the columns that nobody reads, each with the one that may be meant."""
    told = []
    for column in columns:
        near = nearest_name(column.strip().lower(), OPTIONAL)
        if column not in OPTIONAL:
            told.append(f"{column} (did you mean {near}?)" if near and near not in columns else column)
    known = f"it knows file_name, {', '.join(OPTIONAL)}"
    return [f"Columns of {METADATA} that this package does not read: {few(told)}; {known}."] if told else []


def _resolve(given: Sequence[str], names: Sequence[str], path: Path) -> list[str]:
    """Return the path of each file that a metadata.csv names."""
    bare: dict[str, list[str]] = {}
    for name in names:
        bare.setdefault(PurePosixPath(name).name, []).append(name)
    there = set(names)
    found, absent = [], []
    for text in given:
        name = PurePosixPath(text.strip().replace("\\", "/")).as_posix()
        places = [name] if name in there else bare.get(name, [])
        if len(places) > 1:
            raise InputError(f"{path} names {name}, which is in several folders: {few(places)}; write the folder too.")
        if places:
            found.append(places[0])
        else:
            absent.append(text)
    if absent:
        raise InputError(f"{path} names what is not there: {few(absent)}; correct file_name or delete the rows.")
    return found
