"""Fields of a recipe that describe the training: those of the Trainer and those of this package."""

import os
from dataclasses import dataclass
from typing import Literal

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from hf_breakhis.arguments import described, require
from hf_breakhis.hardware import choose, find_hardware

WATCHED = ("loss", "accuracy", "balanced_accuracy", "roc_auc")  # what a checkpoint may be chosen by


@dataclass
class BreakHisTrainingArguments(TrainingArguments):
    """The Trainer's own arguments, with a named optimizer and schedule and a global batch size."""

    # What the Trainer has, with the defaults of this package.
    output_dir: str = described("outputs/run", "Folder of the run.")
    remove_unused_columns: bool = described(False, "Has to stay false: the Trainer would delete the images.")
    eval_strategy: IntervalStrategy | str = described("epoch", "When the watched part is scored.")
    save_strategy: SaveStrategy | str = described("epoch", "When a checkpoint is written.")
    logging_strategy: IntervalStrategy | str = described("epoch", "When the training loss is logged.")
    save_total_limit: int | None = described(2, "Checkpoints kept while a fold trains.")
    per_device_eval_batch_size: int = described(64, "Images per evaluation batch and device.")
    ddp_find_unused_parameters: bool | None = described(False, "A ResNet uses all of its parameters.")
    # None is what the hardware suggests (hardware.py).
    bf16: bool | None = described(None, "Train in bfloat16; by default where GPU or CPU are known to.")  # type: ignore[assignment]
    dataloader_num_workers: int | None = described(  # type: ignore[assignment]
        None, "Processes that load images; by default none on a CPU, one a core on a GPU, up to 8."
    )

    # What this package adds.
    batch_size: int | None = described(None, "Images per optimizer step, over all processes and accumulation steps.")
    optimizer_name: str | None = described(None, "A name in the table of optimizers (training/optim.py).")
    optimizer_kwargs: dict | None = described(None, "More arguments of the optimizer as JSON.")
    scheduler_name: str | None = described(None, "A name in the table of schedules (training/optim.py).")
    scheduler_kwargs: dict | None = described(None, "More arguments of the schedule as JSON; lengths in epochs.")
    decay_norm_and_bias: bool = described(True, "Weight decay on norms and biases too, as plain torch does.")
    class_weights: Literal["none", "balanced"] = described("none", "Weigh the loss by inverse class frequency.")
    sampler: Literal["none", "balanced"] = described("none", "Draw both classes equally often.")
    early_stopping_patience: int | None = described(None, "Epochs without improvement after which a fold ends.")
    num_threads: int | None = described(None, "CPU threads of each process; by default its share of the cores.")
    channels_last: bool = described(True, "Keep the colours of a pixel together in memory: faster, other last bits.")
    restart: bool = described(False, "Begin the run again, although its folder holds a finished or unfinished one.")

    def __post_init__(self) -> None:
        """Turn the global batch into one per device, and refuse what cannot be trained.

        Raises:
            InputError: the batch does not divide, or fields contradict each other.
        """
        for name in ("optimizer_kwargs", "scheduler_kwargs"):
            needs = name.replace("kwargs", "name")
            require(not getattr(self, name) or getattr(self, needs) is not None, f"`{name}` needs `{needs}`.")
        require(not self.remove_unused_columns, "`remove_unused_columns` has to be false: it deletes the images.")
        require(not self.push_to_hub, "`push_to_hub` would push every fold; train first, then publish the run.")
        require(not self.auto_find_batch_size, "`auto_find_batch_size` changes the recipe; lower `batch_size`.")
        self._check_schedule()
        if self.disable_tqdm is None:
            self.disable_tqdm = not os.isatty(2)  # a log file wants lines, not bars
        self._leave_to_hardware()
        super().__post_init__()
        self._check_processes()
        self._check_launcher()
        self.dataloader_pin_memory &= self.device.type != "cpu"  # else torch warns before each epoch
        if self.batch_size is not None:
            self.per_device_train_batch_size = self._divide_batch(self.batch_size)

    def _check_schedule(self) -> None:
        """Refuse schedules that would never act or act on the wrong clock."""
        require(self.num_train_epochs > 0 or self.max_steps > 0, "`num_train_epochs` is 0, but has to be above it.")
        metric = (self.metric_for_best_model or "loss").removeprefix("eval_")
        allowed = f"`metric_for_best_model` is {metric}, but has to be one of {', '.join(WATCHED)}."
        require(metric in WATCHED, allowed)
        if self.early_stopping_patience is not None:
            self.metric_for_best_model = self.metric_for_best_model or "loss"
            never = f"`early_stopping_patience` needs evaluations, but `eval_strategy` is {self.eval_strategy}."
            require(str(getattr(self.eval_strategy, "value", self.eval_strategy)) != "no", never)
        if self.scheduler_name is None:
            return
        require(self.max_steps <= 0, "`max_steps` does not go with `scheduler_name`, whose lengths are epochs.")
        if self.scheduler_name == "plateau":
            given = (
                f"`eval_strategy` is {self.eval_strategy}: the plateau schedule acts on evaluations: set it to epoch."
            )
            require(self.eval_strategy == "epoch", given)
            self.metric_for_best_model = self.metric_for_best_model or "loss"

    def _leave_to_hardware(self) -> None:
        """Fill in what the recipe leaves open."""
        hardware = find_hardware(self.use_cpu)
        # Without it the Trainer refuses bfloat16 where there is no GPU, on processors that calculate in it too.
        self.use_cpu = self.use_cpu or hardware.device == "cpu"
        found = choose(hardware, self.dataloader_num_workers)
        found["bf16"] &= not self.fp16
        if "OMP_NUM_THREADS" in os.environ:  # by the user or the launcher
            found["num_threads"] = None
        for name, value in found.items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def _check_processes(self) -> None:
        """Refuse unconnected processes: each would train alone and write to the same files."""
        started = int(os.environ.get("WORLD_SIZE", "1"))
        require(
            started == self.world_size,
            f"{started} processes were started but are not connected, since there is no GPU; "
            "set ACCELERATE_USE_CPU=true before the launcher, or start one process.",
        )

    def _check_launcher(self) -> None:
        """Refuse a precision that only the launcher asks for: a recipe says what a run is."""
        asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
        own = "bf16" if self.bf16 else "fp16" if self.fp16 else "no"
        require(
            asked in ("no", "", own),
            f"The launcher asks for {asked} (ACCELERATE_MIXED_PRECISION), the recipe for {own}; give --{asked} true "
            "if you want it, or launch with mixed precision no.",
        )

    def _divide_batch(self, batch_size: int) -> int:
        """Return the images per device and forward pass that make up the global batch."""
        devices = self.world_size * max(1, self.n_gpu)
        parts = devices * self.gradient_accumulation_steps
        require(
            batch_size > 0 and batch_size % parts == 0,
            f"`batch_size` is {batch_size}, which does not divide into {devices} devices x "
            f"{self.gradient_accumulation_steps} accumulation steps; choose a multiple of {parts}.",
        )
        return batch_size // parts
