"""Locks, so that one process at a time trains a fold; a second run on the same folder is refused."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from hf_breakhis.data.sources.datasets_cache import cache_folder
from hf_breakhis.files import InputError

# The system releases it when its process ends, also after a kill.
NAME = ".lock"


class HeldError(InputError):
    """Another process trains here."""


@contextmanager
def preparing(run: Path) -> Iterator[None]:
    """Let one process at a time compare and write the recipe of a run; the others wait."""
    name = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:16]
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):  # outside the run, since --restart would delete it while others wait
        yield


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of a fold; all processes of one run share it.

    Raises:
        HeldError: another run holds it.
        InputError: the folder cannot be written.
    """
    state = PartialState()
    lock = FileLock(folder / NAME)
    refusal = [_acquire(lock, folder) if state.is_main_process else None]
    if state.num_processes > 1:
        broadcast_object_list(refusal)
    if refusal[0] is not None:
        raise refusal[0]
    try:
        yield
    finally:
        if state.is_main_process:
            lock.release()
            (folder / NAME).unlink(missing_ok=True)


def require_free(run: Path) -> None:
    """Refuse to restart a run while one of its folds is being trained.

    Raises:
        InputError: names the fold.
    """
    for path in sorted(run.rglob(NAME)):
        lock = FileLock(path)
        refusal = _acquire(lock, path.parent)
        if refusal is not None:
            raise refusal
        lock.release()


def _acquire(lock: FileLock, folder: Path) -> InputError | None:
    """Take the lock; return the error if another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        what = f"{folder} is being trained by another process."
        return HeldError(f"{what} Wait for it to end, or give another --output_dir.")
    except OSError as error:
        reason = f"Cannot write {folder}: {error.strerror}."
        return InputError(f"{reason} Check the permissions, or give another --output_dir.")
    return None
