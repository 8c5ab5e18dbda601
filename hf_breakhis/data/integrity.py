"""Is every image whole, and does it look as an image of BreakHis does? All are decoded once; nothing is left out.

The same pass takes what else needs bytes and pixels: colours, the hashes of the manifest and of exact copies, and the
code of the shape that finds near copies.
"""

import hashlib
import io
import os
import struct
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from hf_breakhis.data.duplicates import shape_code
from hf_breakhis.data.findings import Finding, those_with_images
from hf_breakhis.data.images import Images, few
from hf_breakhis.data.manifest import manifest_sha256
from hf_breakhis.data.sources import cache_folder
from hf_breakhis.data.twin import is_twin
from hf_breakhis.files import InputError, write_csv

FORMAT = 2  # raised whenever the same file would be judged otherwise
MIN_SIDE = 32
MAX_PIXELS = 50_000_000
COLORS = ("mean_r", "mean_g", "mean_b", "sd_r", "sd_g", "sd_b")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {"L": "grey", "LA": "grey", "1": "black and white", "P": "a palette image", "RGBA": "RGB with transparency"}


@dataclass(frozen=True)
class Checked:
    """What one file showed.

    Attributes:
        key: names the content: the file or the place in an archive, as it was when it was read.
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

    key: str
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


@dataclass(frozen=True)
class Findings:
    """What the check of all images found.

    Attributes:
        oddities: what is strange about images that are used, one for each kind.
        unusable: file name -> what is wrong with it; with these no run starts.
        colors: one row an image in the order of the data set: `file_name` and `COLORS`, mean and standard deviation
            of red, green and blue over the whole frame, 0 to 1.
        files: one row an image in the same order: `file_name` and the fields of `Checked` but its key and colours.
        manifest_sha256: names these images with their labels and groups, wherever they lie.
    """

    oddities: list[Finding]
    unusable: dict[str, str]
    colors: pd.DataFrame
    files: pd.DataFrame
    manifest_sha256: str

    @property
    def findings(self) -> list[str]:
        """The oddities as sentences."""
        return [str(oddity) for oddity in self.oddities]

    def raise_if_unusable(self) -> None:
        """Refuse to go on without some of the images.

        Raises:
            InputError: there are unusable images; up to three are named.
        """
        if self.unusable:
            shown = few([f"{name} {problem}" for name, problem in self.unusable.items()])
            count = len(self.unusable)
            raise InputError(
                f"{count:,} image{'s' * (count > 1)} cannot be used: {shown}. Fetch the original files again, or "
                "convert them to 8-bit RGB PNG, or delete them; no image is left out silently."
            )


def check_images(images: Images, num_threads: int | None = None) -> Findings:
    """Decode every image that was not checked before, and say what is odd.

    What an unchanged file (path, size, time of change) showed is remembered in the datasets cache.

    Args:
        images: what `load_images` returned.
        num_threads: images decoded at a time; by default one for each core this process may use.
    """
    rows = images.dataset.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    keys = _keys(images, rows)
    memory = cache_folder() / f"checked-{FORMAT}-{hashlib.sha256(images.location.encode()).hexdigest()[:16]}.csv"
    known = _recall(memory)
    new = [row for row, key in enumerate(keys) if key not in known]

    def check(row: int) -> Checked:
        return check_image(keys[row], rows[row]["image"])

    if new:
        with ThreadPoolExecutor(num_threads or len(os.sched_getaffinity(0))) as pool:
            found = list(tqdm(pool.map(check, new), total=len(new), desc="Checking", unit="image", disable=None))
        known |= {one.key: one for one in found}
        # Processes of one run write the same rows, whole each time, so that none can read a mixture.
        write_csv(memory, pd.DataFrame([vars(one) for one in known.values()]))
    checked = [known[key] for key in keys]
    names = list(images.dataset["file_name"])
    files = pd.DataFrame([vars(one) for one in checked]).drop(columns=["key", *COLORS])
    files.insert(0, "file_name", names)
    colors = pd.DataFrame([[getattr(one, color) for color in COLORS] for one in checked], columns=list(COLORS))
    colors.insert(0, "file_name", names)
    unusable = {name: one.problem for name, one in zip(names, checked, strict=True) if one.problem}
    manifest = manifest_sha256(images.dataset, [one.content_sha256 for one in checked])
    return Findings(_judge(names, checked, images.source), unusable, colors, files, manifest)


def check_image(key: str, image: dict) -> Checked:
    """Decode one image, given as `{"bytes": ...}` or `{"path": ...}`, and measure it."""
    try:
        content = Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]
    except OSError as error:
        return Checked(key, problem=f"cannot be read ({error.strerror})")
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


def _keys(images: Images, rows: datasets.Dataset) -> list[str]:
    """Name the content of every row: the file as it is now, or the place within an archive as it is now."""
    names = list(images.dataset["file_name"])
    if images.stamp:
        return [f"{images.stamp}|{name}" for name in names]
    keys = []
    for image in rows["image"]:
        try:
            state = os.stat(image["path"])
            keys.append(f"{os.path.abspath(image['path'])}|{state.st_size}|{state.st_mtime_ns}")
        except OSError:
            keys.append(f"{image['path']}|absent")
    return keys


def _recall(memory: Path) -> dict[str, Checked]:
    """Read what earlier checks of this place found; a file from elsewhere counts as nothing."""
    if not memory.is_file():
        return {}
    types: dict[str, Any] = {field.name: field.type for field in fields(Checked)}  # a hash of digits alone stays text
    table = pd.read_csv(memory, keep_default_na=False, dtype=types)
    if list(table.columns) != list(types):
        return {}
    checked = [Checked(*row) for row in table.itertuples(index=False)]
    return {one.key: one for one in checked}


def _judge(names: list[str], checked: list[Checked], source: str) -> list[Finding]:
    """Compare the usable images with each other."""
    good = [(name, one) for name, one in zip(names, checked, strict=True) if not one.problem]
    sizes = {name: f"{one.width}x{one.height}" for name, one in good}
    usual, _ = Counter(sizes.values()).most_common(1)[0] if sizes else ("", 0)
    foreign = {name: one.form for name, one in good if one.form != "PNG" and name.lower().endswith(".png")}
    twin = source.endswith("twin")
    mixed = {name: "" for name, one in good if one.generated != twin}
    what = "Photographs among generated images" if twin else "Generated images (twin) among real ones"
    return those_with_images(
        [
            Finding("size", f"Of another size than {usual}", {n: size for n, size in sizes.items() if size != usual}),
            Finding("format", "Named .png, but of another format", foreign),
            Finding("generated", what, mixed),
        ]
    )
