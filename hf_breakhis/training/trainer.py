"""The Trainer with some documented hooks overridden and its training loop unchanged."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

from hf_breakhis.data.pixels.mixing import Mixing
from hf_breakhis.data.pixels.preprocessing import Preprocessing
from hf_breakhis.data.pixels.transforms import normalize
from hf_breakhis.files import InputError
from hf_breakhis.hardware import full_precision
from hf_breakhis.training.losses import CrossEntropy
from hf_breakhis.training.optim import OPTIMIZERS, SCHEDULERS, Clock, lookup
from hf_breakhis.training_arguments import BreakHisTrainingArguments


class BreakHisTrainer(Trainer):
    """`Trainer` with the optimizer and the schedule of the recipe.

    Hooks are overridden, since `optimizers=` is not allowed with `model_init`, and `optimizer_cls_and_kwargs=` fixes
    the learning rate before training starts.
    """

    args: BreakHisTrainingArguments
    preprocessing: Preprocessing | None = None  # its mean and standard deviation; by default those of ImageNet
    mixing: Mixing | None = None  # of the training batches
    _mixed: tuple[int, int] = (-1, 0)  # the update of the last batch, and the number of its batches so far
    carried: dict[str, Any] | None = (
        None  # state of optimizer and scheduler of the previous fold, if it is carried over
    )

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: Any, model: PreTrainedModel | None = None) -> tuple[Any, Any]:
        """Return the class and the arguments of the optimizer; the parameter groups set the weight decay."""
        if args.optimizer_name is None:
            return Trainer.get_optimizer_cls_and_kwargs(args, model)
        optimizer_cls = lookup(OPTIMIZERS, args.optimizer_name, "optimizer")
        kwargs = {"lr": args.learning_rate, **(args.optimizer_kwargs or {})}
        if args.device.type == "cuda" and "fused" in inspect.signature(optimizer_cls).parameters:
            kwargs.setdefault("fused", True)  # one kernel per update instead of one per parameter
        return optimizer_cls, kwargs

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the names of the parameters with weight decay: all, as in torch, or matrices and filters only."""
        everything = self.args.decay_norm_and_bias
        return [name for name, parameter in model.named_parameters() if everything or parameter.ndim > 1]

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """Build the schedule by name, with epochs converted to updates, and load a carried state, if any."""
        if self.lr_scheduler is not None or self.args.scheduler_name is None:
            return super().create_scheduler(num_training_steps, optimizer)
        build = lookup(SCHEDULERS, self.args.scheduler_name, "schedule")
        clock = Clock(
            num_steps=num_training_steps,
            steps_per_epoch=max(1, int(num_training_steps / self.args.num_train_epochs)),
            mode=watched_mode(self.args),
        )
        self.lr_scheduler = build(optimizer or self.optimizer, clock, **(self.args.scheduler_kwargs or {}))
        if self.carried is not None:
            self.lr_scheduler.load_state_dict(self.carried["scheduler"])
            # last, since building a schedule sets the learning rate of the first update
            self.lr_scheduler.optimizer.load_state_dict(self.carried["optimizer"])
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Normalize uint8 pixels on the device, so that a quarter of the bytes is transferred, and mix in training."""
        inputs = super()._prepare_inputs(inputs)
        pixels = inputs.get("pixel_values")
        if pixels is not None and pixels.dtype == torch.uint8:
            inputs = {**inputs, "pixel_values": normalize(pixels, how=self.preprocessing)}
        network: Any = self.model
        return self._mix(inputs) if self.mixing is not None and network.training else inputs

    def _mix(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Mix a batch; the draws depend on the seed, the process, the update and the number of the batch in it."""
        update, count = self._mixed
        count = count + 1 if update == self.state.global_step else 0
        self._mixed = self.state.global_step, count
        key = (self.args.data_seed or self.args.seed, self.accelerator.process_index, self.state.global_step, count)
        pixels, labels = self.mixing(inputs["pixel_values"], inputs["labels"], key)  # type: ignore[misc]
        return {**inputs, "pixel_values": pixels, "labels": labels}

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Keep the names of parameters in checkpoints.

        transformers saves some networks, such as ViT, under the names of earlier versions, but the Trainer loads a
        checkpoint under the present names. It would resume with the initial weights, and keep the last epoch as best.
        """
        model: Any = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if not isinstance(model, PreTrainedModel):
            super()._save(output_dir, state_dict)
            return
        model.save_pretrained = partial(model.save_pretrained, save_original_format=False)  # type: ignore[method-assign]
        try:
            super()._save(output_dir, state_dict)
        finally:
            del model.save_pretrained

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Refuse a checkpoint whose weights are not those of the network, of which the Trainer only warns.

        Raises:
            InputError: parameters are missing or unknown.
        """
        network: Any = self.model
        tied = set(network._keys_to_ignore_on_save or ()) if isinstance(network, PreTrainedModel) else set()
        names = [*(set(load_result.missing_keys) - tied), *load_result.unexpected_keys]
        if names:
            raise InputError(
                f"The checkpoint in {self.args.output_dir} has other parameters than the network ({min(names)} and "
                f"{len(names) - 1} more). Train the run again with --restart."
            )
        super()._issue_warnings_after_load(load_result)

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[Any] | None:
        if self.args.sampler == "balanced":
            dataset: Any = self.train_dataset if train_dataset is None else train_dataset
            return BalancedSampler(dataset.labels, self.args.data_seed or self.args.seed)
        return super()._get_train_sampler(train_dataset)

    def predict_in_full(self, images: Dataset[Any], part: str) -> np.ndarray:
        """Return (n, num_classes) logits in float32, whatever the precision of training.

        So the scores of a run are those that its saved weights give everywhere.
        """
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)  # removes autocast from its forward
        with full_precision():
            return np.asarray(self.predict(images, metric_key_prefix=part).predictions)

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Run the loop of the Trainer, and compute the loss again from the logits of all images, each counted once.

        The Trainer averages over batches: it counts a short last batch as a whole one, and with several processes the
        copies that fill it. A schedule, early stopping and the choice of a checkpoint read this loss.
        """
        # False, since the loss alone leaves no logits
        output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        name = f"{metric_key_prefix}_loss"
        if output.label_ids is None or output.metrics is None or name not in output.metrics:
            return output
        logits, labels = (torch.from_numpy(np.asarray(part)) for part in (output.predictions, output.label_ids))
        loss = self.compute_loss_func or CrossEntropy()
        metrics = {**output.metrics, name: float(loss({"logits": logits.double()}, labels))}
        return output._replace(metrics=metrics)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return a loader of every image of the part."""
        with _every_batch(self.args):
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Dataset[Any]) -> DataLoader[Any]:
        """Return a loader of every image of the part."""
        with _every_batch(self.args):
            return super().get_test_dataloader(test_dataset)


