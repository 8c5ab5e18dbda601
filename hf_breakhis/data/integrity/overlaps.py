"""Pairs of images that show the same place, found by their local features.

First stage: the signs of each feature give twelve words of 18 bits; images that share rare words are candidates.
Second stage: features of a candidate pair are matched one to one, and an affine map is fitted to the matches. A pair
counts if enough matches agree with one map, and if this map keeps proportions roughly.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np
from scipy import sparse
from tqdm import tqdm

from hf_breakhis.data.integrity.features import NUM_BYTES, LocalFeatures

MATCHES = 12  # that agree with one map; pairs of different fields reach 8
SPREAD = 0.03  # area over which the matches are spread at least, of 1: a scale bar or a label is smaller
WHOLE = 0.985  # share of the smaller image from which on the other shows all of it
COPY = 0.7  # the same for a rotated, rescaled or mirrored copy, whose corners were cut or filled
LARGER = 0.28  # share of the larger image that a copy covers: 0.36 for 20 % cut off each side, 0.25 for twice the zoom
NOVEL = 0.05  # share of the features of a copy that lie outside what the original shows
MARGIN = 0.05  # features so near the edge of the original do not count as outside, in roots of the area
SHIFTED = 0.02  # terms by which the map of a shifted field differs from the identity at most
NEAREST = 10  # candidates of an image
_TABLES, _BITS = 12, 18
_COMMON = 0.02  # share of images from which on a word says too little
_ALWAYS = 100  # images that may share a word whatever the share
_ROWS = 256  # images compared at a time
_BLOCK = 50  # rows of signs compared at a time
_FAR = 84  # signs of 256 that may differ in a match
_WINDOW = 20.0  # degrees by which the rotations of matches of one map may differ from their most frequent value
_ERROR = 0.02  # of the map, in roots of the area
_STRETCH = 2.0  # of the longer axis against the shorter one; 700x460 squashed to a square is 1.5
_GRID = (np.arange(128) + 0.5) / 128
_TOLERANCE = 0.002  # by which a point may lie outside a frame, in roots of the area
_SIZES = 4.0  # times as large
_WORD_WEIGHTS = 1 << np.arange(_BITS, dtype=np.int32)


class Overlap(NamedTuple):
    """Two images that show the same place.

    Attributes:
        i: row of one, smaller than `j`.
        j: row of the other.
        share: of the smaller image that the other shows too, 0 to 1.
        is_copy: whether one shows hardly anything that the other does not; else they are overlapping fields.
        angle: degrees by which j is rotated against i, clockwise, -180 to 180.
        scale: how many times as large a detail is in j, in units of the root of the area.
        mirrored: whether j is mirrored.
        matches: features that agree.
    """

    i: int
    j: int
    share: float
    is_copy: bool
    angle: float
    scale: float
    mirrored: bool
    matches: int


def find_overlaps(
    features: Sequence[LocalFeatures], nearest: int = NEAREST, first: int | None = None
) -> list[Overlap]:
    """Return the pairs of images that show the same place, sorted by row.

    All pairs are compared by their words, a block at a time, and `nearest` candidates of each image by their features.
    Images linked by copies are then compared with each other, so that many copies of one image are all found.

    Args:
        features: of each image.
        nearest: candidates of each image.
        first: by default all pairs are returned. With a number, those of which one is among the first images, and
            the search is as long as these pairs need: candidates of other images are compared only where these are
            linked with the first images by copies.
    """
    by_row: dict[int, list[tuple[int, int, bool]]] = defaultdict(list)
    for pair in candidates(features, nearest):
        by_row[pair[0]].append(pair)
        by_row[pair[1]].append(pair)
    found: dict[tuple[int, int], Overlap | None] = {}
    compared: set[tuple[int, int, bool]] = set()

    def compare(i: int, j: int, ways: Sequence[bool]) -> None:
        if found.get((i, j)) is None:
            fits = [fit for mirrored in ways if (fit := fit_pair(features, i, j, mirrored))]
            found[i, j] = max(fits, key=lambda fit: fit.matches, default=None)

    def groups() -> list[list[int]]:
        return _groups(pair for pair, fit in found.items() if fit is not None and fit.is_copy)

    last = len(features) if first is None else first
    reached: set[int] = set()
    new = set(range(last))
    while new:
        reached |= new
        for pair in (pair for row in sorted(new) for pair in by_row[row]):
            if pair not in compared:
                compared.add(pair)
                compare(pair[0], pair[1], [pair[2]])
        new = {row for group in groups() for row in group} - reached
    for group in groups():
        for i, j in combinations(group, 2):
            compare(i, j, [False, True])
    return [fit for (i, _), fit in sorted(found.items()) if fit is not None and i < last]


def candidates(features: Sequence[LocalFeatures], nearest: int = NEAREST) -> Iterator[tuple[int, int, bool]]:
    """Yield (i, j, mirrored) with i < j of the `nearest` images of each that share most words, weighted by rarity."""
    if len(features) < 2:
        return
    plain, mirrored = _words(features)
    seen: set[tuple[int, int, bool]] = set()
    turned = (plain.T.tocsr(), mirrored.T.tocsr())
    for top in tqdm(range(0, len(features), _ROWS), desc="Comparing", unit=" blocks", disable=None):
        block = plain[top : top + _ROWS]
        votes = np.stack([(block @ other).toarray() for other in turned])
        rows = np.arange(len(votes[0]))
        votes[:, rows, top + rows] = 0
        best = votes.max(0)
        width = min(nearest, best.shape[1] - 1)
        near = np.argpartition(best, -width, axis=1)[:, -width:]
        for row, columns in enumerate(near):
            for j in columns[best[row, columns] > 0].tolist():
                i = top + row
                pair = (min(i, j), max(i, j), bool(votes[1, row, j] > votes[0, row, j]))
                if pair not in seen:
                    seen.add(pair)
                    yield pair


def fit_pair(features: Sequence[LocalFeatures], i: int, j: int, mirrored: bool) -> Overlap | None:
    """Return how image j lies on image i, None if too few of their features agree."""
    one, other = features[i], features[j]
    here, there = _match(one, other, mirrored)
    if len(here) < MATCHES:
        return None
    cv2.setRNGSeed(0)
    map_, agree = cv2.estimateAffine2D(
        one.places[here],
        other.places[there],
        method=cv2.RANSAC,
        ransacReprojThreshold=_ERROR,
        maxIters=500,
        confidence=0.999,
    )
    if map_ is None or int(agree.sum()) < MATCHES:
        return None
    if np.prod(np.ptp(one.places[here][agree.ravel() > 0], axis=0)) < SPREAD:
        return None
    longer, shorter = np.linalg.svd(map_[:, :2], compute_uv=False)
    is_mirror = np.linalg.det(map_[:, :2]) < 0
    if is_mirror != mirrored or longer > _STRETCH * shorter or not 1 / _SIZES < (longer * shorter) ** 0.5 < _SIZES:
        return None
    ways = ((map_, one, other), (cv2.invertAffineTransform(map_), other, one))
    of_larger, share = sorted(_shown(*way) for way in ways)
    angle = float(np.degrees(np.arctan2(map_[1, 0], map_[0, 0])))
    scale = float((longer * shorter) ** 0.5)
    novel = min(_novel(*way) for way in ways)
    is_copy = of_larger >= LARGER and (share >= WHOLE or (not _is_shift(map_) and (share >= COPY or novel <= NOVEL)))
    return Overlap(i, j, share, is_copy, angle, scale, mirrored, int(agree.sum()))


def _match(one: LocalFeatures, other: LocalFeatures, mirrored: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the features that are each other's nearest and turned alike."""
    signs = other.signs ^ _mirror() if mirrored else other.signs
    if not len(one.signs) or not len(signs):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    far = _distances(one.signs, signs)
    here, there = np.arange(len(far)), far.argmin(1)
    good = (far.argmin(0)[there] == here) & (far[here, there] <= _FAR)
    here, there = here[good], there[good]
    turn = other.angles[there] + (one.angles[here] if mirrored else -one.angles[here])
    apart = np.abs((turn[:, None] - turn[None] + 180) % 360 - 180) <= _WINDOW
    like = apart[apart.sum(1).argmax()] if len(turn) else np.zeros(0, bool)
    return here[like], there[like]


