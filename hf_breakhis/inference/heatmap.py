"""Where in an image the evidence lies: Grad-CAM, and occlusion, which needs no gradient. Imports torch alone.

Own code, since both are short here: captum and pytorch-grad-cam find the layer by a name that each backbone spells
otherwise, while every classifier of transformers hands out its last feature map as `hidden_states`.
"""

import torch
from torch import nn
from torch.nn import functional as F

GRID = 8  # occlusion moves by an eighth of the side, with a patch of two


def grad_cam(model: nn.Module, pixel_values: torch.Tensor, target: int) -> torch.Tensor:
    """Return how much each place of one image raises the logit of class `target`, 0 to 1, (height, width) float32.

    Selvaraju et al. 2017, equations 1 and 2, at the last feature map before pooling; all zeros where nothing raises
    it. The map is as coarse as that feature map (7x7 of 224 pixels in a ResNet), enlarged bilinearly.

    Args:
        model: a classifier of transformers in evaluation mode.
        pixel_values: (1, 3, height, width) float32, normalised.
        target: number of a class.

    Raises:
        ValueError: the model is in training mode, or its last hidden state is no feature map.
    """
    if model.training:
        raise ValueError("Grad-CAM of a model in training mode depends on the batch; call model.eval() first.")
    with torch.enable_grad():
        # A gradient is wanted for the feature map, also where every weight is frozen.
        output = model(pixel_values=pixel_values.clone().requires_grad_(), output_hidden_states=True)
        features = (output.hidden_states or (None,))[-1]
        if features is None or features.ndim != 4:
            raise ValueError("The last hidden state of this model is no feature map (n, channels, height, width).")
        (slope,) = torch.autograd.grad(output.logits[0, target], features, allow_unused=True)
    if slope is None:
        raise ValueError("The logits of this model do not depend on its last hidden state.")
    weights = slope.mean((2, 3), keepdim=True)
    return _scaled((weights * features.detach()).sum(1, keepdim=True).relu(), pixel_values)


def occlusion(model: nn.Module, pixel_values: torch.Tensor, target: int, batch: int = 16) -> torch.Tensor:
    """Return how much the probability of class `target` falls when a place is covered, 0 to 1, (height, width).

    Zeiler and Fergus 2014, figure 7: a patch of a quarter of the side, in the image's mean colour, moves by an eighth;
    a place gets the mean fall of the patches over it, and a rise counts as nothing. 49 passes of the model.

    Args:
        model: a classifier of transformers in evaluation mode.
        pixel_values: (1, 3, height, width) float32, normalised, at least `GRID` pixels a side.
        target: number of a class.
        batch: images in one pass.

    Raises:
        ValueError: the model is in training mode.
    """
    if model.training:
        raise ValueError("Occlusion of a model in training mode depends on the batch; call model.eval() first.")
    height, width = pixel_values.shape[-2:]
    edges = [torch.linspace(0, side, GRID + 1).round().long().tolist() for side in (height, width)]
    patches = [
        (edges[0][i], edges[0][i + 2], edges[1][j], edges[1][j + 2]) for i in range(GRID - 1) for j in range(GRID - 1)
    ]
    color = pixel_values.mean((2, 3), keepdim=True)[0]
    fall, count = torch.zeros(height, width), torch.zeros(height, width)
    with torch.inference_mode():
        start = model(pixel_values=pixel_values).logits.softmax(-1)[0, target]
        for first in range(0, len(patches), batch):
            part = patches[first : first + batch]
            covered = pixel_values.repeat(len(part), 1, 1, 1)
            for image, (top, bottom, left, right) in zip(covered, part, strict=True):
                image[:, top:bottom, left:right] = color
            drops = start - model(pixel_values=covered).logits.softmax(-1)[:, target]
            for drop, (top, bottom, left, right) in zip(drops, part, strict=True):
                fall[top:bottom, left:right] += drop
                count[top:bottom, left:right] += 1
    return _scaled((fall / count).relu()[None, None], pixel_values)


def _scaled(heat: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
    large = F.interpolate(heat.float(), pixel_values.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    most = large.max()
    return large / most if most > 0 else large


def overlay(pixels: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """Return the image (3, height, width) uint8 with the heat (height, width) of 0 to 1 in orange, uint8."""
    color = torch.tensor([255.0, 120.0, 0.0])[:, None, None]
    share = 0.65 * heat[None]
    # what is not pointed at loses its colour a little, so that orange is not taken for a stain
    plain = pixels.float() * 0.6 + pixels.float().mean(0, keepdim=True) * 0.4
    return (plain * (1 - share) + color * share).round().clamp(0, 255).to(torch.uint8)
