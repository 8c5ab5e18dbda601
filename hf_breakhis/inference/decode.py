"""Bytes that nobody has looked at become pixels, or a reason why not; several images at a time."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hf_breakhis.data.pixels.decode import decode_rgb
from hf_breakhis.files import InputError
from hf_breakhis.inference.inputs import Item, Unreadable

# A little below what Pillow warns of; BreakHis has 0.3 million.
MAX_PIXELS = 89_000_000
MAX_BYTES = 3 * MAX_PIXELS
FORMATS = ("PNG", "JPEG", "TIFF")  # Pillow knows others too, of which some start programs
_PNG = b"\x89PNG\r\n\x1a\n"


def decode(item: Item) -> np.ndarray:
    """Return the pixels of an image, (height, width, 3) uint8.

    Raises:
        InputError: the file cannot be read, is no RGB image, or is too large to be decoded.
    """
    content = _read(item.path) if item.content is None else item.content
    width, height = _size(content)
    if width * height > MAX_PIXELS:
        most = f"{MAX_PIXELS // 10**6} million"
        raise InputError(f"it has {width:,} x {height:,} pixels and is not decoded; cut it to {most} or less.")
    return decode_rgb(content, "it")


def decode_all(
    found: Iterable[Item | Unreadable], prepare: Callable[[np.ndarray], Any], num_threads: int, ahead: int
) -> Iterator[tuple[Item, Any] | Unreadable]:
    """Yield each image with what `prepare` makes of its pixels, in order, decoded by threads while others are used.

    Args:
        found: the images.
        prepare: called in a thread.
        num_threads: images decoded at a time.
        ahead: images that are held in memory at most.
    """
    pending: deque[Future | Unreadable] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
    try:
        for one in found:
            pending.append(one if isinstance(one, Unreadable) else pool.submit(_decode_one, one, prepare))
            if len(pending) >= ahead:
                yield _result(pending.popleft())
        while pending:
            yield _result(pending.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_one(item: Item, prepare: Callable[[np.ndarray], Any]) -> tuple[Item, Any] | Unreadable:
    try:
        pixels = decode(item)
    except InputError as error:
        return Unreadable(item.path, str(error))
    except Exception as error:  # decoders raise anything on damaged bytes; it is told, and the next image goes on
        return Unreadable(item.path, f"it cannot be decoded ({type(error).__name__}: {error}).")
    return Item(item.path, None, item.about), prepare(pixels)


def _result(one: Future | Unreadable) -> tuple[Item, Any] | Unreadable:
    return one if isinstance(one, Unreadable) else one.result()


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"it cannot be read ({error.strerror}); give yourself rights there.") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"its file is larger than {MAX_BYTES // 10**6} MB and is not read.")
    return content


def _size(content: bytes) -> tuple[int, int]:
    """Return width and height as the header has them; nothing is decoded."""
    if not content:
        raise InputError("its file is empty; fetch it again.")
    if content.startswith(_PNG):  # nearly all of them, and what follows takes a tenth of a millisecond
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            return picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"it has too many pixels and is not decoded; cut it to {MAX_PIXELS // 10**6} million or less."
        ) from error
    except OSError as error:
        raise InputError(f"it is no {', '.join(FORMATS)} image.") from error
