"""Augmentations: functions of a batch and of numbers drawn for each of its images.

Each takes pixels (n, 3, side, side) uint8 and draws (n, NUM_DRAWS) in [0, 1), and returns pixels of the same kind.
The first draws decide flips and turns, the later ones colours, so that a combination uses none twice.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms import v2

NUM_DRAWS = 12
_TRANSPOSE, _LEFT_RIGHT, _UP_DOWN = 0, 1, 2
_COLOR = 3  # the first draw of colours

# Optical densities of red, green and blue: haematoxylin and eosin as in Ruifrok and Johnston 2001 (Anal Quant Cytol
# Histol 23), and what is left, at right angles to both.
_HEMATOXYLIN = torch.tensor([0.65, 0.70, 0.29], dtype=torch.float64)
_EOSIN = torch.tensor([0.07, 0.99, 0.11], dtype=torch.float64)
_STAINS = torch.stack([_HEMATOXYLIN, _EOSIN, torch.linalg.cross(_HEMATOXYLIN, _EOSIN)])
_STAINS /= _STAINS.norm(dim=1, keepdim=True)
_UNSTAIN = torch.linalg.inv(_STAINS)

# Grey (first row) and the plane of colours of the YIQ system; white has no colour, so the other rows add up to zero.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], dtype=torch.float64)
_UNYIQ = torch.linalg.inv(_YIQ)

Augmentation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def flip(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Mirror left-right and upside-down, each with probability one half."""
    return _turn(pixels, torch.zeros(len(pixels), dtype=torch.bool), draws)


def turn(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Give each of the eight flips and quarter turns of the square the same probability; tissue has no upside."""
    return _turn(pixels, draws[:, _TRANSPOSE] < 0.5, draws)


def _turn(pixels: torch.Tensor, transposed: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Transpose, then mirror; images with the same movement are moved together."""
    movement = 4 * transposed + 2 * (draws[:, _LEFT_RIGHT] < 0.5) + 1 * (draws[:, _UP_DOWN] < 0.5)
    # numpy, which copies a transposed view of bytes several times as fast as torch does
    source, codes = pixels.numpy(), movement.numpy()
    result = np.empty(source.shape, source.dtype)
    for code in np.unique(codes).tolist():
        rows = np.flatnonzero(codes == code)
        moved = source[rows].swapaxes(2, 3) if code & 4 else source[rows]
        result[rows] = moved[:, :, :: -1 if code & 1 else 1, :: -1 if code & 2 else 1]
    return torch.from_numpy(result)


def jitter_stain(pixels: torch.Tensor, draws: torch.Tensor, scale: float = 0.2, shift: float = 0.04) -> torch.Tensor:
    """Change the amounts of haematoxylin and eosin, as laboratories and days do.

    Each amount, in units of natural optical density, is multiplied by 1 +- `scale` and raised by +- `shift`.

    Source:
        Colour deconvolution: Ruifrok and Johnston 2001. Its use as augmentation: Tellez et al. 2019, Medical Image
        Analysis 58. The two widths are our own choice.
    """
    result = torch.empty_like(pixels)
    for image, drawn, out in zip(pixels, draws, result, strict=True):
        amounts = drawn[_COLOR : _COLOR + 4] * 2 - 1
        factor = torch.cat([1 + scale * amounts[:2], torch.ones(1, dtype=torch.float64)])
        offset = torch.cat([shift * amounts[2:], torch.zeros(1, dtype=torch.float64)])
        # Into stains, times factor, and back is one matrix. A density is log(256) - log(level + 1).
        mix = (_UNSTAIN @ (factor[:, None] * _STAINS)).T
        constant = math.log(256) * (1 - mix.sum(1)) - offset @ _STAINS
        light = image.float().log1p_().flatten(1)
        _write_levels((mix.float() @ light).add_(constant.float()[:, None]).expm1_(), out)
    return result


def jitter_color(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Change brightness, contrast and saturation by up to 15 %, and hue by up to 4 % of the circle.

    All four are linear in the levels, so that one matrix an image does them: contrast around the image's mean grey,
    saturation towards each pixel's grey, hue as a turn of the colour plane of YIQ.
    """
    result = torch.empty_like(pixels)
    for image, drawn, out in zip(pixels, draws, result, strict=True):
        brightness, contrast, saturation, hue = (drawn[_COLOR : _COLOR + 4] * 2 - 1).tolist()
        bright, contrasty, saturated = 1 + 0.15 * brightness, 1 + 0.15 * contrast, 1 + 0.15 * saturation
        turned = torch.eye(3, dtype=torch.float64)
        angle = 2 * math.pi * 0.04 * hue
        turned[1:, 1:] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        grey = saturated * torch.eye(3, dtype=torch.float64) + (1 - saturated) * _YIQ[0]
        mix = bright * contrasty * (_UNYIQ @ turned @ _YIQ @ grey)
        levels = image.float().flatten(1)
        mean_grey = float(_YIQ[0] @ levels.mean(1).double())
        _write_levels((mix.float() @ levels).add_((1 - contrasty) * bright * mean_grey), out)
    return result


def _write_levels(levels: torch.Tensor, out: torch.Tensor) -> None:
    """Write (3, n_pixels) float32 as levels from 0 to 255 to (3, side, side) uint8."""
    out.copy_(levels.round_().clamp_(0, 255).view_as(out))


def turn_and_jitter_stain(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Do `turn` and `jitter_stain`."""
    return jitter_stain(turn(pixels, draws), draws)


def _of_torchvision(transform: v2.Transform) -> Augmentation:
    """Return an augmentation that applies `transform` to each image, with the generator seeded by its last draw."""

    def augment(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(pixels)
        with torch.random.fork_rng(devices=[]):
            for image, drawn, out in zip(pixels, draws[:, -1].tolist(), result, strict=True):
                torch.manual_seed(int(drawn * 2**53))
                out.copy_(transform(image))
        return result

    return augment


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "flips": flip,
    "dihedral": turn,
    "stain": jitter_stain,
    "color": jitter_color,
    "dihedral_stain": turn_and_jitter_stain,
    "randaugment": _of_torchvision(v2.RandAugment()),  # Cubuk et al. 2020, arXiv 1909.13719
    "trivialaugment": _of_torchvision(v2.TrivialAugmentWide()),  # Mueller and Hutter 2021, arXiv 2103.10158
}
