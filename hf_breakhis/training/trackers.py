"""Experiment trackers: one tracker run for each fold, under the name of the run and the fold."""

import importlib
import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks

from hf_breakhis.files import InputError
from hf_breakhis.run import REPEAT_PREFIX, TENSORBOARD
from hf_breakhis.training.trainer import BreakHisTrainer
from hf_breakhis.training_arguments import BreakHisTrainingArguments

_GROUP = "WANDB_RUN_GROUP"


def check_trackers(args: BreakHisTrainingArguments) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        InputError: names the tracker and the remedy.
    """
    for name in args.report_to or []:
        try:
            for tracker in get_reporting_integration_callbacks([name]):
                tracker()  # raises where its package is missing
        except (RuntimeError, ImportError) as error:
            message = f"`report_to` has {name}, which is not installed. Install it, or leave `report_to` out."
            raise InputError(message) from error


def name_in_trackers(run: Path, run_name: str | None, *folders: str) -> str:
    """Return the name of a run in trackers, or of a folder in it, such as `c3-fold-1` or `c3-fold-1-member-2`."""
    repeat = run.name if run.name.startswith(REPEAT_PREFIX) else ""
    whole = run_name or (run.parent.name if repeat else run.name)
    return "-".join(part for part in (whole, repeat, *folders) if part)


def place_trackers(trainer: BreakHisTrainer, folder: Path, group: str) -> None:
    """Let TensorBoard write to the folder of the fold, and let Weights & Biases group the folds of a run.

    The Trainer's own place for event files is the folder of the checkpoints, which is deleted at the end of a fold.
    """
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(folder / TENSORBOARD)
    if "wandb" in (trainer.args.report_to or []):
        os.environ[_GROUP] = group


def end_tracker_runs(trainer: BreakHisTrainer) -> None:
    """End the tracker runs of a fold, so that the next fold begins its own and predictions begin none."""
    callbacks: list[type[TrainerCallback]] = get_reporting_integration_callbacks(trainer.args.report_to)
    for callback in callbacks:
        trainer.remove_callback(callback)
    if "wandb" in (trainer.args.report_to or []) and trainer.is_world_process_zero():
        wandb: Any = importlib.import_module("wandb")  # the other trackers end their run with the training
        wandb.finish()
