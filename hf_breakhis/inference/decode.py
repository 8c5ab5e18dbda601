"""Bytes that nobody has looked at become pixels, or a reason why not; several images at a time."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hf_breakhis.data.open_image import MAX_PIXELS, why_unusable
from hf_breakhis.data.pixels.decode import decode_rgb
from hf_breakhis.files import InputError
from hf_breakhis.inference.inputs import InputImage, Unreadable

MAX_BYTES = 3 * MAX_PIXELS


def decode(item: InputImage) -> np.ndarray:
    """Return the pixels of an image, (height, width, 3) uint8.

    Raises:
        InputError: the file cannot be read, or is not what `open_image` accepts.
    """
    return _decode(_content(item))


def _content(item: InputImage) -> bytes:
    return _read(item.path) if item.content is None else item.content


def _decode(content: bytes) -> np.ndarray:
    if reason := why_unusable(content):
        raise InputError(f"it {reason}.")
    return decode_rgb(content, "it")


def decode_all(
    found: Iterable[InputImage | Unreadable], prepare: Callable[[np.ndarray], Any], num_threads: int, ahead: int
) -> Iterator[tuple[InputImage, Any] | Unreadable]:
    """Yield each image with what `prepare` makes of its pixels, in order, decoded by threads while others are used.

    Args:
        found: the images.
        prepare: called in a thread.
        num_threads: images decoded at a time.
        ahead: images that are held in memory at most.
    """
    pending: deque[Future[Any] | Unreadable] = deque()
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


def _decode_one(item: InputImage, prepare: Callable[[np.ndarray], Any]) -> tuple[InputImage, Any] | Unreadable:
    try:
        content = _content(item)
        pixels = _decode(content)
    except InputError as error:
        return Unreadable(item.path, str(error))
    except Exception as error:  # decoders raise anything on damaged bytes; it is reported, and the next image follows
        return Unreadable(item.path, f"it cannot be decoded ({type(error).__name__}: {error}).")
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return InputImage(item.path, None, item.about, digest), prepare(pixels)


def _result(one: Future[Any] | Unreadable) -> tuple[InputImage, Any] | Unreadable:
    return one if isinstance(one, Unreadable) else one.result()


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"it cannot be read ({error.strerror}); check the permissions.") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"its file is larger than {MAX_BYTES // 10**6} MB and is not read.")
    return content
