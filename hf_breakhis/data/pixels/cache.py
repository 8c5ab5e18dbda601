"""Pixels decoded once: a memory-mapped file of all images at one size, shared by folds, runs and processes."""

import hashlib
import json
import mmap
import os
import shutil
import sys
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL
import torch
import torchvision
from filelock import FileLock, Timeout
from PIL import features
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from hf_breakhis.data.pixels.preprocessing import Preprocessing, as_preprocessing
from hf_breakhis.data.pixels.transforms import DecodedPixels, PixelSource
from hf_breakhis.data.sources.table import cache_folder
from hf_breakhis.files import InputError, write_json, write_whole
from hf_breakhis.hardware import count_cores

FORMAT = 2  # raised whenever the same images would be written otherwise
_CHUNK = 16  # images a process decodes and writes at a time
_FEW = 64  # images up to which starting processes takes longer than decoding
_FAULT = 2**16  # bytes that Linux maps around one that is read
_FLUSH = 32 * 2**20  # bytes after which they are sent to the disk, while the others are decoded
_RESIDENT = 32 * 2**20  # bytes read until the pages are handed back; the system keeps them while there is room
_ADVICE = "Make room there, set HF_DATASETS_CACHE to a folder on another disk, or go without: --cache false."


class PixelCache:
    """The pixels of images, read from a file that `open_cache` built.

    Args:
        path: a .npy file of (n_images, 3, image_size, image_size) uint8.
        rows: (n,) int, which of them, and in which order; all by default.
    """

    def __init__(self, path: Path, rows: np.ndarray | None = None) -> None:
        self.path = path
        self.rows = rows
        self._read = 0
        try:
            with path.open("rb") as stream:
                shape, offset = _read_header(stream)
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise lost(path) from error
        self._pixels = np.frombuffer(self._map, np.uint8, offset=offset).reshape(shape)

    def select(self, rows: np.ndarray) -> "PixelCache":
        """Return the same file with some of its present rows."""
        part = object.__new__(PixelCache)  # shares the open file, whose name may be deleted meanwhile
        part.__dict__ |= self.__dict__ | {"rows": rows if self.rows is None else self.rows[rows]}
        return part

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return (n, 3, image_size, image_size) uint8 of the rows (n,) int, a copy."""
        pixels = self._pixels[rows if self.rows is None else self.rows[rows]]
        # A page that is touched comes with its neighbours, so a small image costs as much as they do.
        self._read += max(pixels.nbytes, len(pixels) * _FAULT)
        if self._read > _RESIDENT and hasattr(mmap, "MADV_DONTNEED"):
            # Else this process would in the end count the whole file as its memory, once for each worker.
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        result: np.ndarray = pixels
        return result

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._pixels) if self.rows is None else len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the place, not the pixels."""
        return PixelCache, (self.path, self.rows)


