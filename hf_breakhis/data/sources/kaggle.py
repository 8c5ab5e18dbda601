"""The copy of BreakHis on Kaggle: the official tree, and `Folds.csv` with the official folds."""

import io
from pathlib import Path, PurePosixPath

import pandas as pd

from hf_breakhis.data.inventory import INVENTORY, NUM_OFFICIAL_FOLDS

FOLDS_CSV = "Folds.csv"
_COLUMNS = ["fold", "mag", "grp", "filename"]
_KEYS = ["fold", "name"]


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
