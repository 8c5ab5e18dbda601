"""One image: is it whole, and does it look as an image of BreakHis does?

The same pass takes what else needs bytes and pixels: colours, the hashes of the manifest and of exact copies, and the
code of the shape that finds near copies.
"""

import hashlib
import io
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from hf_breakhis.data.integrity.duplicates import shape_code
from hf_breakhis.data.twin.twin import is_twin

FORMAT = 3  # raised whenever the same file would be judged or remembered otherwise
UNREAD = "cannot be read"  # begins the problem of a file that the system refused
MIN_SIDE = 32
MAX_PIXELS = 50_000_000
COLORS = ("mean_r", "mean_g", "mean_b", "sd_r", "sd_g", "sd_b")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {"L": "grey", "LA": "grey", "1": "black and white", "P": "a palette image", "RGBA": "RGB with transparency"}


@dataclass(frozen=True)
class Checked:
    """What one file showed.

    Attributes:
        key: number of the content: the file or the place in an archive, as it was when it was read.
        content_sha256: of the bytes of the file, "" if they cannot be read.
        problem: what is wrong, "" if nothing.
        width: pixels, 0 if it does not decode, as all that follows is empty then.
        height: pixels.
        mode: of Pillow, "RGB" for what can be used.
        bits: a channel, of a PNG; 0 for other formats.
        form: the format, "PNG" for what it should be.
        generated: whether this package drew it.
        pixels_sha256: of size and pixels, "" if the image cannot be used, as all that follows is.
        shape: see `shape_code`.
        mean_r: mean of red over the whole frame, 0 to 1; the others likewise.
    """

    key: int
    content_sha256: str = ""
    problem: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    bits: int = 0
    form: str = ""
    generated: bool = False
    pixels_sha256: str = ""
    shape: str = ""
    mean_r: float = 0.0
    mean_g: float = 0.0
    mean_b: float = 0.0
    sd_r: float = 0.0
    sd_g: float = 0.0
    sd_b: float = 0.0


def check_image(key: int, image: dict) -> Checked:
    """Decode one image, given as `{"bytes": ...}` or `{"path": ...}`, and measure it."""
    try:
        content = Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]
    except OSError as error:
        return Checked(key, problem=f"{UNREAD} ({error.strerror})")
    nothing = Checked(key, hashlib.sha256(content).hexdigest())
    problem = find_fault(content)
    if problem:
        return replace(nothing, problem=problem)
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except UnidentifiedImageError:
        return replace(nothing, problem="is not an image")
    except Image.DecompressionBombError:
        return replace(nothing, problem="is far too large")
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, zlib.error):
        return replace(nothing, problem="is cut short or damaged")
    return _measure(nothing, picture, content)


def _measure(nothing: Checked, picture: Image.Image, content: bytes) -> Checked:
    """Return what a picture that decodes shows."""
    decoded = replace(
        nothing,
        width=picture.width,
        height=picture.height,
        mode=picture.mode,
        bits=content[24] if picture.format == "PNG" else 0,
        form=picture.format or "",
        generated=is_twin(picture),
    )
    problem = _wrong_form(decoded)
    if problem:
        return replace(decoded, problem=problem)
    pixels = hashlib.sha256(f"{picture.width}x{picture.height}|".encode())
    pixels.update(picture.tobytes())
    colors: dict[str, Any] = dict(zip(COLORS, _measure_colors(picture), strict=True))
    return replace(decoded, pixels_sha256=pixels.hexdigest(), shape=shape_code(picture), **colors)


def find_fault(content: bytes) -> str:
    """Walk the chunks of a PNG and return what is wrong, "" if nothing or if it is no PNG at all.

    Pillow checks no checksum of the pixels: it shows a file with a flipped bit, or without its last lines, as whole.
    """
    if not content:
        return "is empty"
    if not content.startswith(_SIGNATURE):
        return ""
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    if width * height > MAX_PIXELS:
        return f"is far too large ({width}x{height} pixels)"
    view, at, kind = memoryview(content), len(_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(view[at : at + 4], "big")
        kind, end = bytes(view[at + 4 : at + 8]), at + 8 + length
        if len(view) < end + 4:
            return "is cut short"
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return "is damaged (wrong checksum)"
        at = end + 4
    return ""


def _wrong_form(decoded: Checked) -> str:
    """Say why a picture that decodes is not 8-bit RGB of a usable size."""
    if min(decoded.width, decoded.height) < MIN_SIDE:
        return f"is {decoded.width}x{decoded.height} pixels, less than {MIN_SIDE} a side"
    # Pillow cuts 16-bit RGB down to 8 and does not say so.
    if decoded.mode.startswith("I") or decoded.bits == 16:
        return "has 16 bits a channel"
    if decoded.mode != "RGB":
        return f"is {_MODES.get(decoded.mode, decoded.mode)}, not RGB"
    return ""


def _measure_colors(picture: Image.Image) -> list[float]:
    """Return mean and standard deviation of each channel, exactly, from the counts of the 256 levels."""
    counts = np.array(picture.histogram(), dtype=np.float64).reshape(3, 256)
    levels = np.arange(256) / 255
    total = counts.sum(1)
    mean = counts @ levels / total
    deviation = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / total)
    return [*mean.tolist(), *deviation.tolist()]
