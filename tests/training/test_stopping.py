"""A run that is stopped saves its current step, and gives the same result after it is resumed."""

import os
import signal
import time

import pytest

from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.stopping import StoppedError, StopRequest

# a plateau counts evaluations, so one too many shows
PLATEAU = {"scheduler_name": "plateau", "scheduler_kwargs": {"patience": 0, "factor": 0.5}, "num_train_epochs": 4}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, recipe):
    """A run that nobody stopped: 2 folds of 4 epochs of 5 updates."""
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    assert cross_validate(recipe(folder, **PLATEAU))
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [3, 5, 20])
def test_a_stopped_run_resumes_to_the_same_result(
    step, number, uninterrupted, tmp_path, signal_in_update, recipe, same_run
):
    """In the middle of an epoch, in its last update, and in the last update of all."""
    folder = tmp_path / "stopped"
    with signal_in_update(step, number), pytest.raises(StoppedError) as stopped:
        cross_validate(recipe(folder, **PLATEAU))
    assert stopped.value.code == 128 + number
    assert (folder / "fold-0" / "checkpoints" / f"checkpoint-{step}").is_dir()
    assert cross_validate(recipe(folder, **PLATEAU))
    same_run(folder, uninterrupted)


def test_workers_change_nothing_of_a_stopped_run(uninterrupted, tmp_path, signal_in_update, recipe, same_run):
    folder = tmp_path / "workers"
    with signal_in_update(7), pytest.raises(StoppedError):
        cross_validate(recipe(folder, **PLATEAU, dataloader_num_workers=2))
    assert cross_validate(recipe(folder, **PLATEAU, dataloader_num_workers=1))
    same_run(folder, uninterrupted)


def test_signals_are_given_back(tmp_path):
    before = [signal.getsignal(number) for number in StopRequest.SIGNALS]
    with StopRequest() as stop:
        assert signal.getsignal(signal.SIGTERM) not in before
        stop.raise_if_requested()
    assert [signal.getsignal(number) for number in StopRequest.SIGNALS] == before


def test_a_second_signal_stops_at_once_but_an_echo_does_not(monkeypatch, request):
    # a shell starts its background jobs with Ctrl-C ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # what a launcher passes on
        assert stop.signal_number == signal.SIGINT
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 60)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