@contextmanager
def _every_batch(args: BreakHisTrainingArguments) -> Iterator[None]:
    """Switch `dataloader_drop_last` off, which the Trainer applies to evaluation too."""
    dropped, args.dataloader_drop_last = args.dataloader_drop_last, False
    try:
        yield
    finally:
        args.dataloader_drop_last = dropped


class BalancedSampler(Sampler[int]):
    """Draw as many rows as the data set has, with replacement, every class equally often on average.

    The order depends on (seed, epoch) only, so a resumed epoch has the same order.
    """

    def __init__(self, labels: np.ndarray, seed: int) -> None:
        """Keep the labels, (n,) int, and the seed."""
        self.weights = 1.0 / np.bincount(labels)[labels]
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the data loader calls it before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        yield from rng.choice(len(self), size=len(self), p=self.weights / self.weights.sum()).tolist()

    def __len__(self) -> int:
        return len(self.weights)


def watched_mode(args: BreakHisTrainingArguments) -> Literal["min", "max"]:
    """Return "max" if a higher value of the watched metric is better, "min" if a lower one is, as of a loss."""
    if args.greater_is_better is not None:
        return "max" if args.greater_is_better else "min"
    return "min" if (args.metric_for_best_model or "loss").endswith("loss") else "max"


class EpochOfAugmentation(TrainerCallback):
    """Set the epoch of the training images.

    The data loader of accelerate sets it too, but not when it divides batches over several processes.
    """

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        """Set the epoch, which is a fraction after a resume."""
        train_dataloader.dataset.set_epoch(int(state.epoch or 0))


def lowered_by_plateau(trainer: Trainer) -> bool:
    """Return whether a plateau schedule has lowered the learning rate, and so depends on the watched part."""
    schedule = trainer.lr_scheduler
    if not isinstance(schedule, ReduceLROnPlateau):
        return False
    return any(group["lr"] < trainer.args.learning_rate for group in schedule.optimizer.param_groups)
