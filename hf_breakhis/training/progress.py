"""Progress of a fold: progress bars in a terminal, one line per epoch, and the learning curve in its file."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from accelerate import PartialState
from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback

from hf_breakhis.run_fields import HISTORY_COLUMNS

SHOWN = {"loss": "train loss", "eval_loss": "loss", "eval_accuracy": "accuracy", "eval_roc_auc": "AUC"}


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
