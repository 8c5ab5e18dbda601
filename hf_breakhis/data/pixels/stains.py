"""The two stains of a slide, haematoxylin and eosin: estimated from an image, and brought to a common reference."""

from collections.abc import Callable

import numpy as np

LIGHT = 240  # the level of empty glass, as Macenko et al. 2009 take it
LEAST_DENSITY = 0.15  # of a pixel of tissue
TAIL = 1.0  # per cent of the angles on either side that count as outliers
MAX_PIXELS = 65_536  # for the stain matrix; of more, every k-th is taken
MIN_TISSUE = 100  # pixels; with fewer the stains cannot be estimated
# Optical densities of haematoxylin and eosin (columns) in red, green and blue, and the 99th percentile of the amounts:
# the reference image of the authors' implementation, which torchstain uses too.
REFERENCE = np.array([[0.5626, 0.2159], [0.7201, 0.8012], [0.4062, 0.5581]])
MOST = np.array([1.9705, 1.0308])
# Red, green and blue to the cones of the eye, and their logarithms to three axes (Reinhard et al. 2001).
_CONES = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_AXES = np.diag(1 / np.sqrt([3, 6, 2])) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
# Mean and standard deviation on these axes of an H&E region of a breast cancer (TCGA-A2-A3XS-DX1), as published with
# HistomicsTK (Amgad et al. 2019, Bioinformatics 35(18)).
_MEAN = np.array([8.74108109, -0.12440419, 0.0444982])
_SD = np.array([0.6135447, 0.10989545, 0.0286032])
_LEAST_LIGHT = 1e-2  # of a cone, so that black has a logarithm


def density(pixels: np.ndarray) -> np.ndarray:
    """Return the optical density of each pixel, (n, 3) float64."""
    result: np.ndarray = -np.log((pixels.reshape(-1, 3).astype(float) + 1) / LIGHT)
    return result


def is_tissue(found: np.ndarray) -> np.ndarray:
    """Return which optical densities (n, 3) are those of tissue, (n,) bool."""
    result: np.ndarray = np.asarray((found >= LEAST_DENSITY).all(1))
    return result


def stain_matrix(pixels: np.ndarray) -> np.ndarray | None:
    """Return the stain vectors of an image, (3, 2): haematoxylin and eosin; None if it has too little tissue.

    Source:
        Macenko et al. 2009, A method for normalizing histology slides for quantitative analysis, ISBI.
    """
    found = density(pixels)
    step = -(-len(found) // MAX_PIXELS)
    found = found[::step]
    tissue = found[is_tissue(found)]
    if len(tissue) < MIN_TISSUE or np.ptp(tissue, axis=0).max() == 0:
        return None
    plane = np.linalg.eigh(np.cov(tissue.T))[1][:, 1:]
    plane *= np.where(plane.sum(0) < 0, -1, 1)  # the sign is arbitrary; densities are positive
    angles = np.arctan2(tissue @ plane[:, 1], tissue @ plane[:, 0])
    ends = [plane @ (np.cos(angle), np.sin(angle)) for angle in np.percentile(angles, [TAIL, 100 - TAIL])]
    first, second = sorted(ends, key=lambda vector: -vector[0])  # haematoxylin takes more of the red light
    return np.stack([first, second], axis=1)


def macenko(pixels: np.ndarray) -> np.ndarray:
    """Give both stains the colours and the strongest amounts of a reference image.

    An image with too little tissue stays as it is.

    Args:
        pixels: (height, width, 3) uint8.

    Source:
        As `stain_matrix`.
    """
    matrix = stain_matrix(pixels)
    if matrix is None:
        return pixels
    amounts = density(pixels) @ np.linalg.pinv(matrix).T
    most = np.percentile(amounts, 99, axis=0)
    if (most <= 0).any():
        return pixels
    return to_levels(LIGHT * np.exp(-(amounts * MOST / most) @ REFERENCE.T), pixels)


def reinhard(pixels: np.ndarray) -> np.ndarray:
    """Give the colours of an image the mean and the spread of a reference image, on axes that hardly correlate.

    An image without tissue stays as it is: otherwise glass would get the mean colour of tissue.

    Args:
        pixels: (height, width, 3) uint8.

    Source:
        Reinhard et al. 2001, Color transfer between images, IEEE Computer Graphics and Applications 21(5).
    """
    if not is_tissue(density(pixels)).any():
        return pixels
    colors = np.log(np.maximum(pixels.reshape(-1, 3) @ _CONES.T, _LEAST_LIGHT)) @ _AXES.T
    spread = colors.std(0)
    scaled = (colors - colors.mean(0)) * (_SD / np.where(spread < 1e-9, 1, spread)) + _MEAN
    return to_levels(np.exp(scaled @ np.linalg.inv(_AXES).T) @ np.linalg.inv(_CONES).T, pixels)


def to_levels(values: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return values as uint8, in the shape of `pixels`."""
    result: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8).reshape(pixels.shape)
    return result


# From (height, width, 3) uint8 to the same; a new one is one function and one line here.
STAIN_NORMALIZATIONS: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {
    "none": None,
    "macenko": macenko,
    "reinhard": reinhard,
}
