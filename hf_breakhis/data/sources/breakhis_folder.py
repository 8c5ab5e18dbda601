"""BreakHis as an unpacked folder: find the tree, list its PNG files."""

import os
from collections.abc import Iterator
from pathlib import Path

import datasets
from tqdm import tqdm

from hf_breakhis.data.images import Images, arrange
from hf_breakhis.data.sources.arranged import arrange_once, folder_state
from hf_breakhis.data.sources.kaggle import find_folds_csv, read_folds_csv
from hf_breakhis.files import InputError

OTHER_PICTURES = (".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# From `breast/` itself up to the parent of BreaKHis_v1, which the copy on Kaggle holds twice, one in the other.
_SLIDES = "histology_slides/breast"
_WAYS_DOWN = ("", "breast", _SLIDES, f"BreaKHis_v1/BreaKHis_v1/{_SLIDES}", f"BreaKHis_v1/{_SLIDES}")


def is_other_picture(name: str) -> bool:
    """Tell whether a file name is that of a picture that is no PNG, as BreakHis has none."""
    return name.lower().endswith(OTHER_PICTURES) and not name.startswith("._")


def is_picture(name: str) -> bool:
    """Tell whether a file name is that of a PNG, and not of the shadow file that macOS lays beside one."""
    return name.lower().endswith(".png") and not name.startswith("._")


def is_text(name: str) -> bool:
    """Tell whether a file name is UTF-8, as tables need it; a file system may hold any bytes."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def find_tree(folder: Path) -> Path:
    """Return the folder that holds `benign/` and `malignant/`.

    Raises:
        InputError: there is none within `folder`, or `folder` is empty.
    """
    for way in _WAYS_DOWN:
        if any((folder / way / name).is_dir() for name in ("benign", "malignant")):
            return folder / way
    if not os.listdir(folder):
        raise InputError(f"The folder {folder} is empty; unpack BreaKHis_v1.tar.gz there, or give its place.")
    raise InputError(
        f"The folder {folder} is not BreakHis: it has no {_WAYS_DOWN[-1]}/benign or malignant. "
        "Give the folder that holds BreaKHis_v1, or BreaKHis_v1.tar.gz."
    )


def index_tree(folder: Path) -> tuple[list[str], list[str]]:
    """Return the paths of all PNG files in the tree, and of all other pictures, each sorted by file name.

    Raises:
        InputError: `folder` holds no tree, the tree no PNG, or part of it cannot be read.
    """
    try:
        root = find_tree(folder)
        paths = list(_walk(root))
    except OSError as error:
        raise InputError(f"Cannot read {error.filename}: {error.strerror}. Give yourself rights there.") from error
    if not any(map(is_picture, paths)):
        raise InputError(f"No PNG image in {root}; unpack BreaKHis_v1.tar.gz again, or give another folder.")
    paths.sort()
    paths.sort(key=os.path.basename)  # in two steps, which need half the memory of sorting by both
    others = [path for path in paths if is_other_picture(path)]
    return [path for path in paths if is_picture(path)] if others else paths, others


def _walk(root: Path) -> Iterator[str]:
    """Yield the path of every picture below `root`; an unreadable folder is an error, not an empty folder."""
    with tqdm(desc="Indexing", unit=" images", disable=None) as bar:
        for parent, _, names in os.walk(root, onerror=_raise):
            for name in names:
                if not is_picture(name) and not is_other_picture(name):
                    continue
                path = os.path.join(parent, name)
                if not is_text(path):
                    raise InputError(f"The name {path!r} is not UTF-8; rename the file.")
                yield path
                bar.update()


def _raise(error: OSError) -> None:
    raise error


def load_tree(folder: Path) -> Images:
    """Read the images of an unpacked folder as paths, whose files are read when they are needed.

    Raises:
        InputError: as `index_tree` and `arrange`.
    """
    root = find_tree(folder)
    folds = find_folds_csv(folder, root)

    def make() -> Images:
        paths, others = index_tree(folder)
        rows = datasets.Dataset.from_dict({"image": paths}, datasets.Features({"image": datasets.Image(decode=False)}))
        images = arrange(rows, paths, str(folder), others=others)
        images.findings.extend(read_folds_csv(folds) if folds else ())
        return images

    return arrange_once(str(folder), ("tree",), lambda: folder_state(root, [folds] if folds else []), make)
