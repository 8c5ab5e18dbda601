"""Which image files are accepted, and the one function that opens them: the same in every command, app and page.

The Space gets a copy of this file, so it needs nothing but Pillow.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

from PIL import Image, UnidentifiedImageError

# Name of each format in Pillow, and the extensions of its files, which are accepted in any case. Pillow opens many
# more formats, some of them by starting other programs (PostScript), whatever the extension of the file.
FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
}
NOT_IN_BROWSERS = ("TIFF",)  # the static page, whose images the browser decodes, accepts the other formats
EXTENSIONS = tuple(extension for extensions in FORMATS.values() for extension in extensions)
MIN_SIDE = 32
MAX_PIXELS = 50_000_000  # BreakHis has 0.3 million; Pillow warns from 89 million on
MAX_SHARED_PIXELS = 16_000_000  # in the Space and the static page: resizing needs 24 bytes for each
MODE, BITS = "RGB", 8  # nothing is converted, since the model saw nothing converted
FORMAT_NAMES = ", ".join(name.replace("WEBP", "WebP") for name in FORMATS)
# What Pillow raises for a damaged file or another one, in `open_image` or when pixels are decoded.
PILLOW_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {"L": "grey", "LA": "grey", "1": "black and white", "P": "a palette image", "RGBA": "RGB with transparency"}


def open_image(image: bytes | str | Path) -> Image.Image:
    """Open an image, given as the bytes of its file or as a path, if it is of one of `FORMATS`; decode nothing yet.

    Raises:
        UnidentifiedImageError: it is of another format.
        OSError: it is damaged, or cannot be read; Pillow raises any of `PILLOW_ERRORS`.
    """
    return Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=tuple(FORMATS))


def why_unusable(content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Return why the bytes of a file cannot be used, "" if they can, as a part of a sentence ("is empty").

    Headers and, of a PNG, checksums are read; no pixel is decoded.
    """
    if damage := find_damage(content, max_pixels):
        return damage
    try:
        with open_image(content) as picture:
            return wrong_form(picture, max_pixels)
    except PILLOW_ERRORS as error:
        return in_words(error)


def find_damage(content: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Walk the chunks of a PNG and return what is wrong, "" if nothing or if it is no PNG at all.

    Pillow checks no checksum of the pixels: it shows a file with a flipped bit, or without its last lines, as whole.
    """
    if not content:
        return "is empty"
    if not content.startswith(PNG_SIGNATURE):
        return ""
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    if width * height > max_pixels:
        return _too_large(width, height, max_pixels)
    view, at, kind = memoryview(content), len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(view[at : at + 4], "big")
        kind, end = bytes(view[at + 4 : at + 8]), at + 8 + length
        if len(view) < end + 4:
            return "is cut short"
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return "is damaged (wrong checksum)"
        at = end + 4
    return ""


def wrong_form(picture: Image.Image, max_pixels: int = MAX_PIXELS) -> str:
    """Return why a picture that `open_image` opened, not decoded yet, is not usable 8-bit RGB, "" if it is."""
    if picture.width * picture.height > max_pixels:
        return _too_large(picture.width, picture.height, max_pixels)
    if min(picture.size) < MIN_SIDE:
        return f"is {picture.width}x{picture.height} pixels, less than {MIN_SIDE} a side"
    bits = bits_per_channel(picture)
    if picture.mode.startswith("I") or bits > BITS or (picture.mode == MODE and bits != BITS):
        return f"has {bits} bits a channel"
    if picture.mode != MODE:
        return f"is {_MODES.get(picture.mode, picture.mode)}, not {MODE}"
    if picture.format in FORMATS and getattr(picture, "is_animated", False):
        return "has several frames or pages"  # a photograph with a preview (format MPO) counts as one picture
    return ""


def bits_per_channel(picture: Image.Image) -> int:
    """Return the bits of a channel in the file of a picture that is not decoded yet.

    Pillow opens files of 16 bits a channel as 8-bit RGB and does not say so; only what is to be unpacked shows it.
    """
    if picture.format == "TIFF":
        depths = picture.tag_v2.get(258, 1)  # type: ignore[attr-defined]
        return max(depths) if isinstance(depths, tuple) else int(depths)
    for tile in getattr(picture, "tile", ()):
        packed = tile.args if isinstance(tile.args, str) else tile.args[0] if tile.args else ""
        layout, _, bits = str(packed).partition(";")  # RGB;16B and L;2 in PNG, BGR;15 (all three channels) in BMP
        number = int("".join(filter(str.isdigit, bits)) or BITS)
        return 5 if layout == "BGR" and number in (15, 16) else 1 if packed == "1" else number
    return BITS


def in_words(error: Exception) -> str:
    """Return one of `PILLOW_ERRORS` as a part of a sentence."""
    if isinstance(error, UnidentifiedImageError):
        return f"is not an image in one of the formats {FORMAT_NAMES}"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "is far too large"
    return "is cut short or damaged"


def _too_large(width: int, height: int, max_pixels: int) -> str:
    return f"is far too large ({width}x{height} pixels; at most {max_pixels // 10**6} million)"


def ignore_size_warnings() -> None:
    """Turn off Pillow's warning of large images, which are refused by their size."""
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
