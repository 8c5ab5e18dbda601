"""The twin: a generated BreakHis with the real file names, groups, counts and tree."""

import io
import math
from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin
from tqdm import tqdm

from hf_breakhis.data.filenames import MAGNIFICATIONS, parse_file_name
from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.open_image import open_image
from hf_breakhis.data.twin.tissue import draw_picture
from hf_breakhis.data.twin.traits import TwinSettings
from hf_breakhis.files import InputError, read_json, write_json
from hf_breakhis.folders import FolderKind, replace_folder
from hf_breakhis.hardware import count_cores

__all__ = ["FORMAT", "TwinSettings", "draw_picture", "is_twin", "read_settings", "twin_file_names", "write_twin"]

FORMAT = 4  # raised whenever the same settings give other pictures
_SOFTWARE = "hf_breakhis twin"
_ABOUT = "twin.json"
TWIN = FolderKind("twin", (), _ABOUT)  # one that is there is never replaced
_EXPORT = "export.json"  # of `data export`, which hands the settings on


def twin_file_names(settings: TwinSettings) -> list[str]:
    """Return the file names that a twin of these settings holds, sorted."""
    names = []
    for folder in INVENTORY:
        for magnification in MAGNIFICATIONS:
            numbers = folder.numbers[magnification]
            for number in numbers[: math.ceil(settings.scale * len(numbers))]:
                names.append(f"{folder.patient_id}-{magnification.removesuffix('X')}-{number:03d}.png")
    return sorted(names)


def read_settings(folder: Path) -> TwinSettings | None:
    """Return how the twin in a folder, or an export of one, was drawn; None if nothing there says so.

    Raises:
        InputError: what says so is of another form.
    """
    for name in (_ABOUT, _EXPORT):
        about = folder / name
        if not about.is_file():
            continue
        found = read_json(about)
        settings = found.get("settings") if isinstance(found, dict) else None
        if settings is None and name == _EXPORT:  # of an archive, which does not say it
            return None
        if not isinstance(settings, dict):
            raise InputError(f"{about} holds no settings of a twin; generate the twin again.")
        try:
            return TwinSettings.from_kwargs(settings)
        except InputError as error:
            raise InputError(f"{about} holds settings of no twin ({error}); generate the twin again.") from error
    return None


def encode(file_name: str, settings: TwinSettings) -> bytes:
    """Return the picture of one file name as PNG, marked as a twin."""
    marks = PngImagePlugin.PngInfo()
    marks.add_text("Software", f"{_SOFTWARE} {FORMAT}")
    stream = io.BytesIO()
    Image.fromarray(draw_picture(file_name, settings)).save(stream, "PNG", pnginfo=marks, compress_level=3)
    return stream.getvalue()


def is_twin(picture: str | Path | bytes | Image.Image) -> bool:
    """Tell whether a picture (a path, the bytes of a file, or an image opened by Pillow) was drawn by this package."""
    if not isinstance(picture, Image.Image):
        with open_image(picture) as opened:
            return is_twin(opened)
    return str(picture.info.get("Software", "")).startswith(_SOFTWARE)


def write_twin(folder: str | Path, settings: TwinSettings, num_proc: int | None = None) -> Path:
    """Write the official tree with a picture for every name, whole or not at all.

    Args:
        folder: will hold `BreaKHis_v1/` and `twin.json`; left as it is when it holds the same twin already.
        settings: how to draw.
        num_proc: processes that draw; by default one for each core that this process may use. The pictures do not
            depend on it.

    Raises:
        InputError: the folder holds something else, or cannot be written to.
    """
    folder = Path(folder)
    about = {"format": FORMAT, "settings": settings.to_dict()}
    if _holds(folder, about):
        return folder

    def fill(part: Path) -> None:
        _write_pictures(part, settings, num_proc or count_cores())
        write_json(part / _ABOUT, about)

    try:
        replace_folder(folder, fill, TWIN)
    except InputError:
        if _holds(folder, about):  # another process finished the same twin first
            return folder
        raise
    return folder


def _holds(folder: Path, about: dict[str, Any]) -> bool:
    """Tell whether `folder` holds the twin that is asked for; an empty or absent folder does not.

    Raises:
        InputError: it holds something else.
    """
    if (folder / _ABOUT).is_file():
        if read_json(folder / _ABOUT) == about:
            return True
        raise InputError(f"{folder} holds another twin (see its {_ABOUT}); give another folder or delete it.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is no twin; give a new or an empty folder.")
    return False


def _write_pictures(folder: Path, settings: TwinSettings, num_proc: int) -> None:
    """Draw and write every picture below `folder`, in `num_proc` processes."""
    names = twin_file_names(settings)
    for parent in {parse_file_name(name).path.rpartition("/")[0] for name in names}:
        (folder / parent).mkdir(parents=True)
    chunks = [(folder, names[start : start + 4], settings) for start in range(0, len(names), 4)]
    with tqdm(total=len(names), desc="Drawing the twin", unit=" images", disable=None) as bar:
        if num_proc == 1:
            _advance(bar, map(_write_chunk, chunks))
            return
        from joblib.externals.loky import ProcessPoolExecutor

        # Processes that share nothing, since forking one that runs threads (torch) may hang, and that do not run the
        # script of the user once more, as those of the standard library do.
        pool = ProcessPoolExecutor(num_proc)
        try:
            _advance(bar, pool.map(_write_chunk, chunks))
        except BrokenProcessPool as error:
            raise InputError(
                "A process that draws the twin ended early, perhaps for lack of memory. Free memory and try again."
            ) from error
        finally:
            pool.shutdown()


def _write_chunk(chunk: tuple[Path, list[str], TwinSettings]) -> int:
    folder, names, settings = chunk
    for name in names:
        (folder / parse_file_name(name).path).write_bytes(encode(name, settings))
    return len(names)


def _advance(bar: "tqdm[Any]", counts: Iterable[int]) -> None:
    for count in counts:
        bar.update(count)
