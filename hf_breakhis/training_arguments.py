"""Fields of a recipe that describe the training: those of the Trainer and those of this package."""

import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from hf_breakhis.arguments import described, require
from hf_breakhis.hardware import choose, find_hardware

# Every field of the Trainer is in one of three groups; a test fails for one that is in none.
# Fields that a run uses.
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
    """.split()
)
_PUBLISH = "train first, then publish the run with `hf-breakhis publish`"
_FLOAT32 = "the scores of a run are calculated in float32; set `bf16` for training"
_LOGITS = "a run needs the logits of every image; leave it out"
_SHARDED = "every process holds the whole network; start several with `accelerate launch --multi_gpu`"
# Fields that a run refuses: what to do instead.
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
    "hub_always_push": _PUBLISH,
    "hub_model_id": _PUBLISH,
    "hub_private_repo": _PUBLISH,
    "hub_revision": _PUBLISH,
    "hub_strategy": _PUBLISH,
    "hub_token": "the Trainer would write it to disk; log in with `hf auth login`",
    "ignore_data_skip": "a resumed fold would train on other images; leave it out",
    "label_names": "the label is the column `label`; choose it with `target`",
    "local_rank": "the launcher sets it; start processes with `accelerate launch` or `torchrun`",
    "optim_target_modules": "it selects layers of language models; set `freeze_backbone` to train the head alone",
    "parallelism_config": _SHARDED,
    "prediction_loss_only": _LOGITS,
    "push_to_hub": _PUBLISH,
    "remove_unused_columns": "the Trainer would delete the images; leave it false",
    "resume_from_checkpoint": "a run resumes by itself; run the same command again",
    "save_only_model": "an interrupted fold could not be resumed; lower `save_total_limit` to save space",
    "train_sampling_strategy": "set `sampler`",
}
# Fields that mean nothing for images or for a run of this package; setting one is refused.
MEANINGLESS = frozenset(
    """
    do_train do_eval do_predict include_for_metrics include_num_input_tokens_seen length_column_name
    liger_kernel_config neftune_noise_alpha skip_memory_metrics use_cache use_liger_kernel
    """.split()
)
# Used fields that have no effect while another field is set: that field, and where to write the value.
OVERRIDDEN = {
    name: (by, kwargs)
    for by, kwargs, names in (
        ("optimizer_name", "optimizer_kwargs", "optim optim_args adam_beta1 adam_beta2 adam_epsilon"),
        ("scheduler_name", "scheduler_kwargs", "lr_scheduler_type lr_scheduler_kwargs warmup_steps"),
    )
    for name in names.split()
}
# Used fields that have an effect only with one value of another field.
NEEDED = {
    "eval_steps": ("eval_strategy", "steps"),
    "logging_steps": ("logging_strategy", "steps"),
    "save_steps": ("save_strategy", "steps"),
}
# Fields of earlier versions of transformers, and those that took their place here.
FORMER = {
    "evaluation_strategy": "eval_strategy",
    "logging_dir": "report_to",
    "no_cuda": "use_cpu",
    "overwrite_output_dir": "restart",
    "warmup_ratio": "scheduler_kwargs",
}
TRACKERS = ("tensorboard", "trackio", "wandb", "mlflow")
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
    report_to: None | str | list[str] = described(  # noqa: RUF036 (HfArgumentParser takes no other order)
        "none", f"Experiment trackers: none, {', '.join(TRACKERS)}."
    )
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
        self._check_schedule()
        if self.disable_tqdm is None:
            self.disable_tqdm = not os.isatty(2)  # a log file wants lines, not bars
        self._leave_to_hardware()
        trackers = self._trackers()
        super().__post_init__()
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


def check_inherited(given: Mapping[str, Any]) -> None:
    """Refuse fields of the Trainer that would have no effect on this run.

    Args:
        given: the fields that recipe and command line set, checked for their types.

    Raises:
        InputError: names the field, and what to set instead.
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
