"""The seven columns of a source, arranged once: an Arrow file of the datasets cache, mapped when opened again."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from hf_breakhis import __version__
from hf_breakhis.data.images import Images, in_order
from hf_breakhis.data.sources.datasets_cache import cache_folder
from hf_breakhis.data.walk import walk_folders
from hf_breakhis.files import InputError, write_whole

FORMAT = 3  # raised whenever the same files would be arranged, or remembered, otherwise
_NAME = "arranged-"  # begins the fingerprint of data sets that hold all of a source as it was arranged
_ORDER = "order"
_ABOUT, _PLACES = b"hf_breakhis", b"hf_breakhis places"
_TOLD = ("source", "location", "warnings", "findings", "stamp", "revision")


def arrange_once(
    location: str,
    asked: Sequence[Any],
    state: Callable[[], str],
    make: Callable[[], Images],
    rows: datasets.Dataset | None = None,
    before: str | None = None,
) -> Images:
    """Return what `make` returns; if the files are as they were when it was made before, from memory.

    No image is looked at again then, and no name: tables are mapped, and cost the same whatever their length.

    Args:
        location: see `Images`.
        asked: what else decides the result: kind of source, magnifications, target.
        state: names the files as they are now; another name, and all is made again.
        make: arranges the images.
        rows: what `make` arranges, with the column `image`, from the datasets cache; None where the images are paths,
            which are remembered too.
        before: what `state` returned before `rows` were read.
    """
    words = hashlib.sha256(json.dumps([FORMAT, __version__, location, *asked]).encode()).hexdigest()[:16]
    try:
        before = before or state()
    except OSError:
        return make()  # which says what cannot be read
    name = f"{_NAME}{words}-{hashlib.sha256(before.encode()).hexdigest()[:16]}"

    def is_unchanged() -> bool:
        with suppress(OSError):
            return state() == before
        return False

    path = cache_folder() / f"{_NAME}{words}.arrow"
    images = _recall(path, name, rows)
    if images is None:
        made = make()
        if not is_unchanged():
            return made
        with suppress(InputError):  # a cache without room costs time, and whoever needs the room says so
            write_whole(path, lambda beside: _write(beside, name, made, rows is None))
        images = _recall(path, name, rows) or made
    return replace(images, is_unchanged=is_unchanged)


def arranged_name(dataset: datasets.Dataset) -> str:
    """Return what names these very rows and the files behind them, "" if nothing does.

    It is the fingerprint, which datasets gives anew to whatever is selected or changed.
    """
    name = dataset._fingerprint
    return name if name.startswith(_NAME) else ""


def folder_state(folder: Path, more: Sequence[Path] = ()) -> str:
    """Return a name for all files below a folder, and `more`, as they are now: paths, sizes, times of change.

    Raises:
        OSError: part of the folder cannot be read.
    """
    whole = hashlib.sha256(f"{folder.resolve()}\n".encode("utf-8", "surrogateescape"))
    for path in more:
        found = path.stat()
        whole.update(f"{path.resolve()}|{found.st_size}|{found.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    for parent, entries in walk_folders(str(folder), _raise):
        lines = [parent, *map(_state, entries), ""]
        whole.update("\n".join(lines).encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _state(entry: os.DirEntry[str]) -> str:
    try:
        found = entry.stat()
    except FileNotFoundError:  # a link to nothing
        return f"{entry.name}|absent"
    return f"{entry.name}|{found.st_size}|{found.st_mtime_ns}"


def _raise(error: OSError) -> None:
    raise error


class _Places(Mapping[str, list[str]]):
    """Places as JSON, read when somebody asks for them: they may be as many as the images."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __getitem__(self, kind: str) -> list[str]:
        result: list[str] = json.loads(self.content)[kind]
        return result

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self.content))

    def __len__(self) -> int:
        return len(json.loads(self.content))


def _write(path: Path, name: str, images: Images, with_images: bool) -> None:
    """Write the columns in the order of the source, and which of its rows are used in which order."""
    features = images.dataset.features
    kept = [column for column in images.dataset.column_names if with_images or column != "image"]
    table = images.dataset.data.table.select(kept)
    order = images.dataset._indices
    number = table.num_rows if order is None else order.num_rows
    rows = pa.array(range(number), pa.uint64()) if order is None else order.column(0).combine_chunks()
    rows = pa.concat_arrays([rows, pa.nulls(table.num_rows - number, pa.uint64())])
    about = {key: getattr(images, key) for key in _TOLD} | {
        "name": name,
        "rows": table.num_rows,
        "used": None if order is None else number,
        "features": datasets.Features({column: features[column] for column in kept}).to_dict(),
    }
    marks = {_ABOUT: json.dumps(about).encode(), _PLACES: json.dumps(dict(images.places)).encode()}
    table = table.append_column(_ORDER, rows).replace_schema_metadata(marks)
    with pa.ipc.new_stream(str(path), table.schema) as stream:
        stream.write_table(table, max_chunksize=10_000)


def _recall(path: Path, name: str, rows: datasets.Dataset | None) -> Images | None:
    """Return the images of a file that `_write` wrote under this name; None if it is another, or none."""
    try:
        table = datasets.table.MemoryMappedTable.from_file(str(path))
        about = json.loads(table.schema.metadata[_ABOUT])
        places = _Places(table.schema.metadata[_PLACES])
        if about["name"] != name or about["rows"] != table.num_rows:
            return None
        features = datasets.Features.from_dict(about["features"])
        found = datasets.Dataset(table.select(list(features)), info=datasets.DatasetInfo(features=features))
        if rows is not None:
            pictures = rows.select_columns("image").select(range(table.num_rows))
            found = datasets.concatenate_datasets([pictures, found], axis=1)
        order = None if about["used"] is None else table.select([_ORDER]).slice(0, about["used"])
        dataset = in_order(found, order, name)
    except (OSError, LookupError, TypeError, ValueError, pa.ArrowException):  # not there, or not ours
        return None
    return Images(dataset, **{key: about[key] for key in _TOLD}, places=places)
