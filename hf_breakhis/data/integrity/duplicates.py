"""Copies: the same file, the same pixels, or the same picture changed; and fields of a slide that overlap.

A changed picture is found in one of two ways. Two pictures that fill the frame in the same way are compared by their
waves (`waves`). Crops, rotations by any angle and shifts are found by local features (`features`, `overlaps`).

`benchmarks/near_copies.py` measures how many copies are found for each kind of change, how many alarms are false, and
what the search costs. The threshold of 54 waves lies midway between a crop of 1 % and the nearest different images.
Fields that overlap are a kind of their own: one of them shows a part that the other does not.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from hf_breakhis.data.images import Images
from hf_breakhis.data.integrity.described import describe_images
from hf_breakhis.data.integrity.features import LocalFeatures
from hf_breakhis.data.integrity.overlaps import Overlap, find_overlaps
from hf_breakhis.data.integrity.waves import THRESHOLD, TURNS, near_pairs, require_few

FILLED = 0.02  # share of the area in filled corners from which on waves alone do not show a copy
KINDS_OF = {"content_sha256": "same file", "pixels_sha256": "same pixels"}  # what is equal in exact copies
NEAR = "near copy"
OVERLAP = "overlapping field"
LIMITS = (
    "The search cannot see crops that keep less than half of each side, pictures with little structure (strongly "
    "blurred, or nearly of one colour), elastic deformations, and overlaps of fields by a narrow strip. In images of "
    "less than 64 pixels a side it sees only copies that are flipped, turned by 90 degrees, rescaled or recoloured."
)


def find_image_copies(images: Images, files: pd.DataFrame) -> pd.DataFrame:
    """Return every pair of images of a data set that show the same; see `find_copies`.

    Args:
        images: what `load_images` returned.
        files: what the check found in these files, see `Findings.files`.
    """
    return find_copies(_described(images, files), describe_images(images, files))


def copies_between(own: Images, own_files: pd.DataFrame, other: Images, other_files: pd.DataFrame) -> pd.DataFrame:
    """Return every pair of an image of one data set and an image of another that show the same.

    Args:
        own: the images that are looked for.
        own_files: what the check found in these files, see `Findings.files`.
        other: the other data set. Its images are compared with each other only where one is a copy of an own image.
        other_files: what the check found in its files.

    Returns:
        Columns `own`, `other` (file names) and `kind`, as in `find_copies`.
    """
    sides = ((own, own_files), (other, other_files))
    whole = pd.concat([_described(*side) for side in sides], ignore_index=True)
    features = [one for side in sides for one in describe_images(*side)]
    names, number = whole["file_name"].to_numpy(), len(own.dataset)
    rows_as_names = whole.assign(file_name=np.arange(len(whole)))  # both data sets may have an image of one name
    pairs = find_copies(rows_as_names, features, first=number)
    between = pairs[(pairs["a"] < number) & (pairs["b"] >= number)]
    return pd.DataFrame(
        {"own": names[between["a"].to_numpy(int)], "other": names[between["b"].to_numpy(int)], "kind": between["kind"]}
    ).reset_index(drop=True)


def _described(images: Images, files: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the data set with what the check found, in its order."""
    table: pd.DataFrame = images.dataset.remove_columns("image").to_pandas()[["file_name", "label", "specimen_id"]]
    return table.merge(files, on="file_name")


