"""Any images in a folder for each class, and a metadata.csv or metadata.jsonl that may say whose they are."""

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import pandas as pd
from tqdm import tqdm

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.filenames import CLASSES, MAGNIFICATIONS, is_breakhis, part_of
from hf_breakhis.data.groups import PART_COLUMN
from hf_breakhis.data.images import Images, suggested_split
from hf_breakhis.data.open_image import EXTENSIONS
from hf_breakhis.data.sources.columns import OPTIONAL, build_images, label_classes
from hf_breakhis.data.walk import IMAGE, LINK, OTHER, UNSUPPORTED, is_text, normal_path, walk
from hf_breakhis.files import InputError, expand_home, few, nearest_name, reason_of
from hf_breakhis.tables import foreign_rows

METADATA = ("metadata.csv", "metadata.jsonl")


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
    paths, unused = _list_images(folder)
    names = list(paths)
    levels = [PurePosixPath(name).parts for name in names]
    parts = [part_of(level[:1]) for level in levels]
    if all(parts):  # train/CLASS/... and test/CLASS/...
        levels = [level[1:] for level in levels]
    _require_classes(folder, names, levels)
    labels, classes = label_classes([level[0] for level in levels])
    columns: dict[str, Sequence[Any]] = {"file_name": names, "label": labels}
    warnings = []
    if all(parts):
        columns[PART_COLUMN] = parts
        warnings.append(suggested_split(parts))
    metadata = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(metadata) > 1:
        raise InputError(f"{folder} has {' and '.join(METADATA)}; keep one of them.")
    for path in metadata:
        more, unread = read_metadata(path, names)
        columns |= more
        warnings += unread
        if "patient_id" in more and "specimen_id" not in more:
            columns["specimen_id"] = more["patient_id"]
            warnings.append(f"{path.name} has no column specimen_id: every patient counts as one specimen.")
    if "patient_id" not in columns:
        warnings += _warn_of_patients(levels, classes)
    if is_breakhis(PurePosixPath(names[0]).name):
        warnings.append("These files are named as BreakHis images are: dataset=breakhis would know their patients.")
    rows = {"image": list(paths.values())}
    images = datasets.Dataset.from_dict(rows, datasets.Features({"image": datasets.Image(decode=False)}))
    return build_images(images, columns, classes, "imagefolder", str(folder), warnings=warnings, places=unused)


