"""The Trainer beside plain torch in float64, on images of noise, for `gpu.py`."""

import tempfile
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import set_seed

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.recipe import load_recipe
from hf_breakhis.training.modeling import build_model
from hf_breakhis.training.trainer import BreakHisTrainer
from hf_breakhis.training_arguments import BreakHisTrainingArguments

SMALL = {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
NUM_IMAGES, BATCH, EPOCHS = 24, 8, 3


class Noise(torch.utils.data.Dataset):
    """Images of noise in float64, brighter in class 1; notes the order in which they are taken."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.labels = torch.from_numpy(rng.permutation(np.arange(NUM_IMAGES) % 3 == 0).astype(int))
        self.pixels = torch.from_numpy(rng.normal(size=(NUM_IMAGES, 3, 16, 16))) + self.labels[:, None, None, None]
        self.taken: list[int] = []

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return one image with its label."""
        self.taken.append(index)
        return {"pixel_values": self.pixels[index], "labels": self.labels[index]}


def network() -> Any:
    """Return a small network in float64, the same at each call."""
    set_seed(5)
    model: Any = build_model(ModelArguments(init="random", model_kwargs=SMALL), ["benign", "malignant"]).double()
    model.accepts_loss_kwargs = False
    return model


def against_plain_torch(name: str, use_cpu: bool) -> float:
    """Train with the optimizer of a recipe in both ways, and return the largest difference of a weight.

    Args:
        name: of a recipe of the package.
        use_cpu: whether a GPU is ignored.
    """
    recipe = load_recipe(name)
    used = {key: recipe[key] for key in ("optimizer_name", "optimizer_kwargs", "learning_rate", "weight_decay")}
    images = Noise()
    with tempfile.TemporaryDirectory() as folder:
        args = BreakHisTrainingArguments(
            output_dir=folder, num_train_epochs=EPOCHS, batch_size=BATCH, max_grad_norm=0.0, seed=3, bf16=False,
            scheduler_name="constant", use_cpu=use_cpu, eval_strategy="no", save_strategy="no",
            logging_strategy="no", dataloader_num_workers=0, disable_tqdm=True, **used,
        )  # fmt: skip
        trainer = BreakHisTrainer(model_init=network, args=args, train_dataset=images)
        trainer.train()
    model = network().to(args.device).train()
    kwargs = {"lr": used["learning_rate"], "weight_decay": used["weight_decay"], **used["optimizer_kwargs"]}
    optimizer = OPTIMIZERS[used["optimizer_name"]](model.parameters(), **kwargs)
    taken = images.taken[-EPOCHS * NUM_IMAGES :]  # the Trainer looks at an image before the first epoch
    for rows in np.array_split(taken, EPOCHS * NUM_IMAGES // BATCH):
        optimizer.zero_grad()
        logits = model(images.pixels[rows].to(args.device)).logits
        cross_entropy(logits, images.labels[rows].to(args.device)).backward()
        optimizer.step()
    ours = trainer.model.state_dict()
    return max((ours[key].double() - value.double()).abs().max().item() for key, value in model.state_dict().items())
