"""The code of a picture's shape: the same for a copy that was flipped, turned by 90 degrees, rescaled or recoloured.

It has the signs of 255 waves: of the lowest 16x16 coefficients of the cosine transform of a grey 64x64 thumbnail, all
but the mean. Mirroring a picture only changes the sign of odd waves, and turning it also swaps rows and columns, so
one code answers for all eight ways to lay a picture down.

The package imagehash has such hashes, one for each of the eight ways, and searches no pairs.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from hf_breakhis.files import InputError

NUM_WAVES = 255
THRESHOLD = 54  # waves that may differ in a near copy
MAX_PAIRS = 1_000_000
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
            require_few(len(pairs))
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
    result: np.ndarray = _flips(first, second).min(0)
    return result


def require_few(number: int) -> None:
    """Refuse more pairs than a data set of photographs can have.

    Raises:
        InputError: there are more than `MAX_PAIRS`.
    """
    if number > MAX_PAIRS:
        raise InputError(
            f"More than {MAX_PAIRS:,} pairs of images are copies of each other, so this is no data set of "
            "photographs; look at its images."
        )
