"""Copies: the same file, the same pixels, or the same picture resized, re-encoded, recoloured, turned or mirrored.

Two pictures are compared by the signs of 255 waves: of the lowest 16x16 coefficients of the cosine transform of a grey
64x64 thumbnail, all but the mean. Mirroring a picture only changes the sign of odd waves, and turning it also swaps
rows and columns, so one code answers for all eight ways to lay a picture down.

`benchmarks/near_copies.py` measures the distances, in waves of 255 that differ:

    copies of 63 real images of BreakHis, laid down in any of the eight ways                        median   most
      JPEG of quality 95 to 30, half and a quarter of the size, squashed to a square, blurred, noisy     1     10
      another brightness, contrast or stain                                                              2     14
      1 % cut off each side                                                                             21     30
      3 % cut off each side                                                                             54     78
    different images                                                                                          least
      1,953 pairs of real ones, 186 of them within one slide folder                                              98
      31,272,186 pairs of a twin of full count                                                                   76

A near copy is a pair that differs in at most 54 waves, midway between a crop of 1 % and the nearest different images:
no false alarm in either set. How near fields lie that overlap on the slide is not known; a wide overlap is an alarm.

The package imagehash separates these pictures as well (`phash` of 16x16: copies up to 16, different fields from 98),
but computes one code for each of the eight ways, four times as slow, needs PyWavelets, and searches no pairs.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from PIL import Image

from hf_breakhis.files import InputError

NUM_WAVES = 255
THRESHOLD = 54  # waves that may differ in a near copy
MAX_PAIRS = 1_000_000
KINDS_OF = {"content_sha256": "same file", "pixels_sha256": "same pixels"}  # what is equal in exact copies
NEAR = "near copy"
TURNS = (  # how the second picture is to be laid down to look like the first
    "as it is",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180 degrees",
    "mirrored at the diagonal",
    "turned clockwise",
    "turned counter-clockwise",
    "mirrored at the other diagonal",
)
_SIDE, _BAND = 64, 16
_FLAT = 1.0  # grey levels; a frame with less structure looks like every other
_ROWS, _COLUMNS = 128, 2048  # compared at a time, so that the tables stay in the processor's cache
_WAVES = np.cos(np.pi * np.outer(np.arange(_BAND), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))


def shape_code(picture: Image.Image) -> str:
    """Return the signs of a picture's waves as 64 hexadecimal digits, or "" for a frame without structure.

    The bits stand in four groups of 64: even rows and columns (the first bit is the mean, always 0), even rows and
    odd columns, odd and even, odd and odd.
    """
    thumbnail = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(thumbnail, dtype=np.float64)
    if grey.std() < _FLAT:
        return ""
    waves = _WAVES @ grey @ _WAVES.T
    waves[0, 0] = 0
    signs = waves > 0
    return np.packbits([signs[row::2, column::2] for row in (0, 1) for column in (0, 1)]).tobytes().hex()


def find_copies(files: pd.DataFrame, threshold: int = THRESHOLD) -> pd.DataFrame:
    """Return every pair of images that show the same.

    Args:
        files: one row an image: `file_name`, `label`, `specimen_id`, `content_sha256`, `pixels_sha256`, `shape` (of
            `shape_code`); the last three "" where unknown.
        threshold: waves that may differ.

    Returns:
        Columns `a`, `b` (file names), `kind` ("same file", "same pixels" or "near copy"), `distance` (waves that
        differ, 0 to 255), `turn` (of `TURNS`), `same_specimen` (None where a specimen is unknown), `same_label`;
        sorted by row.

    Raises:
        InputError: there are more than `MAX_PAIRS`.
    """
    exact = {pair for column in KINDS_OF for pair in _equal_pairs(list(files[column]))}
    found = pd.DataFrame(
        [*near_pairs(list(files["shape"]), threshold), *((i, j, 0, 0) for i, j in exact)],
        columns=["i", "j", "distance", "turn"],
        dtype=np.int64,
    )
    found = found.drop_duplicates(["i", "j"], keep="last").sort_values(["i", "j"], ignore_index=True)
    a, b = files.iloc[found["i"]].reset_index(drop=True), files.iloc[found["j"]].reset_index(drop=True)
    equal = {column: (a[column] == b[column]) & (a[column] != "") for column in KINDS_OF}
    known = a["specimen_id"].notna() & b["specimen_id"].notna()
    return pd.DataFrame(
        {
            "a": a["file_name"],
            "b": b["file_name"],
            "kind": np.select(list(equal.values()), list(KINDS_OF.values()), NEAR),
            "distance": found["distance"],
            "turn": [TURNS[turn] for turn in found["turn"]],
            "same_specimen": (a["specimen_id"] == b["specimen_id"]).astype(object).where(known, None),
            "same_label": a["label"] == b["label"],
        }
    )


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


def near_pairs(codes: Sequence[str], threshold: int = THRESHOLD) -> list[tuple[int, int, int, int]]:
    """Return (i, j, distance, turn) of all pairs i < j of codes that differ in at most `threshold` waves.

    All pairs are compared, a block at a time: memory grows with the number of codes and of pairs found. An empty code
    is near to nothing.

    Raises:
        InputError: there are more than `MAX_PAIRS`.
    """
    rows = np.array([row for row, code in enumerate(codes) if code], dtype=np.int64)
    octets = np.frombuffer(bytes.fromhex("".join(filter(None, codes))), dtype=np.uint8)
    bits = np.unpackbits(octets.reshape(-1, 32), axis=1).reshape(-1, 4, 8, 8)
    plain, swapped = _words(bits), _words(bits.swapaxes(2, 3)[:, [0, 2, 1, 3]])
    pairs: list[tuple[int, int, int, int]] = []
    for top in range(0, len(rows), _ROWS):
        for left in range(top, len(rows), _COLUMNS):
            first = plain[:, top : top + _ROWS, None]
            second = [words[:, None, left : left + _COLUMNS] for words in (plain, swapped)]
            nearest = np.minimum(*(_minimum_of_flips(first, words) for words in second))
            i, j = np.nonzero(nearest <= threshold)
            i, j = i[top + i < left + j] + top, j[top + i < left + j] + left
            distances = np.concatenate([_flips(plain[:, i], words[:, j]) for words in (plain, swapped)])
            found = np.stack([rows[i], rows[j], distances.min(0), distances.argmin(0)], axis=1)
            pairs += map(tuple, found.tolist())
            _require_few(len(pairs))
    return pairs


def _words(bits: np.ndarray) -> np.ndarray:
    """Pack (n, 4, 8, 8) bits into (4, n) words of 64."""
    return np.ascontiguousarray(np.packbits(bits.reshape(len(bits), 4, 64), axis=2).view(np.uint64)[..., 0].T)


def _flips(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the distances (4, ...) of the codes to the second as it is and mirrored, in the order of `TURNS`."""
    even, columns, rows, both = (np.bitwise_count(a ^ b) for a, b in zip(first, second, strict=True))
    return np.stack(
        [
            even + columns + rows + both,
            even + (64 - columns) + rows + (64 - both),
            even + columns + (64 - rows) + (64 - both),
            even + (64 - columns) + (64 - rows) + both,
        ]
    )


def _minimum_of_flips(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return _flips(first, second).min(0)


def _equal_pairs(values: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of rows with the same value, "" left out."""
    same: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value:
            same.setdefault(value, []).append(row)
    _require_few(sum(len(rows) * (len(rows) - 1) // 2 for rows in same.values()))
    for rows in same.values():
        yield from combinations(rows, 2)


def _require_few(number: int) -> None:
    if number > MAX_PAIRS:
        raise InputError(
            f"More than {MAX_PAIRS:,} pairs of images are copies of each other, so this is no data set of "
            "photographs; look at its images."
        )
