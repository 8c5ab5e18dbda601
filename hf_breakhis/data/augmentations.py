"""Augmentations: functions of a batch and of numbers drawn for each of its images.

Each takes pixels (n, 3, side, side) uint8 and draws (n, NUM_DRAWS) in [0, 1), and returns pixels of the same kind.
The first draws decide flips and turns, the later ones colours, so that a combination uses none twice.
"""

from collections.abc import Callable

import torch
from torchvision.transforms.v2 import functional as F

NUM_DRAWS = 12
_TRANSPOSE, _LEFT_RIGHT, _UP_DOWN = 0, 1, 2
_COLOR = 3  # the first draw of colours

# Optical densities of red, green and blue: haematoxylin and eosin as in Ruifrok and Johnston 2001 (Anal Quant Cytol
# Histol 23), and what is left, at right angles to both.
_HEMATOXYLIN = torch.tensor([0.65, 0.70, 0.29], dtype=torch.float64)
_EOSIN = torch.tensor([0.07, 0.99, 0.11], dtype=torch.float64)
_STAINS = torch.stack([_HEMATOXYLIN, _EOSIN, torch.linalg.cross(_HEMATOXYLIN, _EOSIN)])
_STAINS /= _STAINS.norm(dim=1, keepdim=True)

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
    result = torch.empty_like(pixels)
    for code in movement.unique().tolist():
        rows = torch.nonzero(movement == code)[:, 0]
        moved = pixels[rows]
        if code & 4:
            moved = moved.transpose(2, 3)
        axes = [axis for bit, axis in ((2, 3), (1, 2)) if code & bit]
        result[rows] = moved.flip(axes) if axes else moved
    return result


def jitter_stain(pixels: torch.Tensor, draws: torch.Tensor, scale: float = 0.2, shift: float = 0.04) -> torch.Tensor:
    """Change the amounts of haematoxylin and eosin, as laboratories and days do.

    Each amount, in units of natural optical density, is multiplied by 1 +- `scale` and raised by +- `shift`.

    Source:
        Colour deconvolution: Ruifrok and Johnston 2001. Its use as augmentation: Tellez et al. 2019, Medical Image
        Analysis 58. The two widths are our own choice.
    """
    amounts = draws[:, _COLOR : _COLOR + 4] * 2 - 1
    factor = torch.ones(len(pixels), 3, dtype=torch.float64)
    offset = torch.zeros(len(pixels), 3, dtype=torch.float64)
    factor[:, :2] += amounts[:, :2] * scale
    offset[:, :2] += amounts[:, 2:] * shift
    # Into stains, times factor, and back is one 3x3 matrix an image.
    mix = torch.linalg.inv(_STAINS) @ (factor[:, :, None] * _STAINS)
    density = torch.log(256 / (pixels.float() + 1)).flatten(2)
    changed = mix.mT.float() @ density + (offset @ _STAINS).float()[:, :, None]
    return (256 * torch.exp(-changed) - 1).round().clamp(0, 255).to(torch.uint8).view_as(pixels)


def jitter_color(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Change brightness, contrast and saturation by up to 15 %, and hue by up to 4 % of the circle."""
    result = torch.empty_like(pixels)
    for i, (brightness, contrast, saturation, hue) in enumerate((draws[:, _COLOR : _COLOR + 4] * 2 - 1).tolist()):
        image = F.adjust_brightness(pixels[i], 1 + 0.15 * brightness)
        image = F.adjust_contrast(image, 1 + 0.15 * contrast)
        image = F.adjust_saturation(image, 1 + 0.15 * saturation)
        result[i] = F.adjust_hue(image, 0.04 * hue)
    return result


def turn_and_jitter_stain(pixels: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Do `turn` and `jitter_stain`."""
    return jitter_stain(turn(pixels, draws), draws)


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "flips": flip,
    "dihedral": turn,
    "stain": jitter_stain,
    "color": jitter_color,
    "dihedral_stain": turn_and_jitter_stain,
}
