"""BreakHis as an unpacked folder: find the tree, list its images."""

import io
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import datasets
import pandas as pd
from tqdm import tqdm

from hf_breakhis.data.images import Images, arrange
from hf_breakhis.data.inventory import INVENTORY, NUM_OFFICIAL_FOLDS
from hf_breakhis.data.open_image import EXTENSIONS
from hf_breakhis.data.walk import IMAGE, LINK, OTHER, OUTSIDE, UNSUPPORTED, is_text, kind_of, walk
from hf_breakhis.files import InputError

FOLDS_CSV = "Folds.csv"
_COLUMNS = ["fold", "mag", "grp", "filename"]
_KEYS = ["fold", "name"]
# From `breast/` itself up to the parent of BreaKHis_v1, which the copy on Kaggle holds twice, one in the other.
_ARCHIVE = "BreaKHis_v1"
_SLIDES = "histology_slides/breast"
_WAYS_DOWN = ("", "breast", _SLIDES, f"{_ARCHIVE}/{_ARCHIVE}/{_SLIDES}", f"{_ARCHIVE}/{_SLIDES}")


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


def _outside(folder: Path, root: Path, used: list[str]) -> Iterator[tuple[str, str]]:
    """Yield path and kind of the files of a copy that lie outside of the folder whose images are used.

    Args:
        folder: what the user gave. If the copy is a folder in it, the other folders in it are not read, since they may
            be anything, such as runs.
        root: as `find_tree` returns it.
        used: paths of the images below `root`, some of them perhaps through links.
    """
    yield from ((str(path), OUTSIDE) for path in _loose_images(folder, root))
    if _copy_of(folder, root) == root:
        return
    found = [
        (path, kind) for path, kind in walk(str(_copy_of(folder, root))) if not path.startswith(f"{root}{os.sep}")
    ]
    real = {os.path.realpath(path) for path in used} if any(kind == IMAGE for _, kind in found) else set()
    for path, kind in found:
        if kind != IMAGE:
            yield path, kind
        elif os.path.realpath(path) not in real:
            yield path, OUTSIDE


def _loose_images(folder: Path, root: Path) -> list[Path]:
    """Return the images directly in a folder that a copy is in."""
    if _copy_of(folder, root) == folder:
        return []
    return sorted(path for path in folder.iterdir() if kind_of(path.name) == IMAGE and path.is_file())


def _copy_of(folder: Path, root: Path) -> Path:
    """Return the uppermost folder of the copy that `root` is in."""
    return folder / _ARCHIVE if root.relative_to(folder).parts[:1] == (_ARCHIVE,) else folder


def load_tree(folder: Path) -> Images:
    """Read the images of an unpacked folder as paths, whose files are read when they are needed.

    Where the tree of the official archive is found, it alone is read, and images of the copy outside of it are
    findings; otherwise every folder below is read, and the file names say which images are of BreakHis.

    Raises:
        InputError: as `index_tree` and `arrange`.
    """
    root = find_tree(folder) or folder
    folds = find_folds_csv(folder, root)
    paths, unused = index_tree(root)
    for path, kind in _outside(folder, root, paths):
        unused.setdefault(kind, []).append(path)
    rows = datasets.Dataset.from_dict({"image": paths}, datasets.Features({"image": datasets.Image(decode=False)}))
    images = arrange(rows, paths, str(folder), unused=unused)
    images.findings.extend(read_folds_csv(folds) if folds else ())
    return images


def find_folds_csv(folder: Path, tree: Path) -> Path | None:
    """Return the `Folds.csv` that lies in `folder` or between it and the tree, None if there is none."""
    for place in (tree, *tree.parents):
        if (place / FOLDS_CSV).is_file():
            return place / FOLDS_CSV
        if place == folder:
            break
    return None


def read_folds_csv(path: Path) -> list[str]:
    """Return what is odd about a `Folds.csv`; it is compared and never used, so nothing about it stops a run."""
    try:
        return check_folds_csv(path.read_bytes(), str(path))
    except OSError as error:
        return [f"{path} cannot be read ({error.strerror}); the official folds of the inventory are used."]


def check_folds_csv(content: bytes, place: str) -> list[str]:
    """Compare a `Folds.csv` with the official folds of the inventory; return one finding for each kind of difference.

    Args:
        content: the file: one row for each fold and image, with the columns fold (1 to 5), mag (40 to 400), grp
            ("train" or "test") and filename (a path that ends in the file name).
        place: where it was found.
    """
    instead = "; the official folds of the inventory are used"
    try:
        table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError):  # not text, or not a table
        return [f"{place} is no table with the columns {', '.join(_COLUMNS)}{instead}."]
    if absent := [column for column in _COLUMNS if column not in table.columns]:
        return [f"{place} lacks the column {', '.join(absent)}{instead}."]
    table["name"] = [PurePosixPath(path.replace("\\", "/")).name for path in table["filename"]]
    official = _official_rows()
    both = table.merge(official, on=_KEYS, how="outer", suffixes=("", "_official"), indicator="side")
    findings = []
    repeated = table[table.duplicated(_KEYS)]
    same = both["side"] == "both"
    for rows, what in (
        (both[same & (both["grp"] != both["grp_official"])], "gives another part than the official folds in"),
        (both[same & (both["mag"].str.removesuffix("X") != both["mag_official"])], "gives another magnification in"),
        (both[both["side"] == "right_only"], f"lacks, of {len(official):,} rows of the official folds,"),
        (both[both["side"] == "left_only"], "names what the official folds do not have in"),
        (repeated, "gives an image twice in"),
    ):
        if len(rows):
            first, count = rows.iloc[0], f"{len(rows):,} row{'s' * (len(rows) > 1)}"
            findings.append(f"{place} {what} {count}, such as {first['name']} in fold {first['fold']}{instead}.")
    return findings


def _official_rows() -> pd.DataFrame:
    """Return the official folds as `Folds.csv` has them: fold, mag, grp and the file name, all as text."""
    rows = [
        (str(fold + 1), name.magnification.removesuffix("X"), folder.official[fold], str(name))
        for folder in INVENTORY
        for name in folder.names()
        for fold in range(NUM_OFFICIAL_FOLDS)
    ]
    return pd.DataFrame(rows, columns=["fold", "mag", "grp", "name"])
