"""Local features of an image: places that look the same after a crop, a rotation, a shift or another colour.

Features are those of SIFT (Lowe 2004, IJCV 60(2)), as OpenCV computes them on a small grey picture. Each descriptor of
128 numbers is kept as 256 signs of fixed random projections, so that the features of an image need 13 KB. The first
128 signs stay as they are when the picture is mirrored, and the others change, so mirrored copies need no second set.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from hf_breakhis.data.open_image import PILLOW_ERRORS, open_image, wrong_form
from hf_breakhis.hardware import count_cores

MOST = 300  # features an image
MIN_SIDE = 64  # pixels: a smaller picture, enlarged, has features that other pictures share
SIDE = 176  # the small picture has this number of pixels, squared
NUM_BYTES = 32  # of the signs of a descriptor: 16 that a mirror keeps, 16 that it changes
_CONTRAST = 0.01  # of OpenCV's scale, a quarter of its default: histology is smooth
_LEAST = 4
_SAME = 6  # grey levels within which a corner has one colour, JPEG included
_NEAR = 3.0  # pixels from such a corner within which nothing is looked for
_REACH = 1.5  # times the size of a feature that it sees around itself, about
_FLAT = 2.0  # grey levels: rows with a smaller standard deviation show nothing
_MIRRORED = (8 - np.arange(8)) % 8  # the orientations of a mirrored histogram
_RANDOM = np.random.default_rng(0)
_KEPT, _CHANGED = (_RANDOM.standard_normal((128, 128)).astype(np.float32) for _ in range(2))

cv2.setNumThreads(1)  # images are described on several threads already


@dataclass(frozen=True)
class LocalFeatures:
    """The features of one image; lengths are in units of the root of its area.

    Attributes:
        places: (n, 2) float32, x and y from the top left corner.
        angles: (n,) float32, main direction of each in degrees.
        signs: (n, 32) uint8, 256 bits each.
        filled: share of the area that lies in corners of one colour, as a rotation leaves them.
        frame: left, top, right and bottom of what the image shows, without margins of one colour.
    """

    places: np.ndarray
    angles: np.ndarray
    signs: np.ndarray
    filled: float
    frame: tuple[float, float, float, float]


EMPTY = LocalFeatures(
    places=np.zeros((0, 2), np.float32),
    angles=np.zeros(0, np.float32),
    signs=np.zeros((0, NUM_BYTES), np.uint8),
    filled=0.0,
    frame=(0.0, 0.0, 1.0, 1.0),
)


def find_features(picture: Image.Image) -> LocalFeatures:
    """Return the features of a picture; none if it is smaller than `MIN_SIDE` or has too little structure."""
    if min(picture.size) < MIN_SIDE:
        return EMPTY
    root = (picture.width * picture.height) ** 0.5
    shape = [max(8, round(side * SIDE / root)) for side in picture.size]
    way = Image.Resampling.BOX if root > SIDE else Image.Resampling.BILINEAR
    small = np.array(picture.convert("L").resize(shape, way))
    far = _distance_to_filling(small)
    # a detector a call, since OpenCV's keep buffers that threads must not share
    detector = cv2.SIFT.create(nfeatures=MOST, contrastThreshold=_CONTRAST)
    points, found = detector.detectAndCompute(small, (far > _NEAR).astype(np.uint8))
    clear = [row for row, point in enumerate(points) if _distance_at(far, point.pt) > _REACH * point.size]
    if found is None or len(clear) < _LEAST:
        return EMPTY
    points = [points[row] for row in clear]
    scale = np.array(picture.size, dtype=np.float64) / root / shape
    return LocalFeatures(
        places=(np.array([point.pt for point in points]) * scale).astype(np.float32),
        angles=np.array([point.angle for point in points], dtype=np.float32),
        signs=_signs(found[clear]),
        filled=float((far == 0).mean()),
        frame=_frame(small, scale),
    )


def describe_all(images: Sequence[dict[str, Any]]) -> list[LocalFeatures]:
    """Return the features of images, given as `{"bytes": ...}` or `{"path": ...}`; none for one that is unusable."""
    with ThreadPoolExecutor(count_cores()) as pool:
        found = pool.map(_describe_file, images)
        return list(tqdm(found, desc="Describing", total=len(images), unit=" images", disable=None))


def _describe_file(image: dict[str, Any]) -> LocalFeatures:
    try:
        with open_image(Path(image["path"]) if image["bytes"] is None else image["bytes"]) as picture:
            return EMPTY if wrong_form(picture) else find_features(picture)
    except PILLOW_ERRORS:  # the check of the images has reported it
        return EMPTY


def _distance_to_filling(small: np.ndarray) -> np.ndarray:
    """Return how many pixels each pixel is away from a corner of one colour, as a rotation leaves it.

    Where such corners begin, pictures that were rotated alike look alike, whatever they show.
    """
    filled = np.zeros((small.shape[0] + 2, small.shape[1] + 2), np.uint8)
    height, width = small.shape
    how = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    for corner in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
        if not filled[corner[1] + 1, corner[0] + 1]:
            cv2.floodFill(small, filled, corner, 0, _SAME, _SAME, how)
    return cv2.distanceTransform(1 - filled[1:-1, 1:-1], cv2.DIST_L2, 3)


def _distance_at(far: np.ndarray, place: Sequence[float]) -> float:
    return float(far[min(int(place[1]), far.shape[0] - 1), min(int(place[0]), far.shape[1] - 1)])


def _frame(small: np.ndarray, scale: np.ndarray) -> tuple[float, float, float, float]:
    """Return what is left of a picture without the rows and columns at its margins that have one grey level."""
    rows, columns = (np.flatnonzero(np.std(small, axis=axis) > _FLAT) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return (0.0, 0.0, small.shape[1] * scale[0], small.shape[0] * scale[1])
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    return (left * scale[0], top * scale[1], right * scale[0], bottom * scale[1])


def _signs(descriptors: np.ndarray) -> np.ndarray:
    """Return (n, 32) uint8: signs of what a mirror keeps in (n, 128) descriptors, and of what it negates."""
    roots = np.sqrt(descriptors / (descriptors.sum(1, keepdims=True) + 1e-9))
    mirrored = roots.reshape(-1, 4, 4, 8)[:, ::-1][..., _MIRRORED].reshape(-1, 128)
    kept, changed = (roots + mirrored) / 2, (roots - mirrored) / 2
    kept -= kept.mean(0)  # all descriptors have the same shape on average; the rest tells them apart
    return np.packbits(np.concatenate([kept @ _KEPT, changed @ _CHANGED], axis=1) > 0, axis=1)
