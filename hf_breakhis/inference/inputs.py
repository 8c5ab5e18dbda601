"""The images that a user points at, one after the other: files, folders, patterns, archives, Parquet, the Hub."""

import glob
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from hf_breakhis.data.filenames import CLASSES, parse_file_name
from hf_breakhis.data.open_image import EXTENSIONS
from hf_breakhis.data.sources.archive import walk_archive
from hf_breakhis.data.sources.columns import OPTIONAL
from hf_breakhis.data.sources.hub import fetch_published
from hf_breakhis.data.walk import IMAGE, LINK, UNSUPPORTED, is_text, kind_of, normal_path, walk
from hf_breakhis.files import InputError, few, reason_of

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
HUB = "hf://datasets/"
_MAX_STANDARD_INPUT = 250_000_000  # bytes
_ROWS = 32  # of a Parquet file in memory at a time
_FORMS = f"an image, a folder, a pattern, an archive ({', '.join(ARCHIVES)}), a .parquet file or {HUB}OWNER/NAME"


@dataclass(frozen=True)
class InputImage:
    """One image, without its pixels.

    Attributes:
        path: what to call it.
        content: the bytes of its file; None where they are still to be read from `path`.
        about: any of patient_id, specimen_id, magnification, tumor_type, and `labels`: names that its class may have.
        digest: names the bytes of its file, once they were read.
    """

    path: str
    content: bytes | None = None
    about: dict[str, Any] = field(default_factory=dict)
    digest: bytes = b""


@dataclass(frozen=True)
class Unreadable:
    """What cannot be scored.

    Attributes:
        path: what to call it.
        reason: half a sentence or more.
    """

    path: str
    reason: str


class Unused(Unreadable):
    """A file in a folder that is no image, and a link that is not followed: reported, but no fault."""


Found = Iterator[InputImage | Unreadable]


def find_images(paths: Iterable[str], tell: Callable[[str], None] = lambda _: None) -> Found:
    """Look at every path at once, and return an iterator over the images behind them, in the order of the paths.

    A folder is taken with the folders within, each by name; archives in it are not opened. Nothing is unpacked. Only
    the names in one folder, or of one pattern, and one image or a few rows are in memory at a time.

    Args:
        paths: files, folders, patterns, archives, Parquet files, `hf://datasets/OWNER/NAME[@REVISION]`, or `-` for
            standard input.
        tell: takes sentences that the user should read.

    Raises:
        InputError: a path does not exist; it is raised before the first image.
    """
    opened = [_open(path, tell) for path in paths]
    if not opened:
        raise InputError(f"No path is given; give {_FORMS}.")
    return (found for one in opened for found in one())


def _open(path: str, tell: Callable[[str], None]) -> Callable[[], Found]:
    if path == "-":
        return _open_standard_input(tell)
    if path.startswith(HUB):
        return _open_published(path, tell)
    place = os.path.expanduser(path)
    if os.path.isdir(place):
        if not any(_may_be_scored(file) for file, _ in _walk(place)):
            found = few([os.path.relpath(file, place) for file, kind in _walk(place) if kind == UNSUPPORTED])
            has = f" (it has {found})" if found else ""
            raise InputError(f"No image ({' '.join(EXTENSIONS)}) and no .parquet file in {path}{has}; give {_FORMS}.")
        return lambda: _read_folder(place)
    if os.path.lexists(place):
        return partial(_read, place)
    if glob.has_magic(place):
        matches = sorted(glob.glob(place, recursive=True))
        if "**" in place:  # names the files within a folder beside the folder
            matches = [match for match in matches if not os.path.isdir(match)]

        folders = [match for match in matches if os.path.isdir(match)]
        if len(folders) == len(matches) and not any(_may_be_scored(file) for one in folders for file, _ in _walk(one)):
            raise InputError(f"Nothing matches {path}; give {_FORMS}.")
        return lambda: (item for match in matches for item in _read_match(match))
    raise InputError(f"There is no {path}; give {_FORMS}.")


def _open_standard_input(tell: Callable[[str], None]) -> Callable[[], Found]:
    """Read standard input: text is a list of paths, one a line, and anything else is one image."""
    stream = getattr(sys.stdin, "buffer", None)  # None where it is closed
    content = b"" if stream is None else stream.read(_MAX_STANDARD_INPUT + 1)
    if not content.strip():
        raise InputError("Standard input is empty. Pipe an image or a list of paths into it, or give paths.")
    if len(content) > _MAX_STANDARD_INPUT:
        raise InputError(f"Standard input has more than {_MAX_STANDARD_INPUT // 10**6} MB. Give paths instead.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return lambda: iter([InputImage("stdin", content)])
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line]
    if "-" in lines:
        raise InputError("Standard input lists -, which is standard input itself. Remove that line.")
    opened = [_open(line, tell) for line in lines]
    return lambda: (found for one in opened for found in one())