def find_copies(
    files: pd.DataFrame, features: Sequence[LocalFeatures] = (), threshold: int = THRESHOLD, first: int | None = None
) -> pd.DataFrame:
    """Return every pair of images that show the same.

    Args:
        files: one row an image: `file_name`, `label`, `specimen_id`, `content_sha256`, `pixels_sha256`, `shape` (of
            `shape_code`); the last three "" where unknown.
        features: of `describe_all`, one an image; none to search neither crops and rotations nor overlaps.
        threshold: waves that may differ.
        first: all pairs of which one is among the first `first` images are needed, others are not.

    Returns:
        Columns `a`, `b` (file names), `kind` ("same file", "same pixels", "near copy" or "overlapping field"),
        `distance` (waves that differ, 0 to 255, None where more than `threshold` do), `shared` (share of the smaller
        image that both show, 0 to 1, None where features did not find the pair), `turn` (how the second image lies,
        in words), `same_specimen` (None where a specimen is unknown), `same_label`; sorted by row.

    Raises:
        InputError: there are more than `MAX_PAIRS`.
    """
    exact = {pair for column in KINDS_OF for pair in _equal_pairs(list(files[column]))}
    waves = {(i, j): (distance, turn) for i, j, distance, turn in near_pairs(list(files["shape"]), threshold)}
    overlaps = {(one.i, one.j): one for one in find_overlaps(features, first=first)} if len(features) else {}
    # Pictures with corners of one colour have similar waves if they were rotated alike, whatever they show.
    filled = {row for row, one in enumerate(features) if one.filled > FILLED}
    waves = {pair: found for pair, found in waves.items() if pair in overlaps or not filled.issuperset(pair)}
    waves |= dict.fromkeys(exact, (0, 0))
    pairs = sorted({*waves, *overlaps})
    require_few(len(pairs))
    a, b = (files.iloc[[pair[side] for pair in pairs]].reset_index(drop=True) for side in (0, 1))
    equal = {column: (a[column] == b[column]) & (a[column] != "") for column in KINDS_OF}
    # Features decide where they found a pair: the waves of two fields that are shifted by 2 % hardly differ.
    is_near = pd.Series([overlaps[pair].is_copy if pair in overlaps else True for pair in pairs], dtype=bool)
    known = a["specimen_id"].notna() & b["specimen_id"].notna()
    shares = [None if pair in exact or pair not in overlaps else round(overlaps[pair].share, 3) for pair in pairs]
    return pd.DataFrame(
        {
            "a": a["file_name"],
            "b": b["file_name"],
            "kind": np.select([*equal.values(), is_near], [*KINDS_OF.values(), NEAR], OVERLAP),
            "distance": pd.Series([waves[pair][0] if pair in waves else None for pair in pairs], dtype=object),
            "shared": pd.Series(shares, dtype=object),
            "turn": [TURNS[waves[pair][1]] if pair in waves else _in_words(overlaps[pair]) for pair in pairs],
            "same_specimen": (a["specimen_id"] == b["specimen_id"]).astype(object).where(known, None),
            "same_label": a["label"] == b["label"],
        }
    )


def _in_words(one: Overlap) -> str:
    """Return how the second image of a pair lies on the first."""
    angle = round(one.angle)
    words = [
        "mirrored" * one.mirrored,
        f"rotated by {angle} degrees" * (angle != 0),
        f"{one.scale:.2f} times as large" * (round(one.scale, 2) != 1),
    ]
    return ", ".join(filter(None, words)) or "shifted"


def copies_across_parts(pairs: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs that lie in two parts of a fold.

    Args:
        pairs: what `find_copies` returned.
        folds: columns `file_name`, `fold`, `part`, as in a run's folds.csv.

    Returns:
        The columns of `pairs`, with `fold`, `part_a` and `part_b`; a pair has a row for each fold that divides it.
    """
    parts = folds[["file_name", "fold", "part"]]
    both = pairs.merge(parts.rename(columns={"file_name": "a", "part": "part_a"}), on="a")
    both = both.merge(parts.rename(columns={"file_name": "b", "part": "part_b"}), on=["b", "fold"])
    return both[both["part_a"] != both["part_b"]].reset_index(drop=True)


def _equal_pairs(values: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of rows with the same value, "" left out."""
    same: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value:
            same.setdefault(value, []).append(row)
    require_few(sum(len(rows) * (len(rows) - 1) // 2 for rows in same.values()))
    for rows in same.values():
        yield from combinations(rows, 2)
