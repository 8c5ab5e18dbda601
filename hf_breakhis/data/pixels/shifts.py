"""Simulated shifts: what another laboratory, microscope, camera or file format may do to an image.

Each shift takes the pixels of an image, (height, width, 3) uint8, an amount, and a generator of random numbers, and
returns pixels of the same shape. An amount that changes nothing returns the pixels themselves.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from hf_breakhis.data.open_image import open_image
from hf_breakhis.data.pixels.stains import LIGHT, REFERENCE, density, stain_matrix, to_levels


def _restain(pixels: np.ndarray, factors: tuple[float, float], similarity: float) -> np.ndarray:
    """Multiply the amounts of both stains, and move their vectors towards the mean of both.

    What the two stains do not explain of a pixel stays as it is.
    """
    matrix = stain_matrix(pixels)
    matrix = REFERENCE if matrix is None else matrix
    found = density(pixels)
    amounts = found @ np.linalg.pinv(matrix).T
    moved = matrix + similarity * (matrix.mean(1, keepdims=True) - matrix)
    changed = found + amounts * np.array(factors) @ moved.T - amounts @ matrix.T
    return to_levels(LIGHT * np.exp(-changed) - 1, pixels)


def stain(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Multiply the amounts of haematoxylin and eosin by 1 - `amount`: a paler stain."""
    return _restain(pixels, (1 - amount, 1 - amount), 0.0)


def similarity(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Move the colours of both stains by the share `amount` towards their mean: at 1 they are equal."""
    return _restain(pixels, (1.0, 1.0), amount)


def blur(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Blur with a Gaussian whose standard deviation is `amount` of the width: a lens out of focus."""
    sigma = amount * pixels.shape[1]
    return to_levels(ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0), mode="nearest"), pixels)


def jpeg(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Save as JPEG of quality 100 - `amount`, and open it again."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=round(100 - amount))
    return np.asarray(open_image(file.getvalue()))


def brightness(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Multiply the light by 1 - `amount`: a weaker lamp, or a shorter exposure."""
    return to_levels(pixels * np.float32(1 - amount), pixels)


def scale(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Show the middle 1 / (1 + `amount`) of each side at the size of the whole: smaller pixels, larger nuclei."""
    height, width = pixels.shape[:2]
    margin = 0.5 * (1 - 1 / (1 + amount))
    box = (width * margin, height * margin, width * (1 - margin), height * (1 - margin))
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=box))


def noise(pixels: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Add normal noise with a standard deviation of `amount` levels to each colour of each pixel."""
    return to_levels(pixels + np.float32(amount) * random.standard_normal(pixels.shape, dtype=np.float32), pixels)


@dataclass(frozen=True)
class Shift:
    """One kind of shift.

    Attributes:
        apply: from pixels, amount and random numbers to pixels.
        amounts: of strengths 1, 2 and 3; at strength 0 the amount is 0.
        words: what the amount is, with a place for it.
        shown: the amount as it is written there, by default in per cent.
    """

    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    amounts: tuple[float, float, float]
    words: str
    shown: Callable[[float], str] = lambda amount: f"{100 * amount:g} %"

    def describe(self, strength: int) -> str:
        """Return a strength in words."""
        return self.words.format(self.shown(self.amount(strength)))

    def amount(self, strength: int) -> float:
        """Return the amount of a strength from 0 to 3."""
        return 0.0 if strength == 0 else self.amounts[strength - 1]


# In the order of the report; a new shift is one function and one line here. The amounts are our own choice.
SHIFTS: dict[str, Shift] = {
    "stain": Shift(stain, (0.2, 0.4, 0.6), "{} less of both stains"),
    "similarity": Shift(similarity, (0.3, 0.6, 0.9), "stain colours {} nearer to their mean"),
    "blur": Shift(blur, (0.002, 0.004, 0.008), "blur with a sd of {} of the width"),
    "jpeg": Shift(jpeg, (50, 75, 90), "JPEG of quality {}", lambda amount: f"{100 - amount:g}"),
    "brightness": Shift(brightness, (0.1, 0.2, 0.4), "{} less light"),
    "scale": Shift(scale, (0.15, 0.3, 0.6), "objects {} larger"),
    "noise": Shift(noise, (5, 10, 20), "noise with a sd of {} levels", lambda amount: f"{amount:g}"),
}
STRENGTHS = (1, 2, 3)


def shifted(pixels: np.ndarray, name: str, strength: int, seed: int = 0) -> np.ndarray:
    """Return an image under a shift; strength 0 gives the pixels themselves, bit for bit.

    Args:
        pixels: (height, width, 3) uint8.
        name: key of SHIFTS.
        strength: 0 to 3.
        seed: of the noise; another one for each image.
    """
    if strength == 0:
        return pixels
    shift = SHIFTS[name]
    return shift.apply(pixels, shift.amount(strength), np.random.default_rng(seed))