def _walk(folder: str) -> Iterator[tuple[str, str]]:
    """Yield path and kind of the files below a folder, and at the end the folders that cannot be listed."""
    faults: list[str] = []
    yield from walk(folder, lambda error: faults.append(str(error.filename)))
    yield from ((path, IMAGE) for path in faults)


def _may_be_scored(path: str) -> bool:
    return kind_of(os.path.basename(path)) == IMAGE or path.lower().endswith(".parquet")


def _read_match(path: str) -> Found:
    return _read_folder(path) if os.path.isdir(path) else _read(path)


def _read_folder(folder: str) -> Found:
    for path, kind in _walk(folder):
        if kind == IMAGE or path.lower().endswith(".parquet"):
            yield from _read(path)
        elif kind == UNSUPPORTED:
            yield _unsupported(path)
        elif kind == LINK:
            yield Unused(path, "it is a link to a folder that is read already.")
        else:
            yield Unused(path, "it is no image.")


def _unsupported(path: str) -> Unreadable:
    return Unreadable(path, f"its extension is none of {' '.join(EXTENSIONS)}.")


def _read(path: str) -> Found:
    """Yield what one file holds; a picture is not read yet."""
    if not is_text(path):
        yield Unreadable(path, "its name is not UTF-8; rename it.")
    elif not os.path.isfile(path):
        yield Unreadable(path, "it is not a file, or permission is denied; check the permissions.")
    elif path.lower().endswith(ARCHIVES):
        try:
            for name, content in walk_archive(Path(path), _is_image, lambda name: not _is_image(name)):
                place = f"{path}/{name}"
                kind = kind_of(PurePosixPath(name).name)
                if kind == IMAGE:
                    yield InputImage(place, content, facts_of_name(name))
                else:
                    yield _unsupported(place) if kind == UNSUPPORTED else Unused(place, "it is no image.")
        except InputError as error:  # what stood before the damage has been scored
            yield Unreadable(path, str(error))
    elif path.lower().endswith(".parquet"):
        yield from _read_parquet(path)
    else:
        yield InputImage(path, None, facts_of_name(path))


def _is_image(name: str) -> bool:
    return kind_of(name) == IMAGE


def facts_of_name(path: str) -> dict[str, Any]:
    """Return what a BreakHis file name says of an image; nothing for another name."""
    try:
        name = parse_file_name(PurePosixPath(normal_path(path)).name)
    except InputError:
        return {}
    return {
        "patient_id": name.patient_id,
        "specimen_id": name.specimen_id,
        "magnification": name.magnification,
        "labels": (CLASSES[name.label], name.tumor_type),
    }


def _read_parquet(path: str) -> Found:
    """Yield the rows of a Parquet file that has a column `image`, a few rows in memory at a time."""
    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in ("image", "label", "file_name", *OPTIONAL) if name in file.schema_arrow.names]
            if "image" not in columns:
                yield Unreadable(path, "it lacks the column image, with the bytes of image files.")
                return
            features = datasets.Features.from_arrow_schema(file.schema_arrow)
            number = 0
            for batch in file.iter_batches(_ROWS, columns=columns):
                for row in batch.to_pylist():
                    yield _of_row(path, number, row, features)
                    number += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Unreadable(path, f"it is damaged ({reason_of(error)}); fetch or export it again.")


def _of_row(place: str, number: int, row: dict[str, Any], features: datasets.Features) -> InputImage | Unreadable:
    """Return one row of a table; a BreakHis name is believed before the columns."""
    name = str(row.get("file_name") or f"row-{number:05d}")
    image = row["image"]
    content = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(content, bytes):
        return Unreadable(f"{place}/{name}", "the row holds no bytes of an image file.")
    about = {key: str(row[key]) for key in OPTIONAL if row.get(key) not in (None, "")}
    label, feature = row.get("label"), features.get("label")
    if isinstance(feature, datasets.ClassLabel) and isinstance(label, int) and 0 <= label < feature.num_classes:
        label = feature.int2str(label)
    return InputImage(
        f"{place}/{name}",
        content,
        about | ({"labels": (label,)} if isinstance(label, str) else {}) | facts_of_name(name),
    )


def _open_published(path: str, tell: Callable[[str], None]) -> Callable[[], Found]:
    """Fetch a Hub data set into the datasets cache, whose files are read from disk row by row."""
    match = re.fullmatch(rf"{HUB}([^/@]+/[^/@]+)(?:@([^@]+))?", path)
    if match is None:
        raise InputError(f"{path} is no data set; one is written {HUB}OWNER/NAME, or {HUB}OWNER/NAME@REVISION.")
    rows, _commit, notes = fetch_published(match[1], match[2], required=("image",))
    for note in notes:
        tell(note)
    kept = [name for name in rows.column_names if name in ("image", "label", "file_name", *OPTIONAL)]
    rows = rows.select_columns(kept).cast_column("image", datasets.Image(decode=False))
    return lambda: (_of_row(f"{HUB}{match[1]}", i, row, rows.features) for i, row in enumerate(rows))