def _list_images(folder: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return name -> path of all images, sorted by name, and the places of other files by kind.

    A name is the path from `folder` on, as every system writes it (see `normal`).

    Raises:
        InputError: there are none, two have one name, or a part of the folder cannot be read.
    """
    paths: dict[str, str] = {}
    unused: dict[str, list[str]] = {UNSUPPORTED: [], LINK: [], OTHER: []}
    with tqdm(desc="Indexing", unit=" images", disable=None) as bar:
        for path, kind in walk(str(folder)):
            inner = os.path.relpath(path, folder)
            if inner != os.path.basename(path) and os.path.basename(path) in METADATA:
                raise InputError(f"{path} lies below {folder}; give one {METADATA[0]}, in {folder}.")
            if not is_text(path):
                raise InputError(f"The name {path!r} is not UTF-8; rename the file.")
            if kind != IMAGE:
                unused[kind].append(path)
                continue
            name = normal_path(inner)
            if name in paths:
                raise InputError(f"Two files are named {name}: {paths[name]} and {path}; rename one.")
            paths[name] = path
            bar.update()
    if not paths:
        found = f"; it has {few(unused[UNSUPPORTED])}" if unused[UNSUPPORTED] else ""
        raise InputError(
            f"No image ({' '.join(EXTENSIONS)}) in {folder}{found}; give a folder that holds one for each class."
        )
    return dict(sorted(paths.items())), unused


def _require_classes(folder: Path, names: Sequence[str], levels: Sequence[Sequence[str]]) -> None:
    """Refuse images outside of a class folder, and fewer than two class folders."""
    loose = [name for name, level in zip(names, levels, strict=True) if len(level) < 2]
    if loose:
        raise InputError(f"In {folder}, outside of a class folder: {few(loose)}; move them into one.")
    classes = sorted({level[0] for level in levels})
    if len(classes) < 2:
        raise InputError(f"{folder} holds one class folder, {classes[0]}; two or more are needed.")


def _warn_of_patients(levels: Sequence[Sequence[str]], classes: Sequence[str]) -> list[str]:
    """Warn of folders that seem to be those of patients: above the folders of the classes, or below them."""
    inner: dict[str, set[str]] = {}
    for level in levels:
        inner.setdefault(level[0], set()).update(level[1:2] if len(level) > 2 else [])
    below = set().union(*inner.values())
    if len(below) < 2 or {name.upper() for name in below} <= set(MAGNIFICATIONS):
        return []
    known = {name.lower() for name in below} <= {*CLASSES, "0", "1"}
    repeated = sum(len(names) for names in inner.values()) > len(below)
    if known or (repeated and len(below) < len(inner)):
        return [
            f"The {len(classes)} classes look like patients ({few(classes)}): their folders hold the same folders, "
            f"{few(sorted(below))}. Arrange the images as CLASS/PATIENT/FILE and name the patients in {METADATA[0]}."
        ]
    return [
        f"The class folders hold {len(below):,} folders ({few(sorted(below))}). If these are patients, name them in "
        f"{METADATA[0]} (columns file_name, patient_id): otherwise a split may divide patients."
    ]


def read_metadata(path: Path, names: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the columns of `OPTIONAL` that a metadata file has, one value for each of `names`, and warnings.

    Args:
        path: has the column file_name: a path below its folder, or a bare name where that is unique.
        names: the pictures that are there.

    Raises:
        InputError: it is no table, names a file that is absent, ambiguous or named before, leaves a picture out, or
            leaves a cell of such a column empty.
    """
    table = _read_table(path)
    if "file_name" not in table.columns:
        raise InputError(f"{path} has no column file_name; it has {', '.join(map(str, table.columns[:8]))}.")
    table["file_name"] = _resolve(table["file_name"].tolist(), names, path)
    repeated = table["file_name"][table["file_name"].duplicated()].tolist()
    if repeated:
        raise InputError(f"{path} names a file twice: {few(repeated)}; keep one row for each.")
    unnamed = sorted(set(names) - set(table["file_name"]))
    if unnamed:
        raise InputError(f"{path} has no row for {few(unnamed)}; add rows, or remove these images.")
    table = table.set_index("file_name").loc[list(names)]
    columns = {name: table[name].str.strip().tolist() for name in OPTIONAL if name in table.columns}
    for name, values in columns.items():
        empty = [file for file, value in zip(names, values, strict=True) if not value]
        if empty and len(empty) < len(values):
            raise InputError(f"{path} has an empty {name} for {few(empty)}; fill it in, or leave the column out.")
    unread = _warn_of_others(list(table.columns), path.name)
    return {name: values for name, values in columns.items() if any(values)}, unread


def _read_table(path: Path) -> pd.DataFrame:
    """Return a metadata file as text, with "" for empty cells; blanks around column names do not count."""
    try:
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            rows = [json.loads(line) for line in lines if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line is not an object")
            table = pd.DataFrame(rows, dtype=object)
            table = table.map(lambda value: "" if value is None or value != value else str(value))
        else:
            columns, cells = foreign_rows(path)
            used = [k for k, name in enumerate(columns) if name]  # Excel leaves columns without a name
            table = pd.DataFrame(
                [[row[k] for k in used] for row in cells], columns=[columns[k] for k in used], dtype=str
            )
    except InputError:
        raise
    except (OSError, ValueError) as error:
        form = "JSON lines" if path.suffix == ".jsonl" else "CSV"
        raise InputError(f"{path} is no {form} table ({reason_of(error)}); write it again.") from error
    return table.rename(columns=lambda name: str(name).strip())


def _warn_of_others(columns: Sequence[str], called: str) -> list[str]:
    """Name the columns that nobody reads, each with the one that may be meant."""
    unread = []
    for column in columns:
        near = nearest_name(column.strip().lower(), OPTIONAL)
        if column not in OPTIONAL:
            unread.append(f"{column} (did you mean {near}?)" if near and near not in columns else column)
    known = f"it knows file_name, {', '.join(OPTIONAL)}"
    return [f"Columns of {called} that this package does not read: {few(unread)}; {known}."] if unread else []


def _resolve(given: Sequence[str], names: Sequence[str], path: Path) -> list[str]:
    """Return the path of each file that a metadata.csv names."""
    bare: dict[str, list[str]] = {}
    for name in names:
        bare.setdefault(PurePosixPath(name).name, []).append(name)
    there = set(names)
    found, absent = [], []
    for text in given:
        name = PurePosixPath(normal_path(text.strip())).as_posix()
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
