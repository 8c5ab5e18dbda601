"""Rows that datasets copies into its cache once: when they are the same rows, and what to say when it fails."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow as pa

from hf_breakhis.files import InputError, reason_of

FORMAT = 3  # raised whenever the same files would be copied otherwise


def cache_folder() -> Path:
    """Return the folder of this package in the datasets cache."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "hf_breakhis"


def recall(path: Path, schema: pa.Schema) -> pa.Table:
    """Return an Arrow file of this folder, mapped and not read; a damaged one, or one of another schema, is empty."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid):
        return schema.empty_table()
    return table if table.schema.equals(schema) else schema.empty_table()


def file_stamp(paths: Sequence[Path]) -> str:
    """Return a name for files as they are now: their paths, sizes and times of change."""
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(f"{FORMAT}|{states}".encode()).hexdigest()[:16]


@contextmanager
def preparing_images(place: str, quiet: bool = True) -> Iterator[None]:
    """Tell in one line what went wrong, and not also in the log; if `quiet`, without bars, which know no end here.

    Raises:
        InputError: `place` cannot be used, or the cache has no room.
    """
    shown, verbosity = not datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if quiet:
        datasets.disable_progress_bars()
    try:
        yield
    except datasets.exceptions.DatasetGenerationError as error:
        raise _reason(error, place) from error
    except pa.ArrowInvalid as error:
        raise _damaged(place, error) from error
    except OSError as error:
        raise _refuse(place, error) from error
    finally:
        datasets.logging.set_verbosity(verbosity)
        if shown:
            datasets.enable_progress_bars()


def _reason(error: BaseException, place: str) -> Exception:
    """Find what went wrong beneath the error in which datasets wraps it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return InputError(str(cause))
        if isinstance(cause, OSError):
            return _refuse(place, cause)
        if isinstance(cause, pa.ArrowException | datasets.table.CastError):
            return _damaged(place, cause)
        cause = cause.__cause__ or cause.__context__
    return RuntimeError(f"datasets could not read {place}")


def _damaged(place: str, error: BaseException) -> InputError:
    return InputError(f"{place} is damaged or cut short ({reason_of(error)}); fetch it again.")


def _refuse(place: str, error: OSError) -> InputError:
    if error.errno is None:  # of Arrow, about what it read; the system gives its errors a number
        return _damaged(place, error)
    return InputError(
        f"Cannot write to the datasets cache {datasets.config.HF_DATASETS_CACHE}: {error.strerror or error}. "
        "Free some space, check the permissions, or set HF_DATASETS_CACHE to another folder."
    )
