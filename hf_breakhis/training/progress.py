"""What a fold reports while it is trained: progress bars or one line per epoch, experiment trackers, learning curve.

Each fold is one tracker run, under the name of the run and the fold.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate import PartialState
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks
from transformers.trainer_callback import ProgressCallback

from hf_breakhis.files import InputError
from hf_breakhis.run import REPEAT_PREFIX, TENSORBOARD
from hf_breakhis.run_fields import HISTORY_COLUMNS
from hf_breakhis.training.trainer import BreakHisTrainer
from hf_breakhis.training_arguments import BreakHisTrainingArguments

SHOWN = {"loss": "train loss", "eval_loss": "loss", "eval_accuracy": "accuracy", "eval_roc_auc": "AUC"}
_GROUP, _TAGS = "WANDB_RUN_GROUP", "MLFLOW_TAGS"
_provided: dict[str, str] = {}  # what this module wrote into the environment


def say(message: str) -> None:
    """Print one line to standard error, from the main process only."""
    if PartialState().is_main_process:
        print(message, file=sys.stderr, flush=True)  # noqa: T201


def epoch_line(title: str, state: Any, logs: dict[str, float]) -> str:
    """Return one line with the metrics of a training epoch or of an evaluation; empty if there are none."""
    numbers = [f"{text} {logs[key]:.4f}" for key, text in SHOWN.items() if logs.get(key) is not None]
    speed = logs.get("eval_samples_per_second")
    tail = f", {speed:.0f} images/s" if speed else ""
    return f"{title}, epoch {state.epoch:g} of {state.num_train_epochs}: {', '.join(numbers)}{tail}" if numbers else ""


class PlainLines(TrainerCallback):
    """One line per epoch, for output that is not a terminal."""

    def __init__(self, title: str, write: Callable[[str], Any] | None = None) -> None:
        """Keep the title that begins each line, such as "fold 1 of 3"."""
        self.title = title
        self.write = write or sys.stderr.write  # looked up now, since tests replace it

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write the metrics of a training epoch or of an evaluation."""
        line = epoch_line(self.title, state, logs)
        if line and state.is_world_process_zero:
            self.write(f"{line}\n")


class TitledBars(ProgressCallback):
    """The progress bars of the Trainer with the name of the fold, and one line per epoch above them."""

    def __init__(self, title: str) -> None:
        """Keep the title, such as "fold 1 of 3"."""
        super().__init__()
        self.title = title

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the progress bar of training."""
        super().on_train_begin(args, state, control, **kwargs)  # type: ignore[no-untyped-call]
        if self.training_bar is not None:
            self.training_bar.set_description(f"{self.title}, training")
            self.training_bar.unit = "step"

    def on_prediction_step(
        self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **kwargs: Any
    ) -> None:
        """Open the progress bar of a prediction, or advance it."""
        opened = self.prediction_bar is None
        super().on_prediction_step(args, state, control, eval_dataloader=eval_dataloader, **kwargs)  # type: ignore[no-untyped-call]
        if opened and self.prediction_bar is not None:
            self.prediction_bar.set_description(f"{self.title}, predicting")
            self.prediction_bar.unit = "batch"
            self.prediction_bar.leave = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Write one line above the progress bar."""
        line = epoch_line(self.title, state, logs)
        if line and self.training_bar is not None:
            self.training_bar.write(line)


def history(log: list[dict[str, float]], watched: str) -> pd.DataFrame:
    """Turn the log of the Trainer into one row per epoch.

    Args:
        log: `trainer.state.log_history`.
        watched: the part that was evaluated, "test" or "validation".

    Returns:
        `HISTORY_COLUMNS`; the training loss is the mean over the updates of the epoch.
    """
    table = pd.DataFrame(log)
    table["epoch"] = np.ceil(table["epoch"] - 1e-6).astype(int)
    trained = table.dropna(subset=["loss"]) if "loss" in table else table.iloc[:0]
    # Each loss is the mean since the previous one; an epoch that was stopped and resumed has several.
    steps = trained["step"].diff().fillna(trained["step"])
    rows = pd.DataFrame({"step": table.groupby("epoch")["step"].max()})
    if len(trained):
        total = (trained["loss"] * steps).groupby(trained["epoch"]).sum() / steps.groupby(trained["epoch"]).sum()
        # a single loss is kept as it was logged, without rounding
        whole = trained.groupby("epoch")["loss"].agg(["last", "size"])
        rows["train_loss"] = whole["last"].where(whole["size"] == 1, total)
        rows["learning_rate"] = trained.groupby("epoch")["learning_rate"].last()
    if "eval_loss" in table:
        evaluated = table.dropna(subset=["eval_loss"]).groupby("epoch").last()
        names = [name for name in HISTORY_COLUMNS if name in evaluated and name.startswith("eval_")]
        rows = rows.join(evaluated[names])
        rows["eval_part"] = rows["eval_loss"].notna().map({True: watched, False: None})
    return rows.reset_index().reindex(columns=HISTORY_COLUMNS)


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
