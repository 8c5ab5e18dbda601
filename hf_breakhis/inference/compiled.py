"""The same classifier, its network compiled for this machine: half a minute to start, then a little faster."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_breakhis.files import InputError
from hf_breakhis.inference.classifier import Classifier


class CompiledClassifier(Classifier):
    """An image classifier as `Classifier`, compiled for batches of one size; a shorter one is filled up.

    Args:
        folder: of the model.
        batch_size: images in a batch.
        bf16: as in `Classifier`.

    Raises:
        InputError: there is no image classifier, it brings its own processor, or nothing here compiles it.
    """

    def __init__(self, folder: Path, batch_size: int, bf16: bool = False) -> None:
        super().__init__(folder, bf16)
        if not self.image_size:
            raise InputError(
                f"{folder} brings its own image processor, so its batches have no known size; go without --compile."
            )
        self.batch_size = batch_size
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
        # Frozen weights are folded into each other and laid out once, in place of at each batch.
        options: dict[str, Any] | None = {"freezing": True} if self.device is None else None
        self.model = torch.compile(self.model, dynamic=False, options=options)
        nothing = torch.zeros(batch_size, 3, self.image_size, self.image_size, device=self.device)
        try:
            with torch.inference_mode(), self.precision():
                self.model(nothing.contiguous(memory_format=torch.channels_last))
        except Exception as error:  # whatever a compiler and its cache run into
            told = " ".join(str(error).split())[:150]
            raise InputError(
                f"The network of {folder} cannot be compiled here ({told}); a C++ compiler such as g++ has to be "
                "installed, or go without --compile."
            ) from error

    def logits(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        """Return (n, num_classes) float64 for n prepared images; see `Classifier.logits`."""
        missing = self.batch_size - len(prepared)
        return super().logits([*prepared, *[prepared[-1]] * missing])[: len(prepared)]
