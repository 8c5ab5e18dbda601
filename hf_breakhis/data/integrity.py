"""Is every image whole, and does it look as an image of BreakHis does? All are decoded once; nothing is left out."""

import hashlib
import io
import os
import struct
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from hf_breakhis.data.images import Images, few
from hf_breakhis.data.sources import cache_folder
from hf_breakhis.data.twin import is_twin
from hf_breakhis.files import InputError, write_csv

FORMAT = 1  # raised whenever the same file would be judged otherwise
MIN_SIDE = 32
MAX_PIXELS = 50_000_000
COLORS = ("mean_r", "mean_g", "mean_b", "sd_r", "sd_g", "sd_b")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MODES = {"L": "grey", "LA": "grey", "1": "black and white", "P": "a palette image", "RGBA": "RGB with transparency"}


@dataclass(frozen=True)
class Checked:
    """What one file showed: its key, what is wrong ("" if nothing), its form, and its colours from 0 to 1."""

    key: str
    problem: str
    width: int = 0
    height: int = 0
    form: str = ""
    generated: bool = False
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
        findings: one sentence a kind of oddity; such images are used.
        unusable: file name -> what is wrong with it; with these no run starts.
        colors: one row an image in the order of the data set: `file_name` and `COLORS`, mean and standard deviation
            of red, green and blue over the whole frame, 0 to 1.
    """

    findings: list[str]
    unusable: dict[str, str]
    colors: pd.DataFrame

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
        write_csv(memory, pd.DataFrame([asdict(one) for one in known.values()]))
    return _judge(list(images.dataset["file_name"]), [known[key] for key in keys], images.source)


def check_image(key: str, image: dict) -> Checked:
    """Decode one image, given as `{"bytes": ...}` or `{"path": ...}`, and measure its colours."""
    try:
        content = Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]
    except OSError as error:
        return Checked(key, f"cannot be read ({error.strerror})")
    problem = find_fault(content)
    if problem:
        return Checked(key, problem)
    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except UnidentifiedImageError:
        return Checked(key, "is not an image")
    except Image.DecompressionBombError:
        return Checked(key, "is far too large")
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, zlib.error):
        return Checked(key, "is cut short or damaged")
    problem = _wrong_form(picture, content)
    if problem:
        return Checked(key, problem, *picture.size)
    return Checked(key, "", *picture.size, picture.format or "", is_twin(picture), *_measure_colors(picture))


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


def _wrong_form(picture: Image.Image, content: bytes) -> str:
    """Say why a picture that decodes is not 8-bit RGB of a usable size."""
    if min(picture.size) < MIN_SIDE:
        return f"is {picture.width}x{picture.height} pixels, less than {MIN_SIDE} a side"
    # Byte 24 of a PNG is its bit depth; Pillow cuts 16-bit RGB down to 8 and does not say so.
    if picture.mode.startswith("I") or (picture.format == "PNG" and content[24] == 16):
        return "has 16 bits a channel"
    if picture.mode != "RGB":
        return f"is {_MODES.get(picture.mode, picture.mode)}, not RGB"
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
    table = pd.read_csv(memory, keep_default_na=False)
    if list(table.columns) != list(Checked.__dataclass_fields__):
        return {}
    checked = [Checked(*row) for row in table.itertuples(index=False)]
    return {one.key: one for one in checked}


def _judge(names: list[str], checked: list[Checked], source: str) -> Findings:
    """Compare the images with each other."""
    unusable = {name: one.problem for name, one in zip(names, checked, strict=True) if one.problem}
    good = [(name, one) for name, one in zip(names, checked, strict=True) if not one.problem]
    sizes = Counter((one.width, one.height) for _, one in good)
    findings = []
    if len(sizes) > 1:
        (width, height), _ = sizes.most_common(1)[0]
        odd = [
            f"{name} ({one.width}x{one.height})" for name, one in good if (one.width, one.height) != (width, height)
        ]
        findings.append(f"Of another size than {width}x{height}: {few(odd)}.")
    foreign = [f"{name} ({one.form})" for name, one in good if one.form != "PNG"]
    if foreign:
        findings.append(f"Named .png, but of another format: {few(foreign)}.")
    mixed = [name for name, one in good if one.generated != (source == "twin")]
    if mixed:
        what = "Photographs among generated images" if source == "twin" else "Generated images (twin) among real ones"
        findings.append(f"{what}: {few(mixed)}.")
    colors = pd.DataFrame([[getattr(one, color) for color in COLORS] for one in checked], columns=list(COLORS))
    colors.insert(0, "file_name", names)
    return Findings(findings, unusable, colors)