def open_cache(
    dataset: datasets.Dataset, to: Preprocessing | int, manifest_sha256: str, num_workers: int | None = None
) -> PixelCache:
    """Return the pixels of all images at one size; they are decoded if nobody did so before.

    One process builds, the others wait for it. The file is there whole or not at all.

    Args:
        dataset: columns `image` and `file_name`.
        to: size, crop and interpolation; a number is the side in pixels with the defaults.
        manifest_sha256: names the content of the images, see `Findings`.
        num_workers: processes that decode; by default one for each core this process may use.

    Raises:
        InputError: there is no room or no right to write, or an image cannot be decoded.
    """
    how = as_preprocessing(to)
    about = describe_cache(dataset, how, manifest_sha256)
    path = cache_path(about)
    shape = (len(dataset), 3, how.image_size, how.image_size)
    if not is_intact(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with lock_cache(path):
                if not is_intact(path):  # another process may have built it meanwhile
                    _build(path, DecodedPixels(dataset, how), shape, about, num_workers)
        except OSError as error:
            raise _refuse(path, error) from error
    return PixelCache(path)


def describe_cache(dataset: datasets.Dataset, to: Preprocessing | int, manifest_sha256: str) -> dict[str, Any]:
    """Return all that decides the pixels and their order; mean and standard deviation are applied later."""
    how = as_preprocessing(to)
    names = hashlib.sha256()
    for part in dataset.select_columns(["file_name"]).iter(batch_size=10_000):
        names.update(("\n".join(part["file_name"]) + "\n").encode())
    return {
        "format": FORMAT,
        "manifest_sha256": manifest_sha256,
        "file_names_sha256": names.hexdigest(),
        "num_images": len(dataset),
        "image_size": how.image_size,
        "resize": how.pixel_words,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        # They decode what is no PNG; of a PNG every decoder gives the same pixels.
        "pillow": PIL.__version__,
        "libjpeg": features.version("jpg"),
        "libtiff": features.version("libtiff"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),  # decides how uint8 is rounded
    }


def cache_path(about: dict[str, Any]) -> Path:
    """Return where the cache of what `describe_cache` returned lies."""
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / f"pixels-{key}.npy"


def write_about(path: Path, about: dict[str, Any], part: Path) -> None:
    """Write what a cache holds next to it, with size and checksum of the file `part` that takes its place."""
    write_json(path.with_suffix(".json"), about | {"num_bytes": part.stat().st_size, "crc32": _checksum(part)})


def is_intact(path: Path) -> bool:
    """Return whether a cache holds the bytes that were written to it; about a second for a gigabyte."""
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        result: bool = path.stat().st_size == about["num_bytes"] and _checksum(path) == about["crc32"]
        return result
    except (OSError, ValueError, LookupError, TypeError):  # not there, or not ours
        return False


def lost(path: Path) -> InputError:
    """Return the message for a cache that was deleted while a run used it."""
    return InputError(f"The cache {path} was deleted or changed while a run used it. Run the same command again.")


def _checksum(path: Path) -> int:
    """Return the CRC-32 of a file: it finds damage, and costs a fraction of a cryptographic hash."""
    found = 0
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            found = zlib.crc32(block, found)
    return found


class _Filling(Dataset[Any]):
    """Decode images and write them to their places in the file; a worker of a data loader does it when asked."""

    def __init__(self, source: PixelSource, path: Path, offset: int, shape: Sequence[int]) -> None:
        self.source, self.path, self.offset, self.shape = source, path, offset, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitems__(self, rows: list[int]) -> int | InputError | OSError:
        """Return how many images were written, or what went wrong: an error raised here would lose its one line."""
        try:
            pixels = self.source.take(np.asarray(rows))
            with self.path.open("r+b") as stream:
                stream.seek(self.offset + rows[0] * pixels[0].nbytes)
                stream.write(pixels.data)
        except (InputError, OSError) as error:
            return error
        return len(rows)


def _build(
    path: Path, source: PixelSource, shape: tuple[int, ...], about: dict[str, Any], num_workers: int | None
) -> None:
    """Decode all images and write the file; called by the process that holds the lock."""
    _require_room(path, int(np.prod(shape)))
    if num_workers is None:
        num_workers = count_cores() if shape[0] > _FEW else 0

    def fill(part: Path) -> None:
        # Written, not mapped: a full disk is then an error to tell, where a mapped write would kill the process.
        offset = np.lib.format.open_memmap(part, "w+", np.uint8, shape).offset
        loader = DataLoader(
            _Filling(source, part, offset, shape),
            batch_size=_CHUNK,
            num_workers=num_workers,
            prefetch_factor=8 if num_workers else None,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else it draws from the global one, which is the recipe's
        )
        with (
            tqdm(total=shape[0], desc="Decoding once", unit=" images", disable=None) as bar,
            part.open("rb") as stream,
        ):
            unsaved = 0
            for written in loader:
                if isinstance(written, Exception):
                    raise _refuse(path, written) if isinstance(written, OSError) else written
                bar.update(written)
                unsaved += written * int(np.prod(shape[1:]))
                if unsaved > _FLUSH:
                    os.fsync(stream.fileno())
                    unsaved = 0
            os.fsync(stream.fileno())  # the name must not outlive a power cut that the pixels do not
        write_about(path, about, part)

    write_whole(path, fill)


def _require_room(path: Path, needed: int) -> None:
    """Say how much space is needed, and refuse when there is less."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(f"The pixel cache {path} needs {_size(needed)}, but only {_size(free)} are free. {_ADVICE}")
    say_size(path, needed)


def say_size(path: Path, needed: int) -> None:
    """Print where a cache is, how large it is, and how much space is free there."""
    free = shutil.disk_usage(path.parent).free
    print(f"Pixel cache: {_size(needed)} of {_size(free)} free at {path}", file=sys.stderr, flush=True)  # noqa: T201


def lock_cache(path: Path) -> AbstractContextManager[Any]:
    """Return the lock of a cache, held; it ends with its process, however that ends."""
    lock = FileLock(f"{path}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print(f"Waiting for another process that builds {path}", file=sys.stderr, flush=True)  # noqa: T201
        return lock.acquire()


def _read_header(stream: Any) -> tuple[tuple[int, ...], int]:
    """Return shape and first byte of the pixels.

    Raises:
        ValueError: it is no such file.
    """
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("another version of .npy")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if fortran_order or dtype != np.uint8:
        raise ValueError("other pixels than ours")
    return shape, stream.tell()


def _refuse(path: Path, error: OSError) -> InputError:
    return InputError(f"Cannot write the pixel cache {path}: {error.strerror or error}. {_ADVICE}")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e7 else f"{num_bytes / 1e6:.2f} MB"


def _as_it_is(result: Any) -> Any:
    return result
