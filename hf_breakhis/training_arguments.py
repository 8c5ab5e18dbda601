"""Fields of a recipe for training: those of the Trainer and those of this package."""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy, IntervalStrategy, SaveStrategy

from hf_breakhis.arguments import described, require
from hf_breakhis.hardware import choose_settings, find_hardware, kept_precision

# Every field of the Trainer is in one of three groups, which a test checks. Fields that a run uses:
USED = frozenset(
    """
    output_dir seed data_seed use_cpu full_determinism num_train_epochs max_steps learning_rate weight_decay
    per_device_train_batch_size per_device_eval_batch_size gradient_accumulation_steps max_grad_norm
    label_smoothing_factor optim optim_args adam_beta1 adam_beta2 adam_epsilon lr_scheduler_type lr_scheduler_kwargs
    warmup_steps bf16 fp16 tf32 torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps
    gradient_checkpointing gradient_checkpointing_kwargs activation_checkpointing activation_checkpointing_kwargs
    logging_strategy logging_steps logging_first_step logging_nan_inf_filter log_level log_level_replica
    log_on_each_node disable_tqdm debug report_to run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id eval_strategy eval_steps eval_delay eval_on_start eval_accumulation_steps
    eval_use_gather_object save_strategy save_steps save_total_limit save_on_each_node
    restore_callback_states_from_checkpoint load_best_model_at_end metric_for_best_model greater_is_better
    dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order ddp_find_unused_parameters
    ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout
    push_to_hub hub_model_id hub_private_repo hub_revision hub_strategy hub_token
    """.split()
)
_FLOAT32 = "the scores of a run are calculated in float32; set `bf16` for training"
_LOGITS = "a run stores the logits of every image; leave it out"
_SHARDED = "every process holds the whole network; start several with `accelerate launch --multi_gpu`"
# Fields that a run refuses, with what to do instead.
REFUSED = {
    "accelerator_config": "`batch_size` and `gradient_accumulation_steps` say how batches are divided; set these",
    "auto_find_batch_size": "it changes the recipe; lower `batch_size`, or raise `gradient_accumulation_steps`",
    "average_tokens_across_devices": "the loss is always averaged over the global batch; leave it out",
    "batch_eval_metrics": _LOGITS,
    "bf16_full_eval": _FLOAT32,
    "deepspeed": _SHARDED,
    "enable_jit_checkpoint": "a run writes a checkpoint when it is stopped; leave it out",
    "eval_do_concat_batches": _LOGITS,
    "fp16_full_eval": _FLOAT32,
    "fsdp": _SHARDED,
    "fsdp_config": _SHARDED,
    "hub_always_push": "the model is uploaded once, after the report; leave it out",
    "ignore_data_skip": "a resumed fold would train on other images; leave it out",
    "label_names": "the label is the column `label`; choose it with `target`",
    "local_rank": "the launcher sets it; start processes with `accelerate launch` or `torchrun`",
    "optim_target_modules": "it selects layers of language models; set `freeze_backbone` to train the head alone",
    "parallelism_config": _SHARDED,
    "prediction_loss_only": _LOGITS,
    "remove_unused_columns": "the Trainer would delete the images; leave it false",
    "resume_from_checkpoint": "a run resumes by itself; run the same command again",
    "save_only_model": "an interrupted fold could not be resumed; lower `save_total_limit` to save space",
    "train_sampling_strategy": "set `sampler`",
}
# Fields without a meaning for images or for a run of this package, which are refused too.
MEANINGLESS = frozenset(
    """
    do_train do_eval do_predict include_for_metrics include_num_input_tokens_seen length_column_name
    liger_kernel_config neftune_noise_alpha skip_memory_metrics use_cache use_liger_kernel
    """.split()
)
# Used fields without effect while another field is set: that field, and the field to use instead.
OVERRIDDEN = {
    name: (by, kwargs)
    for by, kwargs, names in (
        ("optimizer_name", "optimizer_kwargs", "optim optim_args adam_beta1 adam_beta2 adam_epsilon"),
        ("scheduler_name", "scheduler_kwargs", "lr_scheduler_type lr_scheduler_kwargs warmup_steps"),
    )
    for name in names.split()
}
# Used fields with an effect only for one value of another field.
NEEDED = {
    "eval_steps": ("eval_strategy", "steps"),
    "logging_steps": ("logging_strategy", "steps"),
    "save_steps": ("save_strategy", "steps"),
    **dict.fromkeys(("hub_model_id", "hub_private_repo", "hub_revision", "hub_token"), ("push_to_hub", True)),
}
# Names of fields in earlier versions of transformers and in other tools, by the name here.
SYNONYMS = {
    other: name
    for name, others in {
        "bf16": "amp mixed_precision precision",
        "dataloader_num_workers": "workers",
        "early_stopping_patience": "patience",
        "eval_strategy": "evaluation_strategy",
        "init": "pretrained",
        "learning_rate": "lr",
        "members": "ensemble",
        "model_name_or_path": "model backbone encoder arch",
        "num_folds": "folds k kfold n_folds n_splits",
        "num_train_epochs": "epochs",
        "optimizer_kwargs": "momentum betas nesterov",
        "optimizer_name": "optimizer",
        "output_dir": "out",
        "report_to": "logging_dir",
        "restart": "overwrite_output_dir",
        "scheduler_kwargs": "warmup warmup_ratio",
        "scheduler_name": "scheduler lr_scheduler",
        "use_cpu": "cpu no_cuda",
        "weight_decay": "wd",
    }.items()
    for other in others.split()
}
TRACKERS = ("tensorboard", "trackio", "wandb", "mlflow")
WATCHED = ("loss", "accuracy", "balanced_accuracy", "roc_auc")  # metrics that may select a checkpoint


