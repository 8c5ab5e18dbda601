"""Graceful stop: after SIGTERM or Ctrl-C the current step is finished and a checkpoint is saved."""

import signal
import sys
import threading
import time
from typing import Any

import torch
from transformers import TrainerCallback

# A launcher forwards a Ctrl-C that its processes also got from the terminal; within this time it is the same one.
ECHO_SECONDS = 3.0


class StoppedError(Exception):
    """A run was stopped by a signal and can be resumed.

    Attributes:
        code: exit code, 128 plus the number of the signal.
    """

    def __init__(self, signal_number: int) -> None:
        """Keep the signal's number."""
        super().__init__(f"stopped by signal {signal_number}")
        self.code = 128 + signal_number


class StopRequest:
    """Context manager that records the first SIGTERM or Ctrl-C; a second one has its usual effect."""

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        """Nothing is requested yet."""
        self.signal_number: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Install the signal handlers, which Python allows in the main thread only."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the previous signal handlers."""
        while self._before:
            signal.signal(*self._before.popitem())

    def raise_if_requested(self) -> None:
        """Raise `StoppedError` after a signal."""
        if self.signal_number is not None:
            raise StoppedError(self.signal_number)

    def _receive(self, number: int, frame: Any) -> None:
        if self.signal_number is None:
            self.signal_number, self._since = number, time.monotonic()
            sys.stderr.write("\nStopping after this step with a checkpoint. Press Ctrl-C again to stop now.\n")
        elif time.monotonic() - self._since > ECHO_SECONDS:
            self.__exit__()
            signal.raise_signal(number)


class StopAtStep(TrainerCallback):
    """Save a checkpoint and end training after the step in which any process got a stop request."""

    def __init__(self, request: StopRequest) -> None:
        """Keep the request."""
        self.request = request

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save and stop on request; log before each save, so that a resumed epoch's loss is not lost."""
        number = self.request.signal_number or 0
        if args.world_size > 1:  # a signal arrives in different steps, but all processes must stop after the same
            agreed = torch.tensor([number], device=args.device)
            torch.distributed.all_reduce(agreed, op=torch.distributed.ReduceOp.MAX)
            number = int(agreed)
        if number:
            self.request.signal_number = number
            control.should_training_stop = True
            # The last step of an epoch is saved after its evaluation, which a plateau schedule counts.
            control.should_save |= not _at_end_of_epoch(state)
        control.should_log |= control.should_save

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Evaluate and save at the end of an epoch only; the Trainer also calls this when it stops within one."""
        if self.request.signal_number is not None and control.should_training_stop:
            ended = _at_end_of_epoch(state)
            control.should_evaluate &= ended
            control.should_save = control.should_log = ended


def _at_end_of_epoch(state: Any) -> bool:
    result: bool = abs(state.epoch - round(state.epoch)) < 1e-6
    return result
