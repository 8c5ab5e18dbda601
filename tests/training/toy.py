"""A small problem for bare torch and for the Trainer alike: run as a script, the Trainer's half of it.

Arguments: the folder for the result, and the recipe's fields as JSON. Under torchrun each process trains its share.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from hf_breakhis.files import write_whole
from hf_breakhis.training.crossval import leave_group
from hf_breakhis.training.losses import CrossEntropy, balanced_weights
from hf_breakhis.training.trainer import BreakHisTrainer, EpochOfAugmentation
from hf_breakhis.training_arguments import BreakHisTrainingArguments

NUM_TRAIN, NUM_WATCHED, BATCH = 24, 8, 8
NUM_RAGGED = 317  # images that no number of processes and no batch divides


class Toy(torch.utils.data.Dataset):
    """Noise images in float64 with labels; records the order in which they are read."""

    def __init__(self, number, seed):
        rng = np.random.default_rng(seed)
        self.labels = rng.permutation(np.arange(number) % 3 == 0).astype(int)
        self.pixels = torch.from_numpy(rng.normal(size=(number, 3, 16, 16)) + self.labels[:, None, None, None])
        self.taken = []

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        self.taken.append(i)
        return {"pixel_values": self.pixels[i], "labels": int(self.labels[i])}

    def set_epoch(self, epoch):
        self.taken.append(f"epoch {epoch}")


def network(frozen_norm):
    """Return the same small ResNet in float64 at each call; `frozen_norm` keeps batch norm in evaluation mode."""
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=2)
    model = ResNetForImageClassification(config).double()
    if frozen_norm:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(lambda norm, _inputs: norm.eval() and None)
    return model


def train(folder, fields, frozen_norm, weighted=False):
    """Train by the Trainer; return the weights after each epoch and the order of the images."""
    args = BreakHisTrainingArguments(
        output_dir=str(folder), num_train_epochs=4, batch_size=BATCH, per_device_eval_batch_size=4, max_grad_norm=0,
        save_strategy="no", use_cpu=True, bf16=False, seed=3, **fields,
    )  # fmt: skip
    images = Toy(NUM_TRAIN, 1)
    weights = balanced_weights(images.labels, 2) if weighted else None
    after = []

    class Keep(EpochOfAugmentation):
        def on_epoch_end(self, args, state, control, model=None, **kwargs):
            # before the evaluation of this epoch, which changes no weights
            after.append({name: value.detach().clone() for name, value in model.state_dict().items()})

    trainer = BreakHisTrainer(
        model_init=lambda: network(frozen_norm), args=args, train_dataset=images, eval_dataset=Toy(NUM_WATCHED, 2),
        compute_loss_func=CrossEntropy(weights), callbacks=[Keep()],
    )  # fmt: skip
    trainer.train()
    return after, images.taken, trainer


if __name__ == "__main__":
    folder, fields = Path(sys.argv[1]), json.loads(sys.argv[2])
    after, _, trainer = train(folder, fields, frozen_norm=True, weighted=bool(json.loads(sys.argv[3])))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    watched = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    rows = trainer.predict(Toy(17, 5)).predictions  # an odd number, so that the last part is ragged
    ragged = trainer.evaluate(Toy(NUM_RAGGED, 6))["eval_loss"]
    if trainer.is_world_process_zero():
        result = {
            "weights": after,
            "losses": losses,
            "eval_losses": watched,
            "logits": rows,
            "ragged_loss": ragged,
            "steps": trainer.state.global_step,
        }
        write_whole(folder / "result.pt", lambda part: torch.save(result, part))
    del trainer
    leave_group()
