"""All images: each is decoded and checked, the results are remembered, and faults are reported as findings."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from tqdm import tqdm

from hf_breakhis.data.images import Images
from hf_breakhis.data.integrity.check_image import COLORS, FORMAT, UNREAD, Checked, check_image
from hf_breakhis.data.integrity.findings import Finding, Findings, those_with_images
from hf_breakhis.data.integrity.manifest import manifest_sha256
from hf_breakhis.data.integrity.memory import (
    NOTHING,
    SCHEMA,
    as_table,
    positions,
    remember,
)
from hf_breakhis.data.sources.datasets_cache import cache_folder, recall
from hf_breakhis.files import require_kind
from hf_breakhis.hardware import count_cores

__all__ = ["COLORS", "Findings", "check_image", "check_images"]

CHUNK = 1_000  # images checked before what they showed is packed
Use = Callable[[int, Image.Image], object]


def check_images(images: Images, num_threads: int | None = None, use: Use | None = None) -> Findings:
    """Decode each image that was not checked before, and compare all with each other.

    The result of an unchanged file (path, size, modification time) is kept in the datasets cache. A thousand images
    are checked at a time and packed into a table, so that memory hardly grows with their number.

    Args:
        images: what `load_images` returned.
        num_threads: images decoded at a time; by default one for each core of this process.
        use: called with row and picture of each image that is decoded and can be used, in any order and thread.

    Raises:
        InputError: `images` are not what `load_images` returned.
    """
    require_kind(images, Images, "check_images takes what load_images returns", "load_images(recipe.data)")
    return _check_each(images, num_threads, use) if images.has_files else _unchecked(images)


def _unchecked(images: Images) -> Findings:
    """Return findings without a row, for images that are known by their feature vectors only."""
    table = as_table([]).drop_columns(["key"]).add_column(0, "file_name", pa.array([], pa.string()))
    return Findings([], {}, table, manifest_sha256(images.dataset, [""] * len(images.dataset)))


def _unread(table: pa.Table) -> pa.ChunkedArray:
    """Tell for each image whether the system refused it: rights and disks change without a trace in the file."""
    return pc.starts_with(table["problem"], UNREAD)


def _place(location: str) -> Path:
    """Return the file of the datasets cache with the results of a place."""
    return cache_folder() / f"checked-{FORMAT}-{hashlib.sha256(location.encode()).hexdigest()[:16]}.arrow"


def _check_each(images: Images, num_threads: int | None, use: Use | None) -> Findings:
    """Ask the memory for every file, and look at those it does not know."""
    rows = images.dataset.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    keys = _keys(images, rows)
    memory = _place(images.location)
    known = recall(memory, SCHEMA)
    at = positions(known, keys)
    new = np.flatnonzero(at == NOTHING)
    if len(new):
        known = pa.concat_tables([known, *_check(rows, keys, new, num_threads, use)])
        # Processes of one run write the same rows, whole each time, so that none can read a mixture.
        remember(memory, known.filter(pc.invert(_unread(known))))
        at = positions(known, keys)
    in_order = len(at) == len(known) and bool((at == np.arange(len(at))).all())
    found = (known if in_order else known.take(pa.array(at))).drop_columns(["key"])
    names = images.dataset.select_columns(["file_name"]).with_format("arrow")[:].column("file_name")
    # Else each name is a piece of its own, and so is each row of whatever is made of the table: 15 KB of memory a row.
    table = found.add_column(0, "file_name", names.combine_chunks())
    bad = table.filter(pc.not_equal(table["problem"], "")).select(["file_name", "problem"]).to_pydict()
    unusable = dict(zip(bad["file_name"], bad["problem"], strict=True))
    manifest = manifest_sha256(images.dataset, _Texts(table["content_sha256"]))
    return Findings(_judge(table, images.about.is_generated, images.source == "breakhis"), unusable, table, manifest)


class _Texts:
    """A column of texts that is read a chunk at a time, as often as asked."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.column = column

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self.column), 10 * CHUNK):
            yield from self.column.slice(start, 10 * CHUNK).to_pylist()


def _check(
    rows: datasets.Dataset, keys: np.ndarray, new: np.ndarray, num_threads: int | None, use: Use | None
) -> Iterator[pa.Table]:
    """Yield what the new rows show, packed a chunk at a time."""

    def check(row: int) -> Checked:
        return check_image(int(keys[row]), rows[row]["image"], None if use is None else partial(use, row))

    with (
        ThreadPoolExecutor(num_threads or count_cores()) as pool,
        tqdm(total=len(new), desc="Checking", unit=" images", disable=None) as bar,
    ):
        for start in range(0, len(new), CHUNK):
            chunk: list[Checked] = []
            for one in pool.map(check, new[start : start + CHUNK].tolist()):
                chunk.append(one)
                bar.update()
            yield as_table(chunk)


def _keys(images: Images, rows: datasets.Dataset) -> np.ndarray:
    """Return (n,) uint64: the file as it is now, or the place within an archive as it is now, as a number."""

    def states() -> Iterator[str]:
        if images.stamp:
            for part in images.dataset.select_columns(["file_name"]).iter(batch_size=CHUNK):
                yield from (f"{images.stamp}|{name}" for name in part["file_name"])
            return
        for part in rows.iter(batch_size=CHUNK):
            for image in part["image"]:
                try:
                    state = os.stat(image["path"])
                    yield f"{os.path.abspath(image['path'])}|{state.st_size}|{state.st_mtime_ns}"
                except OSError:
                    yield f"{image['path']}|absent"

    digests = (hashlib.blake2b(state.encode("utf-8", "surrogateescape"), digest_size=8).digest() for state in states())
    return np.fromiter((int.from_bytes(digest) for digest in digests), np.uint64, len(images.dataset))


def _judge(table: pa.Table, twin: bool, is_breakhis: bool) -> list[Finding]:
    """Compare the usable images with each other."""
    good = table.filter(pc.equal(table["problem"], ""))
    width, height = (good[name].to_numpy().astype(np.int64) for name in ("width", "height"))
    sizes, counts = np.unique(width << 32 | height, return_counts=True)
    usual = int(sizes[counts.argmax()]) if len(sizes) else 0
    # of equally many, the size of the first image
    if (counts == counts.max(initial=0)).sum() > 1:
        first = np.isin(width << 32 | height, sizes[counts == counts.max()])
        usual = int((width << 32 | height)[first.argmax()])
    odd = np.flatnonzero((width << 32 | height) != usual)

    def named(rows: np.ndarray | pa.Array, more: str | None = None) -> dict[str, str]:
        part = good.take(pa.array(rows))
        more_values = part[more].to_pylist() if more else [""] * len(part)
        return dict(zip(part["file_name"].to_pylist(), more_values, strict=True))

    foreign = named(np.flatnonzero(pc.not_equal(good["form"], "PNG").to_numpy()), "form")
    mixed = named(np.flatnonzero(pc.not_equal(good["generated"], pa.scalar(twin)).to_numpy()))
    what = "Photographs among generated images" if twin else "Generated images (twin) among real ones"
    return those_with_images(
        [
            Finding(
                "size",
                f"Of another size than {usual >> 32}x{usual & 0xFFFFFFFF}",
                {name: f"{width[row]}x{height[row]}" for row, name in zip(odd, named(odd), strict=True)},
            ),
            Finding(
                "format",
                "Of another format than PNG" if is_breakhis else "Named .png, but of another format",
                {name: form for name, form in foreign.items() if name.lower().endswith(".png")},
            ),
            Finding("generated", what, mixed),
        ]
    )
