"""What a run is: every field of a recipe, its meaning, its range and what it cannot be combined with."""

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from hf_breakhis.files import InputError
from hf_breakhis.hardware import choose, find_hardware

WATCHED = ("loss", "accuracy", "balanced_accuracy", "roc_auc")  # what a checkpoint may be chosen by
MAGNIFICATIONS = ("40X", "100X", "200X", "400X")
OFFICIAL_FOLDS = 5


def _field(default: Any, text: str) -> Any:
    """A dataclass field with its help; lists get a fresh copy."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message)


@dataclass
class DataArguments:
    """Where the images come from and how they are divided into folds."""

    dataset: str = _field("breakhis", "A name in the table of sources (data/sources/table.py), or a Hub id.")
    data_dir: str | None = _field(None, "BreaKHis_v1.tar.gz, or a folder from the parent of BreaKHis_v1 to breast/.")
    dataset_revision: str | None = _field(None, "Commit of a Hub data set.")
    twin_kwargs: dict | None = _field(None, "Settings of the twin as JSON: seed, scale, width, class_signal, ...")
    target: Literal["malignancy", "tumor_type"] = _field("malignancy", "Two classes, or the eight tumour types.")
    magnifications: list[str] = _field(list(MAGNIFICATIONS), "Subset of 40X 100X 200X 400X.")
    tumor_types: list[str] = _field(
        [], "Subset of A F PT TA DC LC MC PC, in the order of the classes; none named: all."
    )
    split_by: Literal["image", "patient", "specimen", "official"] = _field(
        "specimen", "What may not straddle a split; image leaks; official is the authors' five hold-outs."
    )
    num_folds: int = _field(5, "Folds; 1 is a hold-out of test_size.")
    test_size: float = _field(0.2, "Share held out when num_folds is 1.")
    test_patients: list[str] = _field(
        [], "Slide folders to hold out, such as SOB_M_DC-14-2523; num_folds has to be 1."
    )
    repeats: int = _field(1, "The whole again with the next split and initial seeds.")
    reserve_size: float = _field(0.0, "Share set aside before anything else and reported apart.")
    validation_size: float = _field(0.0, "Share of the training groups used to watch training and choose checkpoints.")
    stratify: bool = _field(True, "Keep the shares of the classes in every part.")
    split_seed: int = _field(42, "Seed of the split.")
    fold: str = _field("all", "all, one number from 0, or refit (train on everything).")
    image_size: int = _field(224, "Side in pixels of the square that the whole frame is resized to.")
    cache: bool = _field(True, "Decode the images once, into a file of pixels at image_size; false: each time anew.")
    augmentation: str = _field("none", "A name in the table of augmentations (data/pixels/transforms.py).")

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        wrong = [name for name in self.magnifications if name not in MAGNIFICATIONS]
        _require(not wrong, f"`magnifications` has {wrong}; choose from {list(MAGNIFICATIONS)}.")
        _require(bool(self.magnifications), f"`magnifications` is empty; choose from {list(MAGNIFICATIONS)}.")
        for name in ("magnifications", "tumor_types", "test_patients"):
            value = getattr(self, name)
            _require(len(set(value)) == len(value), f"`{name}` names one twice.")
        self._check_test_patients()
        for name, lowest in {"num_folds": 1, "repeats": 1, "image_size": 8, "split_seed": 0}.items():
            value = getattr(self, name)
            _require(value >= lowest, f"`{name}` is {value}, but has to be at least {lowest}.")
        _require(0 < self.test_size < 1, f"`test_size` is {self.test_size}, but a share lies between 0 and 1.")
        for name in ("reserve_size", "validation_size"):
            share = getattr(self, name)
            _require(0 <= share < 1, f"`{name}` is {share}, but a share is at least 0 and below 1.")
        if self.split_by == "official":
            allowed = f"`num_folds` is {self.num_folds}, but the official split has {OFFICIAL_FOLDS} folds of its own."
            _require(self.num_folds == OFFICIAL_FOLDS, allowed)
            _require(not self.reserve_size, "`reserve_size` does not go with split_by=official; set it to 0.")
        if self.fold not in ("all", "refit"):
            number = int(self.fold) if self.fold.isdecimal() else -1
            allowed = (
                f"`fold` is {self.fold}, but num_folds={self.num_folds} allows all, refit or 0..{self.num_folds - 1}."
            )
            _require(0 <= number < self.num_folds, allowed)
        _require(self.fold == "all" or self.repeats == 1, f"`fold` is {self.fold}; with `repeats` it has to be all.")

    def _check_test_patients(self) -> None:
        """Refuse named patients where the split is not one hold-out of patients."""
        if not self.test_patients:
            return
        told = "`test_patients` names the patients to hold out: "
        _require(self.num_folds == 1, f"{told}`num_folds` is {self.num_folds}, but has to be 1.")
        grouped = self.split_by in ("patient", "specimen")
        _require(grouped, f"{told}`split_by` is {self.split_by}, but has to be patient or specimen.")


@dataclass
class ModelArguments:
    """Which network is trained, and how it starts."""

    model_name_or_path: str = _field("microsoft/resnet-50", "Hub id or local folder of the backbone.")
    model_revision: str = _field("main", "Commit of the backbone on the Hub.")
    model_kwargs: dict | None = _field(None, "Overrides of the model's configuration as JSON, for small networks.")
    init: Literal["pretrained", "random"] = _field("pretrained", "Start from published weights, or from random ones.")
    carry_over: Literal["none", "model", "all"] = _field(
        "none", "What goes on from fold to fold: nothing, the weights, or optimizer and schedule too; both leak."
    )
    freeze_backbone: bool = _field(False, "Train the classification head only; batch norm keeps its statistics.")


@dataclass
class BreakHisTrainingArguments(TrainingArguments):
    """The Trainer's own arguments, with a named optimizer and schedule and a global batch size."""

    # What the Trainer has, with the defaults of this package.
    output_dir: str = _field("outputs/run", "Folder of the run.")
    remove_unused_columns: bool = _field(False, "Has to stay false: the Trainer would delete the images.")
    eval_strategy: IntervalStrategy | str = _field("epoch", "When the watched part is scored.")
    save_strategy: SaveStrategy | str = _field("epoch", "When a checkpoint is written.")
    logging_strategy: IntervalStrategy | str = _field("epoch", "When the training loss is logged.")
    save_total_limit: int | None = _field(2, "Checkpoints kept while a fold trains.")
    per_device_eval_batch_size: int = _field(64, "Images per evaluation batch and device.")
    ddp_find_unused_parameters: bool | None = _field(False, "A ResNet uses all of its parameters.")
    # None is what the hardware suggests (hardware.py).
    bf16: bool | None = _field(None, "Train in bfloat16; by default where GPU or CPU are known to.")  # type: ignore[assignment]
    dataloader_num_workers: int | None = _field(  # type: ignore[assignment]
        None, "Processes that load images; by default none on a CPU, one a core on a GPU, up to 8."
    )

    # What this package adds.
    batch_size: int | None = _field(None, "Images per optimizer step, over all processes and accumulation steps.")
    optimizer_name: str | None = _field(None, "A name in the table of optimizers (training/optim.py).")
    optimizer_kwargs: dict | None = _field(None, "More arguments of the optimizer as JSON.")
    scheduler_name: str | None = _field(None, "A name in the table of schedules (training/optim.py).")
    scheduler_kwargs: dict | None = _field(None, "More arguments of the schedule as JSON; lengths in epochs.")
    decay_norm_and_bias: bool = _field(True, "Weight decay on norms and biases too, as plain torch does.")
    class_weights: Literal["none", "balanced"] = _field("none", "Weigh the loss by inverse class frequency.")
    sampler: Literal["none", "balanced"] = _field("none", "Draw both classes equally often.")
    early_stopping_patience: int | None = _field(None, "Epochs without improvement after which a fold ends.")
    num_threads: int | None = _field(None, "CPU threads of each process; by default its share of the cores.")
    channels_last: bool = _field(True, "Keep the colours of a pixel together in memory: faster, other last bits.")
    restart: bool = _field(False, "Begin the run again, although its folder holds a finished or unfinished one.")

    def __post_init__(self) -> None:
        """Turn the global batch into one per device, and refuse what cannot be trained.

        Raises:
            InputError: the batch does not divide, or fields contradict each other.
        """
        for name in ("optimizer_kwargs", "scheduler_kwargs"):
            needs = name.replace("kwargs", "name")
            _require(not getattr(self, name) or getattr(self, needs) is not None, f"`{name}` needs `{needs}`.")
        _require(not self.remove_unused_columns, "`remove_unused_columns` has to be false: it deletes the images.")
        _require(not self.push_to_hub, "`push_to_hub` would push every fold; train first, then publish the run.")
        _require(not self.auto_find_batch_size, "`auto_find_batch_size` changes the recipe; lower `batch_size`.")
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
        _require(self.num_train_epochs > 0 or self.max_steps > 0, "`num_train_epochs` is 0, but has to be above it.")
        metric = (self.metric_for_best_model or "loss").removeprefix("eval_")
        allowed = f"`metric_for_best_model` is {metric}, but has to be one of {', '.join(WATCHED)}."
        _require(metric in WATCHED, allowed)
        if self.early_stopping_patience is not None:
            self.metric_for_best_model = self.metric_for_best_model or "loss"
            never = f"`early_stopping_patience` needs evaluations, but `eval_strategy` is {self.eval_strategy}."
            _require(str(getattr(self.eval_strategy, "value", self.eval_strategy)) != "no", never)
        if self.scheduler_name is None:
            return
        _require(self.max_steps <= 0, "`max_steps` does not go with `scheduler_name`, whose lengths are epochs.")
        if self.scheduler_name == "plateau":
            given = (
                f"`eval_strategy` is {self.eval_strategy}: the plateau schedule acts on evaluations: set it to epoch."
            )
            _require(self.eval_strategy == "epoch", given)
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
        _require(
            started == self.world_size,
            f"{started} processes were started but are not connected, since there is no GPU; "
            "set ACCELERATE_USE_CPU=true before the launcher, or start one process.",
        )

    def _check_launcher(self) -> None:
        """Refuse a precision that only the launcher asks for: a recipe says what a run is."""
        asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
        own = "bf16" if self.bf16 else "fp16" if self.fp16 else "no"
        _require(
            asked in ("no", "", own),
            f"The launcher asks for {asked} (ACCELERATE_MIXED_PRECISION), the recipe for {own}; give --{asked} true "
            "if you want it, or launch with mixed precision no.",
        )

    def _divide_batch(self, batch_size: int) -> int:
        """Return the images per device and forward pass that make up the global batch."""
        devices = self.world_size * max(1, self.n_gpu)
        parts = devices * self.gradient_accumulation_steps
        _require(
            batch_size > 0 and batch_size % parts == 0,
            f"`batch_size` is {batch_size}, which does not divide into {devices} devices x "
            f"{self.gradient_accumulation_steps} accumulation steps; choose a multiple of {parts}.",
        )
        return batch_size // parts


def check_together(data: DataArguments, model: ModelArguments, training: BreakHisTrainingArguments) -> None:
    """Refuse fields of different groups that contradict each other.

    Raises:
        InputError: says which two, and what to change.
    """
    carried = f"`carry_over` is {model.carry_over}: fold {data.fold} needs all folds before it. Use --fold all."
    _require(model.carry_over == "none" or data.fold == "all", carried)
    frozen = "`freeze_backbone` with `init: random` would train a head on random features; use pretrained weights."
    _require(not model.freeze_backbone or model.init == "pretrained", frozen)
    watches = (
        training.load_best_model_at_end or training.early_stopping_patience or training.scheduler_name == "plateau"
    )
    refit = "`fold` is refit: nothing is held out, so no checkpoint, early stop or plateau can be chosen on it."
    _require(not (data.fold == "refit" and watches) or data.validation_size > 0, refit)
