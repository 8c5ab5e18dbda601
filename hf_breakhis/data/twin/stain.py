"""From amounts of two stains to the picture a camera takes of them."""

import numpy as np
from scipy import ndimage

from hf_breakhis.data.twin.canvas import Canvas
from hf_breakhis.data.twin.traits import Traits

FULL_WIDTH = 700  # pixels of a BreakHis image; blur and grain are given for it and shrink with smaller pictures


def photograph(canvas: Canvas, traits: Traits, hematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """Let light through the slide (Beer-Lambert), expose, blur and sample it; return uint8 (height, width, 3)."""
    share = canvas.width / FULL_WIDTH
    sigma = 0.75 * traits.blur * share
    if sigma > 0.2:
        hematoxylin, eosin = (ndimage.gaussian_filter(stain, sigma, truncate=2.5) for stain in (hematoxylin, eosin))
    first, second = (np.float32(traits.thickness) * np.float32(stain) for stain in (traits.hematoxylin, traits.eosin))
    light = np.exp(-(hematoxylin[..., None] * first + eosin[..., None] * second))
    light *= np.float32(traits.background)
    light = _expose(light, traits)
    light *= _shade(canvas, traits)[..., None]
    light += _grain(canvas, traits, share)
    return (np.clip(light, 0, 1) * 255 + 0.5).astype(np.uint8)


def _expose(light: np.ndarray, traits: Traits) -> np.ndarray:
    """Set the mean brightness and colour nearly as an automatic camera does, then the contrast."""
    mean = light.mean(axis=(0, 1), dtype=np.float64)
    gain = traits.exposure.mean() / mean.mean()
    # Empty glass is far off the usual colour; the camera corrects no more than this, or it would turn pink.
    balance = np.clip(np.log(traits.exposure / mean / gain), -0.07, 0.07)
    light = light * np.float32(gain**0.9 * np.exp(0.9 * balance))
    middle = np.float32(light.mean(dtype=np.float64))
    return middle + (light - middle) * np.float32(traits.contrast)


def _shade(canvas: Canvas, traits: Traits) -> np.ndarray:
    """Return the fall of light towards the corners."""
    x = (np.arange(canvas.width, dtype=np.float32) + 0.5) / canvas.width - 0.5
    y = (np.arange(canvas.height, dtype=np.float32) + 0.5) / canvas.height - 0.5
    return 1 - np.float32(traits.vignette) * 2 * (x[None, :] ** 2 + y[:, None] ** 2)


def _grain(canvas: Canvas, traits: Traits, share: float) -> np.ndarray:
    """Return the noise of the sensor; a pixel that stands for many is quieter."""
    random = np.random.Generator(np.random.SFC64(traits.shot_key))
    grain = random.standard_normal((canvas.height, canvas.width, 1), dtype=np.float32)
    return grain * np.float32(traits.grain * min(1.0, share))
