"""Mixup and CutMix: mix the images of a training batch, and their labels in the same shares."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2


class Mixing:
    """Mixup and CutMix of torchvision on batches; with both, each batch gets one of them at random.

    Every image is mixed with its neighbour in the batch. The share is drawn from Beta(alpha, alpha), once a batch.

    Args:
        mixup: alpha of mixup; 0 switches it off.
        cutmix: alpha of CutMix; 0 switches it off.
        num_classes: length of the soft labels.

    Source:
        Zhang et al. 2018, ICLR, arXiv 1710.09412; Yun et al. 2019, ICCV, arXiv 1905.04899.
    """

    def __init__(self, mixup: float, cutmix: float, num_classes: int) -> None:
        """Build the transforms."""
        kinds: tuple[tuple[Any, float], ...] = ((v2.MixUp, mixup), (v2.CutMix, cutmix))
        self.transforms = [kind(alpha=alpha, num_classes=num_classes) for kind, alpha in kinds if alpha > 0]

    def __call__(
        self, pixels: torch.Tensor, labels: torch.Tensor, key: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mixed pixels (n, 3, side, side) and the share of each class in them (n, num_classes).

        Args:
            pixels: (n, 3, side, side) float, normalized.
            labels: (n,) int.
            key: non-negative numbers on which every draw depends, so that a resumed run draws the same.
        """
        state = np.random.SeedSequence(list(key)).generate_state(2)
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator of the CPU
            torch.manual_seed(int(state[0]))
            transform = self.transforms[int(state[1]) % len(self.transforms)]
            mixed: tuple[torch.Tensor, torch.Tensor] = transform(pixels, labels)
        return mixed
