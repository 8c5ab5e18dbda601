"""Decode a PNG: by kornia-rs where it is installed, otherwise and in every odd case by Pillow; the same pixels.

kornia-rs (extra `fast`) decodes a 700x460 image of BreakHis in about a third of Pillow's time. Pillow alone decides
what is an image and says what is wrong with one that is not, so that the two refuse the same files.
"""

import importlib.util

import numpy as np

from hf_breakhis.data.open_image import MAX_PIXELS, MIN_SIDE, PILLOW_ERRORS, in_words, open_image, wrong_form
from hf_breakhis.files import InputError

_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_RGB_8 = b"\x08\x02"  # bit depth and colour type
HAS_FAST = importlib.util.find_spec("kornia_rs") is not None


def decode_rgb(content: bytes, called: str = "An image") -> np.ndarray:
    """Decode the bytes of a file to (height, width, 3) uint8.

    Args:
        content: the file, as it is.
        called: what to call it when it is refused.

    Raises:
        InputError: it cannot be decoded, or is not 8-bit RGB; nothing is converted.
    """
    pixels = _decode_fast(content) if HAS_FAST else None
    return _decode_pillow(content, called) if pixels is None else pixels


def decoder() -> str:
    """Return which decoder is used, for benchmarks and reports."""
    return "kornia-rs" if HAS_FAST else "Pillow"


def _decode_fast(content: bytes) -> np.ndarray | None:
    """Return the pixels of an 8-bit RGB PNG; None for all that kornia-rs does not take."""
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    if (
        min(width, height) < MIN_SIDE
        or not content.startswith(_START)
        or content[24:26] != _RGB_8
        or width * height > MAX_PIXELS
        or b"acTL" in content[: content.find(b"IDAT")]  # may have several frames
    ):
        return None
    from kornia_rs.io import decode_image_png_u8

    try:
        result: np.ndarray | None = decode_image_png_u8(content, (height, width), "rgb")
        return result
    except Exception as error:
        # What it cannot decode it tells by the plain class, and Pillow looks again; any other is a fault of this call.
        if type(error) is not Exception:
            raise
        return None


def _decode_pillow(content: bytes, called: str) -> np.ndarray:
    try:
        with open_image(content) as picture:
            problem = wrong_form(picture)
            pixels = None if problem else np.array(picture)
    except PILLOW_ERRORS as error:
        raise InputError(f"{called} {in_words(error)} ({error}); fetch the original file again.") from error
    if pixels is None:
        raise InputError(f"{called} {problem}; give one 8-bit RGB image of a usable size.")
    return pixels
