"""The files below a folder, found by one walk and sorted by what their names say; none is left out silently."""

import os
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator

from hf_breakhis.data.open_image import EXTENSIONS
from hf_breakhis.files import InputError

IMAGE, UNSUPPORTED, OTHER, LINK = "image", "unsupported", "other", "link"
OUTSIDE = "outside"  # an image next to the folder that is read
# Files of these kinds are expected next to images. Whatever is not listed here may be an image that is missed.
_NOT_IMAGES = frozenset(
    ".txt .md .rst .pdf .html .htm .xml .rtf .doc .docx .odt .csv .tsv .json .jsonl .ndjson .yaml .yml .toml .ini "
    ".cfg .xls .xlsx .ods .db .sqlite .log .py .ipynb .m .r .sh .bat .js .css .gz .tgz .tar .zip .7z .rar .bz2 .xz "
    ".zst .parquet .arrow .feather .npy .npz .mat .h5 .hdf5 .pkl .pickle .pt .pth .ckpt .onnx .safetensors .bib .lock "
    ".md5 .sha1 .sha256 .sha512 .url .lnk .torrent .part .tmp".split()
)
_NOT_IMAGE_NAMES = frozenset(
    "readme license licence copying notice changelog authors citation makefile sha256sums md5sums thumbs.db "
    "desktop.ini icon\r".split(" ")
)


def kind_of(name: str) -> str:
    """Return what a file is by its name: `IMAGE` (an accepted extension, in any case), `OTHER` or `UNSUPPORTED`.

    `UNSUPPORTED` is what may be an image and is not accepted: another extension, or none.
    """
    extension = os.path.splitext(name)[1].lower()
    if name.startswith(".") or name.lower() in _NOT_IMAGE_NAMES:
        return OTHER
    if extension in EXTENSIONS:
        return IMAGE
    return OTHER if extension in _NOT_IMAGES else UNSUPPORTED


def normal_path(place: str) -> str:
    """Return a path as every system writes it: macOS decomposes letters, archives from Windows have backslashes."""
    return unicodedata.normalize("NFC", place.replace("\\", "/"))


def is_text(name: str) -> bool:
    """Tell whether a file name is UTF-8, as tables need it; a file system may hold any bytes."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def walk(folder: str, on_error: Callable[[OSError], None] | None = None) -> Iterator[tuple[str, str]]:
    """Yield path and kind of every file below a folder, sorted within each folder, then the links not followed.

    Args:
        folder: where to begin; hidden folders and those that macOS adds to archives are not entered.
        on_error: takes the error of a folder that cannot be listed; by default it is raised.

    Raises:
        InputError: a folder cannot be listed.
    """
    links: list[str] = []
    for _, entries in walk_folders(folder, on_error or _refuse, links.append):
        for entry in entries:
            yield entry.path, kind_of(entry.name)
    for path in links:
        yield path, LINK


def walk_folders(
    folder: str, on_error: Callable[[OSError], None], on_link: Callable[[str], None] = lambda path: None
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Yield each folder with the files in it, sorted; links to folders are followed after all folders proper.

    A folder is read once, whatever links lead to it, so that a loop ends and no image is found twice.

    Args:
        folder: where to begin.
        on_error: takes the error of a folder that cannot be listed.
        on_link: takes the path of a link that is not followed.
    """
    top = os.path.realpath(folder)
    seen: set[tuple[int, int]] = set()
    pending, later = [folder], deque[str]()
    while pending or later:
        is_link = not pending
        path = later.popleft() if is_link else pending.pop()
        try:
            state = os.stat(path)
            above = is_link and f"{top}/".startswith(f"{os.path.realpath(path).rstrip('/')}/")
            if above or (state.st_dev, state.st_ino) in seen:
                on_link(path)
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            on_error(error)
            continue
        folders = [entry for entry in entries if entry.is_dir()]
        inner = [entry for entry in folders if not entry.name.startswith(".") and entry.name != "__MACOSX"]
        later.extend(entry.path for entry in inner if entry.is_symlink())
        pending.extend(entry.path for entry in reversed(inner) if not entry.is_symlink())
        yield path, [entry for entry in entries if not entry.is_dir()]


def _refuse(error: OSError) -> None:
    raise InputError(
        f"Cannot read {error.filename}: {error.strerror}. Check the permissions of {error.filename}."
    ) from error