def _distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the signs that differ, (n, m) uint16, of (n, 32) and (m, 32) signs."""
    rows, columns = one.view(np.uint64), np.ascontiguousarray(other.view(np.uint64).T)
    far = np.zeros((len(rows), columns.shape[1]), np.uint16)
    for top in range(0, len(rows), _BLOCK):  # few rows at a time stay in the cache of the processor
        part = rows[top : top + _BLOCK]
        for k, words in enumerate(columns):
            far[top : top + _BLOCK] += np.bitwise_count(part[:, k, None] ^ words)
    return far


def _mirror() -> np.ndarray:
    """Return (32,) uint8 that a mirror changes in the signs."""
    return np.repeat(np.array([0, 255], np.uint8), NUM_BYTES // 2)


def _is_shift(map_: np.ndarray) -> bool:
    """Say whether a map only shifts, as the next field of a slide is shifted."""
    return bool(np.abs(map_[:, :2] - np.eye(2)).max() < SHIFTED)


def _shown(map_: np.ndarray, one: LocalFeatures, other: LocalFeatures) -> float:
    """Return the share of the frame of one image that the other shows, counted on a grid of points."""
    left, top, right, bottom = one.frame
    x, y = (low + (high - low) * _GRID for low, high in ((left, right), (top, bottom)))
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2) @ map_[:, :2].T + map_[:, 2]
    return 1 - _beyond(points, other, _TOLERANCE)


def _novel(map_: np.ndarray, one: LocalFeatures, other: LocalFeatures) -> float:
    """Return the share of the features of one image that lie outside what the other shows."""
    return _beyond(one.places @ map_[:, :2].T + map_[:, 2], other, MARGIN)


def _beyond(points: np.ndarray, image: LocalFeatures, margin: float) -> float:
    low, high = np.array(image.frame[:2]) - margin, np.array(image.frame[2:]) + margin
    return float(((points < low) | (points > high)).any(1).mean())


def _words(features: Sequence[LocalFeatures]) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Return (images, words) of the images as they are and mirrored: roots of the weights of the words they have."""
    rows: list[list[np.ndarray]] = [[], []]
    for one in features:
        for way, signs in enumerate((one.signs, one.signs ^ _mirror())):
            rows[way].append(_words_of(signs))
    lengths = [[len(words) for words in part] for part in rows]
    parts = [np.concatenate(part) for part in rows]
    occurs = np.zeros(_TABLES << _BITS, bool)
    for part in parts:
        occurs[part] = True
    columns = np.cumsum(occurs, dtype=np.int32) - 1  # most words occur in no image
    shape = len(features), int(occurs.sum())
    matrices = [
        sparse.csr_matrix((np.ones(len(part), np.float32), columns[part], np.cumsum([0, *length])), shape=shape)
        for part, length in zip(parts, lengths, strict=True)
    ]
    number = np.asarray((matrices[0] + matrices[1]).sum(0)).ravel() / 2
    weight = np.log(len(features) / np.maximum(number, 1) + 1)
    weight[number > max(_ALWAYS, _COMMON * len(features))] = 0
    kept = np.flatnonzero(weight)
    scale = sparse.diags(weight[kept].astype(np.float32))
    plain, mirrored = ((matrix.tocsc()[:, kept] @ scale).tocsr() for matrix in matrices)
    return plain, mirrored


def _words_of(signs: np.ndarray) -> np.ndarray:
    """Return the different words of an image: of each feature and table half from each half of the signs."""
    half = _BITS // 2
    bits = np.unpackbits(signs, axis=1).astype(np.int32)
    kept, changed = (part[:, : _TABLES * half].reshape(-1, _TABLES, half) for part in np.split(bits, 2, axis=1))
    words = np.concatenate([kept, changed], axis=2) @ _WORD_WEIGHTS
    return np.unique(words + (np.arange(_TABLES, dtype=np.int32) << _BITS))


def _groups(pairs: Iterator[tuple[int, int]] | Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the rows that are linked by pairs, each group sorted."""
    links: dict[int, set[int]] = defaultdict(set)
    for i, j in pairs:
        links[i].add(j)
        links[j].add(i)
    groups, seen = [], set[int]()
    for start in links:
        if start in seen:
            continue
        group, new = set[int](), {start}
        while new:
            group |= new
            new = set().union(*(links[row] for row in new)) - group
        seen |= group
        groups.append(sorted(group))
    return groups
