"""Experiment trackers: one tracker run for each fold, under the name of the run and the fold."""

import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks

from hf_breakhis.files import InputError
from hf_breakhis.run import REPEAT_PREFIX, TENSORBOARD
from hf_breakhis.training.trainer import BreakHisTrainer
from hf_breakhis.training_arguments import BreakHisTrainingArguments

_GROUP, _TAGS = "WANDB_RUN_GROUP", "MLFLOW_TAGS"
_provided: dict[str, str] = {}  # what this module wrote into the environment


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
    """Let TensorBoard write to the folder of the fold, and let Weights & Biases and MLflow group the folds of a run.

    The Trainer's own place for event files is the folder of the checkpoints, which is deleted at the end of a fold.
    """
    for callback in _trackers_of(trainer):
        setattr(callback, "on_train_end", _stay_open)  # noqa: B010 (mypy refuses the assignment)
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(folder / TENSORBOARD)
    if "wandb" in (trainer.args.report_to or []):
        _provide(_GROUP, group)
    if "mlflow" in (trainer.args.report_to or []):
        _provide(_TAGS, json.dumps({"group": group}))


def _provide(variable: str, value: str) -> None:
    """Set a variable that a tracker reads, unless the user has set it."""
    if os.environ.get(variable) in (None, _provided.get(variable)):
        os.environ[variable] = _provided[variable] = value


@contextmanager
def tracker_runs(trainer: BreakHisTrainer) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Keep the tracker runs of a trained fold open, and end them at the end, so that the next fold begins its own.

    Meanwhile no tracker notices predictions. Yields a function that logs the scores of the test set as `test/NAME`.
    """
    callbacks = _trackers_of(trainer)
    for callback in callbacks:
        trainer.remove_callback(callback)
    at = trainer.args, trainer.state, trainer.control

    def log_scores(scores: Mapping[str, Any]) -> None:
        numbers = {name: value for name, value in scores.items() if type(value) in (int, float)}
        for callback in callbacks:
            callback.on_log(*at, model=trainer.model, logs={f"test_{name}": value for name, value in numbers.items()})

    try:
        yield log_scores
    finally:
        for callback in callbacks:
            type(callback).on_train_end(callback, *at, model=trainer.model, processing_class=trainer.processing_class)
        if "wandb" in (trainer.args.report_to or []) and trainer.is_world_process_zero():
            wandb: Any = importlib.import_module("wandb")  # the other trackers end their run with the training
            wandb.finish()


def _trackers_of(trainer: BreakHisTrainer) -> list[TrainerCallback]:
    kinds = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
    return [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, kinds)]


def _stay_open(*_args: Any, **_fields: Any) -> None:
    """Take the place of a tracker's `on_train_end`, which `tracker_runs` calls later."""
