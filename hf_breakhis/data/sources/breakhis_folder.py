"""BreakHis as an unpacked folder: find the tree, list its images."""

import os
from pathlib import Path

import datasets
from tqdm import tqdm

from hf_breakhis.data.images import Images, arrange
from hf_breakhis.data.open_image import EXTENSIONS
from hf_breakhis.data.sources.arranged import arrange_once, folder_state
from hf_breakhis.data.sources.kaggle import find_folds_csv, read_folds_csv
from hf_breakhis.data.walk import IMAGE, LINK, OTHER, UNSUPPORTED, is_text, walk
from hf_breakhis.files import InputError

# From `breast/` itself up to the parent of BreaKHis_v1, which the copy on Kaggle holds twice, one in the other.
_SLIDES = "histology_slides/breast"
_WAYS_DOWN = ("", "breast", _SLIDES, f"BreaKHis_v1/BreaKHis_v1/{_SLIDES}", f"BreaKHis_v1/{_SLIDES}")


def find_tree(folder: Path) -> Path | None:
    """Return the folder that holds `benign/` and `malignant/` as the official archive has them, None if none does."""
    for way in _WAYS_DOWN:
        if any((folder / way / name).is_dir() for name in ("benign", "malignant")):
            return folder / way
    return None


def index_tree(root: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return the paths of all images below a folder, sorted by file name, and those of other files by kind.

    Raises:
        InputError: there is no image, or a part of the folder cannot be read.
    """
    paths: list[str] = []
    unused: dict[str, list[str]] = {UNSUPPORTED: [], LINK: [], OTHER: []}
    with tqdm(desc="Indexing", unit=" images", disable=None) as bar:
        for path, kind in walk(str(root)):
            if not is_text(path):
                raise InputError(f"The name {path!r} is not UTF-8; rename the file.")
            (paths if kind == IMAGE else unused[kind]).append(path)
            bar.update(kind == IMAGE)
    if not paths:
        if not os.listdir(root):
            raise InputError(f"The folder {root} is empty; unpack BreaKHis_v1.tar.gz there, or give its place.")
        raise InputError(f"No image ({' '.join(EXTENSIONS)}) in {root}; unpack BreaKHis_v1.tar.gz again.")
    paths.sort()
    paths.sort(key=os.path.basename)  # in two steps, which need half the memory of sorting by both
    return paths, unused


def load_tree(folder: Path) -> Images:
    """Read the images of an unpacked folder as paths, whose files are read when they are needed.

    Where the tree of the official archive is found, it alone is read; otherwise every folder below is, and the file
    names say which images are of BreakHis.

    Raises:
        InputError: as `index_tree` and `arrange`.
    """
    root = find_tree(folder) or folder
    folds = find_folds_csv(folder, root)

    def make() -> Images:
        paths, unused = index_tree(root)
        rows = datasets.Dataset.from_dict({"image": paths}, datasets.Features({"image": datasets.Image(decode=False)}))
        images = arrange(rows, paths, str(folder), unused=unused)
        images.findings.extend(read_folds_csv(folds) if folds else ())
        return images

    return arrange_once(str(folder), ("tree",), lambda: folder_state(root, [folds] if folds else []), make)
