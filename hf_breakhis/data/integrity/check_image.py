"""One image: is it whole, and does it look as an image of BreakHis does?

The same pass takes what else needs bytes and pixels: colours, the hashes of the manifest and of exact copies, and the
code of the shape that finds near copies.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hf_breakhis.data.integrity.waves import shape_code
from hf_breakhis.data.open_image import (
    PILLOW_ERRORS,
    bits_per_channel,
    find_damage,
    in_words,
    open_image,
    wrong_form,
)
from hf_breakhis.data.twin.twin import is_twin

FORMAT = 4  # raised whenever the same file would be judged or remembered otherwise
UNREAD = "cannot be read"  # begins the problem of a file that the system refused
COLORS = ("mean_r", "mean_g", "mean_b", "sd_r", "sd_g", "sd_b")


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
        bits: of a channel in the file.
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


def check_image(key: int, image: dict[str, Any], use: Callable[[Image.Image], object] | None = None) -> Checked:
    """Decode one image, given as `{"bytes": ...}` or `{"path": ...}`, and measure it.

    `use` is called with the picture, if it can be used.
    """
    try:
        content = Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]
    except OSError as error:
        return Checked(key, problem=f"{UNREAD} ({error.strerror})")
    nothing = Checked(key, hashlib.sha256(content).hexdigest())
    problem = find_damage(content)
    if problem:
        return replace(nothing, problem=problem)
    try:
        picture = open_image(content)
        opened = replace(
            nothing,
            problem=wrong_form(picture),
            width=picture.width,
            height=picture.height,
            mode=picture.mode,
            bits=bits_per_channel(picture),
            form=picture.format or "",
        )
        if opened.problem:
            return opened
        picture.load()
    except PILLOW_ERRORS as error:
        return replace(nothing, problem=in_words(error))
    if use is not None:
        use(picture)
    return _measure(replace(opened, generated=is_twin(picture)), picture)


def _measure(decoded: Checked, picture: Image.Image) -> Checked:
    """Return what a picture that can be used shows."""
    pixels = hashlib.sha256(f"{picture.width}x{picture.height}|".encode())
    pixels.update(picture.tobytes())
    colors: dict[str, Any] = dict(zip(COLORS, _measure_colors(picture), strict=True))
    return replace(decoded, pixels_sha256=pixels.hexdigest(), shape=shape_code(picture), **colors)


def _measure_colors(picture: Image.Image) -> list[float]:
    """Return mean and standard deviation of each channel, exactly, from the counts of the 256 levels."""
    counts = np.array(picture.histogram(), dtype=np.float64).reshape(3, 256)
    levels = np.arange(256) / 255
    total = counts.sum(1)
    mean = counts @ levels / total
    deviation = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / total)
    return [*mean.tolist(), *deviation.tolist()]
