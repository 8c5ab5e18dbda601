"""Stopping gently: SIGTERM and Ctrl-C let the step at hand end and its checkpoint be written."""

import signal
import sys
import threading
import time
from typing import Any

import torch
from transformers import TrainerCallback

# A launcher passes a Ctrl-C on to processes that the terminal has told already; a person repeats it later.
ECHO_SECONDS = 3.0


class StoppedError(Exception):
    """A run was asked to stop and can be continued.

    Attributes:
        code: exit code, 128 and the number of the signal.
    """

    def __init__(self, signal_number: int) -> None:
        """Keep the signal's number."""
        super().__init__(f"stopped by signal {signal_number}")
        self.code = 128 + signal_number


class StopRequest:
    """While it is open, the first SIGTERM or Ctrl-C is remembered, and another one acts as it always does."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        """Nothing is requested yet."""
        self.signal_number: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Take over the signals; Python allows it in the main thread only."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the signals back."""
        while self._before:
            signal.signal(*self._before.popitem())

    def raise_if_requested(self) -> None:
        """Raise `StoppedError` after a signal."""
        if self.signal_number is not None:
            raise StoppedError(self.signal_number)

    def _receive(self, number: int, frame: Any) -> None:
        if self.signal_number is None:
            self.signal_number, self._since = number, time.monotonic()
            sys.stderr.write("\nstopping after this step, with a checkpoint; once more stops at once.\n")
        elif time.monotonic() - self._since > ECHO_SECONDS:
            self.__exit__()
            signal.raise_signal(number)


class StopAtStep(TrainerCallback):
    """End training after the step in which a stop was requested in any process, and save it."""

    def __init__(self, request: StopRequest) -> None:
        """Keep where requests arrive."""
        self.request = request

    def on_step_end(self, args, state, control, **kwargs: Any) -> None:
        """Save and stop on request; log before each save, so that a resumed epoch's loss is not lost."""
        number = self.request.signal_number or 0
        if args.world_size > 1:  # a signal reaches the processes in different steps; all have to stop after the same
            agreed = torch.tensor([number], device=args.device)
            torch.distributed.all_reduce(agreed, op=torch.distributed.ReduceOp.MAX)
            number = int(agreed)
        if number:
            self.request.signal_number = number
            control.should_training_stop = True
            # The last step of an epoch is saved after the evaluation that belongs to it: a plateau counts it.
            control.should_save |= not _at_end_of_epoch(state)
        control.should_log |= control.should_save

    def on_epoch_end(self, args, state, control, **kwargs: Any) -> None:
        """Evaluate and save at the end of an epoch; the Trainer comes here in the middle of one too."""
        if self.request.signal_number is not None and control.should_training_stop:
            ended = _at_end_of_epoch(state)
            control.should_evaluate &= ended
            control.should_save = control.should_log = ended


def _at_end_of_epoch(state: Any) -> bool:
    return abs(state.epoch - round(state.epoch)) < 1e-6