@dataclass
class BreakHisTrainingArguments(TrainingArguments):
    """Training: arguments of the Trainer, named optimizers and schedules, and a global batch size."""

    # Fields of the Trainer with other defaults.
    output_dir: str = described("outputs/run", "Folder of the run.")
    remove_unused_columns: bool = described(False, "Must be false, since the Trainer would delete the images.")
    eval_strategy: IntervalStrategy | str = described(
        "epoch", "When the validation set, or the test set without one, is evaluated: no, steps or epoch."
    )
    save_strategy: SaveStrategy | str = described("epoch", "When a checkpoint is saved: no, steps, epoch or best.")
    logging_strategy: IntervalStrategy | str = described(
        "epoch", "When the training loss is logged: no, steps or epoch."
    )
    weight_decay: float = described(0.0, "Weight decay of the optimizer; see decay_norm_and_bias for its parameters.")
    save_total_limit: int | None = described(2, "Number of checkpoints kept while a fold is trained.")
    per_device_eval_batch_size: int = described(64, "Batch size of evaluation on each device.")
    report_to: None | str | list[str] = described(  # noqa: RUF036 (HfArgumentParser takes no other order)
        "none", f"Experiment trackers, one run for each fold: none, {', '.join(TRACKERS)}."
    )
    ddp_find_unused_parameters: bool | None = described(
        False, "Let DistributedDataParallel search for parameters without a gradient; a ResNet has none."
    )
    push_to_hub: bool = described(
        False, "Publish the model of fold 0 with its model card after the report, as `hf-breakhis publish` does."
    )
    hub_strategy: HubStrategy | str = described("end", "When the model is uploaded: end, once after the report.")
    # Chosen from the hardware where they are None.
    bf16: bool | None = described(  # type: ignore[assignment]
        None, "Train in bfloat16. Default: true if the GPU or the CPU supports it."
    )
    dataloader_num_workers: int | None = described(  # type: ignore[assignment]
        None,
        "Number of processes that load images. Default: 0 on a CPU; on a GPU the number of cores less 1, up to 8.",
    )

    # Fields of this package.
    batch_size: int | None = described(
        None,
        "Global batch size: images per optimizer step, over all devices and accumulation steps. "
        "Default: the result of per_device_train_batch_size.",
    )
    optimizer_name: str | None = described(
        None,
        "Optimizer: adagrad, adam, adamax, adamw, nadam, radam, rmsprop, sgd. Default: the optimizer of optim.",
    )
    optimizer_kwargs: dict | None = described(  # type: ignore[type-arg]
        None, "Arguments of the optimizer as JSON, for example momentum. Default: those of torch."
    )
    scheduler_name: str | None = described(
        None,
        "Learning rate schedule: constant, cosine, linear, one_cycle, plateau, step. "
        "Default: the schedule of lr_scheduler_type.",
    )
    scheduler_kwargs: dict | None = described(  # type: ignore[type-arg]
        None, "Arguments of the schedule as JSON, with lengths in epochs, for example warmup. Default: none."
    )
    decay_norm_and_bias: bool = described(
        True, "Apply weight decay to normalization weights and biases too, as torch does."
    )
    class_weights: Literal["none", "balanced"] = described(
        "none", "Class weights in the loss: none, or balanced (inverse class frequency)."
    )
    sampler: Literal["none", "balanced"] = described(
        "none", "Order of the training images: none (each once per epoch), or balanced (each class equally often)."
    )
    loss: str = described("cross_entropy", "Loss: cross_entropy, or focal (easy images count less).")
    focal_gamma: float | None = described(
        None, "Exponent of the focal loss, at least 0; with 0 it is cross_entropy. Default: 2."
    )
    mixup: float = described(
        0.0, "Alpha of mixup, which blends the images of a training batch and their labels; 0 switches it off."
    )
    cutmix: float = described(
        0.0,
        "Alpha of CutMix, which pastes a rectangle of another image of the batch and mixes the labels; 0 switches it "
        "off.",
    )
    early_stopping_patience: int | None = described(
        None, "Number of evaluations without improvement after which a fold ends. Default: no early stopping."
    )
    members: int = described(
        1,
        "Networks per fold that differ in the training seed; with more than 1 the fold is an ensemble, whose "
        "probability is the mean of theirs.",
    )
    num_threads: int | None = described(
        None, "Number of CPU threads of each process. Default: its share of the cores."
    )
    channels_last: bool = described(
        True, "Use the channels_last memory format (faster; results differ in the last digits)."
    )
    restart: bool = described(
        False, "Delete the run in output_dir, or the fold given with --fold, and train it again."
    )

    def __post_init__(self) -> None:
        """Divide the global batch over the devices, and check the fields.

        Raises:
            InputError: the batch cannot be divided, or fields contradict each other.
        """
        for name in ("optimizer_kwargs", "scheduler_kwargs"):
            needs = name.replace("kwargs", "name")
            require(not getattr(self, name) or getattr(self, needs) is not None, f"`{name}` needs `{needs}`.")
        self._check_schedule()
        self._check_hub()
        smoothed = self.label_smoothing_factor
        require(0 <= smoothed <= 1, f"`label_smoothing_factor` is {smoothed}, but has to be between 0 and 1.")
        unused = f"`focal_gamma` has no effect, since `loss` is {self.loss}; set it to focal."
        require(self.focal_gamma is None or self.loss == "focal", unused)
        if self.disable_tqdm is None:
            self.disable_tqdm = not os.isatty(2)  # progress bars would fill a log file
        self._leave_to_hardware()
        trackers = self._trackers()
        with kept_precision():  # which is set when training starts
            super().__post_init__()  # type: ignore[no-untyped-call]
        self.report_to = trackers  # without those that transformers adds by itself
        self._check_processes()
        self._check_launcher()
        self.dataloader_pin_memory &= self.device.type != "cpu"  # else torch warns before each epoch
        if self.batch_size is not None:
            self.per_device_train_batch_size = self._divide_batch(self.batch_size)

    def _trackers(self) -> list[str]:
        given = [self.report_to] if isinstance(self.report_to, str) else list(self.report_to or [])
        given = [name for name in given if name != "none"]
        for name in given:
            allowed = f"Choose from none, {', '.join(TRACKERS)}."
            require(name in TRACKERS, f"`report_to` has {name}, which is not supported. {allowed}")
        return given

    def _check_hub(self) -> None:
        require(
            str(getattr(self.hub_strategy, "value", self.hub_strategy)) == "end",
            "`hub_strategy` has to be end: the model is uploaded once, after its report is written. Leave it out.",
        )
        named = self.hub_model_id is not None
        require(named or not self.push_to_hub, "`push_to_hub` needs `hub_model_id`. Give --hub_model_id USER/NAME.")

    def _check_schedule(self) -> None:
        require(self.num_train_epochs > 0 or self.max_steps > 0, "`num_train_epochs` is 0, but has to be above 0.")
        metric = (self.metric_for_best_model or "loss").removeprefix("eval_")
        allowed = f"`metric_for_best_model` is {metric}, but has to be one of {', '.join(WATCHED)}."
        require(metric in WATCHED, allowed)
        if self.early_stopping_patience is not None:
            self.metric_for_best_model = self.metric_for_best_model or "loss"
            never = f"`early_stopping_patience` needs evaluations, but `eval_strategy` is {self.eval_strategy}."
            require(str(getattr(self.eval_strategy, "value", self.eval_strategy)) != "no", never)
        if self.scheduler_name is None:
            return
        require(
            self.max_steps <= 0,
            "`max_steps` is not supported with `scheduler_name`, whose lengths are in epochs; set `num_train_epochs`.",
        )
        if self.scheduler_name == "plateau":
            needed = f"`eval_strategy` is {self.eval_strategy}, but the plateau schedule needs epoch; set it to epoch."
            require(self.eval_strategy == "epoch", needed)
            self.metric_for_best_model = self.metric_for_best_model or "loss"

    def _leave_to_hardware(self) -> None:
        hardware = find_hardware(self.use_cpu)
        # Without it the Trainer refuses bfloat16 where there is no GPU, on processors that calculate in it too.
        self.use_cpu = self.use_cpu or hardware.device == "cpu"
        found = choose_settings(hardware, self.dataloader_num_workers)
        found["bf16"] &= not self.fp16
        if "OMP_NUM_THREADS" in os.environ:  # by the user or the launcher
            found["num_threads"] = None
        for name, value in found.items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def _check_processes(self) -> None:
        # Each process would train alone, and all would write the same files.
        started = int(os.environ.get("WORLD_SIZE", "1"))
        require(
            started == self.world_size,
            f"{started} processes were started, but they are not connected, since there is no GPU; "
            "set ACCELERATE_USE_CPU=true for the launcher, or start one process.",
        )

    def _check_launcher(self) -> None:
        # A recipe defines the run, so the launcher may not change its precision.
        asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
        own = "bf16" if self.bf16 else "fp16" if self.fp16 else "no"
        require(
            asked in ("no", "", own),
            f"Mixed precision is {asked} in the launcher (ACCELERATE_MIXED_PRECISION) and {own} in the recipe; give "
            f"--{asked} true, or set mixed precision to no in the launcher.",
        )

    def _divide_batch(self, batch_size: int) -> int:
        devices = self.world_size * max(1, self.n_gpu)
        parts = devices * self.gradient_accumulation_steps
        require(
            batch_size > 0 and batch_size % parts == 0,
            f"`batch_size` is {batch_size}, which cannot be divided over {devices} devices x "
            f"{self.gradient_accumulation_steps} accumulation steps; choose a multiple of {parts}.",
        )
        result: int = batch_size // parts
        return result


