"""How long a recipe takes on this machine, from a few training steps on noise."""

import dataclasses
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_callback import ProgressCallback

from hf_breakhis.averaging import transforms_of
from hf_breakhis.data.pixels.transforms import whole_batch
from hf_breakhis.data.splits import Fold, split_images
from hf_breakhis.hardware import peak_memory
from hf_breakhis.recipe import Recipe
from hf_breakhis.training.crossval import check_recipe, use_hardware
from hf_breakhis.training.losses import build_loss
from hf_breakhis.training.modeling import build_model, preprocessing_of, use_channels_last
from hf_breakhis.training.trainer import BreakHisTrainer

STEPS = 4  # the first one is not counted, since buffers are allocated in it


@dataclass(frozen=True)
class Cost:
    """What a recipe costs on this machine.

    Attributes:
        images_per_second: of training, one process.
        seconds: of all folds, repeats and members, without decoding the images; with `fold`, of this fold alone.
        memory: largest memory of the process so far in bytes; on a GPU that of the tensors.
        images: number of times that an image passes through the network in training.
    """

    images_per_second: float
    seconds: float
    memory: int
    images: int


class Noise(torch.utils.data.Dataset[Any]):
    """Random pixels in the form of the training images."""

    def __init__(self, num_images: int, size: int, num_classes: int) -> None:
        self.pixels = torch.randint(0, 256, (num_images, 3, size, size), dtype=torch.uint8)
        self.labels = torch.arange(num_images) % num_classes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.pixels[list(rows)], "labels": self.labels[list(rows)]}


class StepTimes(TrainerCallback):
    """Keeps the time at which each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Wait for the device, and look at the clock."""
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        self.ends.append(time.perf_counter())


def estimate(recipe: Recipe, dataset: datasets.Dataset) -> Cost:
    """Train a few steps of a recipe on noise, and multiply.

    Args:
        recipe: checked; its images are those of `dataset`.
        dataset: all images of the run.

    Raises:
        InputError: the images cannot be split as the recipe says, or the network cannot be loaded.
    """
    check_recipe(recipe)
    use_hardware(recipe.training)
    folds = split_images(dataset, recipe.data)
    if recipe.data.fold.isdecimal():
        folds = [folds[int(recipe.data.fold)]]
    classes = dataset.features["label"].names
    batch, forward = _step_and_forward(recipe, classes)
    size = _batch_size(recipe)
    data, views = recipe.data, len(transforms_of(recipe.data.tta))
    frozen = recipe.model.freeze_backbone and data.cache and data.augmentation == "none" and views == 1
    trained, watched, epochs = _passes(recipe, folds)
    if frozen:  # each image passes once; the head that is trained on the features takes little
        seconds = forward * len(dataset)
        return Cost(1 / forward, seconds, peak_memory(recipe.training.device), len(dataset))
    scored = sum(len(fold.test) + len(fold.validation) + len(fold.reserve) for fold in folds) * views * _runs(recipe)
    steps = sum(math.ceil(len(fold.train) / size) for fold in folds) * epochs * _runs(recipe)
    return Cost(
        size / batch, steps * batch + (watched + scored) * forward, peak_memory(recipe.training.device), trained
    )


def _passes(recipe: Recipe, folds: Sequence[Fold]) -> tuple[int, int, float]:
    """Return how many images are trained on and evaluated during training, and the number of epochs."""
    epochs, runs = float(recipe.training.num_train_epochs), _runs(recipe)
    trained = round(sum(len(fold.train) for fold in folds) * epochs * runs)
    each = sum(len(fold.validation) or len(fold.test) for fold in folds)
    watched = round(each * epochs * runs) if recipe.training.eval_strategy != "no" else 0
    return trained, watched, epochs


def _runs(recipe: Recipe) -> int:
    """Return how many networks are trained on each fold."""
    return recipe.data.repeats * recipe.training.members


def _batch_size(recipe: Recipe) -> int:
    return recipe.training.batch_size or recipe.training.train_batch_size * recipe.training.world_size


def _step_and_forward(recipe: Recipe, classes: list[str]) -> tuple[float, float]:
    """Return the seconds of a training step, and those of an image in evaluation."""
    size = _batch_size(recipe)
    images = Noise(size, recipe.data.image_size, len(classes))
    clock = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        args = dataclasses.replace(
            recipe.training, output_dir=folder, max_steps=STEPS, num_train_epochs=STEPS, eval_strategy="no",
            save_strategy="no", logging_strategy="no", report_to="none", load_best_model_at_end=False,
            push_to_hub=False, hub_token=None, dataloader_num_workers=0, dataloader_prefetch_factor=None,
            dataloader_persistent_workers=False, disable_tqdm=True, scheduler_name=None, scheduler_kwargs=None,
            early_stopping_patience=None,
        )  # fmt: skip
        model: Any = build_model(recipe.model, classes)
        if recipe.training.channels_last:
            use_channels_last(model, args.device)
        trainer = BreakHisTrainer(
            model=model,
            args=args,
            train_dataset=images,
            data_collator=whole_batch,
            compute_loss_func=build_loss(recipe.training, None),
            callbacks=[clock],
        )
        trainer.preprocessing = preprocessing_of(recipe.data, recipe.model)
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.train()
        begin = time.perf_counter()
        trainer.predict_in_full(images, "test")
        forward = (time.perf_counter() - begin) / size
    return (clock.ends[-1] - clock.ends[0]) / (STEPS - 1), forward
