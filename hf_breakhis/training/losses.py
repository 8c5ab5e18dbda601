"""Losses by name, and class weights; none of them depends on how a batch is divided."""

from typing import Any

import numpy as np
import torch
from torch import nn

from hf_breakhis.training.optim import lookup
from hf_breakhis.training_arguments import BreakHisTrainingArguments


class CrossEntropy:
    """Cross-entropy that does not depend on how a batch is divided.

    The Trainer assumes that a model whose `forward` takes `**kwargs` normalizes its own loss. Image classifiers do
    not, so accumulation and several processes would multiply loss and gradient. As `compute_loss_func`, this class
    sums over its part of the batch and divides by the number of images of the global batch, which the Trainer counts.
    With class weights, torch would divide by the sum of the weights in the batch instead.

    Args:
        class_weights: (n_classes,) float, mean 1 over the training images; None for equal weights.
        label_smoothing: share of each label that is distributed over all classes.
    """

    def __init__(self, class_weights: torch.Tensor | None = None, label_smoothing: float = 0.0) -> None:
        """Keep the weights."""
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the loss of `outputs.logits` (batch, n_classes) for `labels`.

        Args:
            outputs: of the model.
            labels: (batch,) int, or (batch, n_classes) shares of each class, as mixing gives.
            num_items_in_batch: images of the global batch; those of `labels` by default.
        """
        logits = outputs["logits"]
        weights = None if self.class_weights is None else self.class_weights.to(logits)
        shares = labels.to(logits) if labels.ndim == 2 else labels
        total = self.total(logits, shares, weights)
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    def total(self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Return the sum of the losses of the images."""
        return nn.functional.cross_entropy(
            logits, labels, weight=weights, reduction="sum", label_smoothing=self.label_smoothing
        )


class FocalLoss(CrossEntropy):
    """Cross-entropy in which each class counts (1 - probability)^gamma, so that easy images count less.

    With gamma 0 it is `CrossEntropy`. Class weights, label smoothing and shares of classes apply as there: the loss
    of an image is the sum over classes of share x weight x (1 - p)^gamma x -log p.

    Args:
        class_weights: as for `CrossEntropy`.
        label_smoothing: as for `CrossEntropy`.
        gamma: at least 0.

    Source:
        Lin et al. 2017, ICCV, arXiv 1708.02002, equation 4; class weights are their alpha.
    """

    def __init__(
        self, class_weights: torch.Tensor | None = None, label_smoothing: float = 0.0, gamma: float = 2.0
    ) -> None:
        """Keep the weights."""
        super().__init__(class_weights, label_smoothing)
        self.gamma = gamma

    def total(self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
        """Return the sum of the losses of the images."""
        count = logits.shape[-1]
        shares = labels if labels.ndim == 2 else nn.functional.one_hot(labels, count).to(logits)
        shares = (1 - self.label_smoothing) * shares + self.label_smoothing / count
        logs = logits.log_softmax(-1)
        # a power below 1 has no finite slope at 0
        others = (-torch.expm1(logs)).clamp_min(torch.finfo(logs.dtype).tiny)
        losses = -shares * others.pow(self.gamma) * logs
        return (losses if weights is None else losses * weights).sum()


LOSSES: dict[str, type[CrossEntropy]] = {
    "cross_entropy": CrossEntropy,
    "focal": FocalLoss,
}


def build_loss(args: BreakHisTrainingArguments, class_weights: torch.Tensor | None) -> CrossEntropy:
    """Return the loss of a recipe.

    Raises:
        InputError: the name is unknown.
    """
    kind = lookup(LOSSES, args.loss, "loss")
    settings = {} if args.focal_gamma is None else {"gamma": args.focal_gamma}
    loss: CrossEntropy = kind(class_weights, args.label_smoothing_factor, **settings)
    return loss


def balanced_weights(labels: np.ndarray, num_classes: int) -> torch.Tensor:
    """Return (num_classes,) weights inverse to the class counts, whose mean over `labels` is 1."""
    counts = np.bincount(labels, minlength=num_classes)
    return torch.tensor(len(labels) / (num_classes * counts), dtype=torch.float64)