def check_inherited(given: Mapping[str, Any]) -> None:
    """Refuse fields of the Trainer that have no effect in a run.

    Args:
        given: the fields of the recipe and the command line, with checked types.

    Raises:
        InputError: names the field and what to set instead.
    """
    defaults = {f.name: f.default for f in fields(BreakHisTrainingArguments) if f.default is not MISSING}
    changed = {name for name, value in given.items() if name not in defaults or value != defaults[name]}
    for name in given:
        if name not in changed:
            continue
        require(name not in REFUSED, f"`{name}` is not supported here: {REFUSED.get(name)}.")
        require(name not in MEANINGLESS, f"`{name}` has no meaning in a run of this package; leave it out.")
        by, kwargs = OVERRIDDEN.get(name, ("", ""))
        require(
            given.get(by) is None,
            f"`{name}` has no effect, since `{by}` is {given.get(by)}; use `{kwargs}`, or leave `{by}` out.",
        )
        other, value = NEEDED.get(name, ("", ""))
        now = given.get(other, defaults.get(other))
        require(not other or now == value, f"`{name}` has no effect, since `{other}` is {now}; set it to {value}.")
    optim = str(given.get("optim", defaults["optim"]))
    for name in sorted(changed & {"adam_beta1", "adam_beta2", "adam_epsilon"}):
        require("adam" in optim, f"`{name}` has no effect, since `optim` is {optim}; use `optim_args`.")
