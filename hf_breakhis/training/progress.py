"""Progress of a fold: bars on a terminal, one line per epoch everywhere."""

import sys
from collections.abc import Callable
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback

SHOWN = {"loss": "train loss", "eval_loss": "loss", "eval_accuracy": "accuracy", "eval_roc_auc": "AUC"}


def say(message: str) -> None:
    """Write one line to the terminal, from one process."""
    if PartialState().is_main_process:
        print(message, file=sys.stderr, flush=True)  # noqa: T201


def epoch_line(title: str, state: Any, logs: dict[str, float]) -> str:
    """Return one line with the numbers of a training epoch or of an evaluation; empty where there are none."""
    numbers = [f"{text} {logs[key]:.4f}" for key, text in SHOWN.items() if logs.get(key) is not None]
    speed = logs.get("eval_samples_per_second")
    tail = f", {speed:.0f} images/s" if speed else ""
    return f"{title}, epoch {state.epoch:g} of {state.num_train_epochs}: {', '.join(numbers)}{tail}" if numbers else ""


class PlainLines(TrainerCallback):
    """One line per epoch where the output is no terminal and bars would fill a log."""

    def __init__(self, title: str, write: Callable[[str], Any] | None = None) -> None:
        """Keep the title that begins each line, such as "fold 1 of 3"."""
        self.title = title
        self.write = write or sys.stderr.write  # of now, not of when this was imported

    def on_log(self, args, state, control, logs=None, **kwargs: Any) -> None:
        """Write the numbers of a training epoch or of an evaluation."""
        line = epoch_line(self.title, state, logs)
        if line and state.is_world_process_zero:
            self.write(f"{line}\n")


class TitledBars(ProgressCallback):
    """The Trainer's bars, with the fold's name before them and the same lines as a log has above them."""

    def __init__(self, title: str) -> None:
        """Keep the title, such as "fold 1 of 3"."""
        super().__init__()
        self.title = title

    def on_train_begin(self, args, state, control, **kwargs: Any) -> None:
        """Open the bar of the fold's updates."""
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(f"{self.title}, training")
            self.training_bar.unit = "step"

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs: Any) -> None:
        """Open the bar of a part's batches, or move it on."""
        opened = self.prediction_bar is None
        super().on_prediction_step(args, state, control, eval_dataloader=eval_dataloader, **kwargs)
        if opened and self.prediction_bar is not None:
            self.prediction_bar.set_description(f"{self.title}, predicting")
            self.prediction_bar.unit = "batch"
            self.prediction_bar.leave = False

    def on_log(self, args, state, control, logs=None, **kwargs: Any) -> None:
        """Write one line above the bar."""
        line = epoch_line(self.title, state, logs)
        if line and self.training_bar is not None:
            self.training_bar.write(line)
