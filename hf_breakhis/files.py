"""Files that are whole or not there, and the one error for what a user gave."""

import contextlib
import difflib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import fcntl
except ImportError:  # a system without such locks: leftovers are not removed
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:  # `--help` waits for no pandas
    import pandas as pd

MAX_NAME = 120  # comparing takes the square of the length
MAX_MESSAGE = 4000  # a list of a thousand names is no message


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line: what was given, what is allowed, what to do. The command line prints it and ends with
    exit code 2; every other exception keeps its traceback, because it is a fault of this package.

    A message often repeats what came from outside, so whatever would break the line or drive a terminal is escaped
    here, and what is longer than any line is cut.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Return `text` in one line of at most `MAX_MESSAGE` letters, with whatever does not print as an escape."""
    short = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in short)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return ' Did you mean ...?' for the known name nearest to `name`, or nothing."""
    near = nearest_name(name, known)
    return f" Did you mean `{near}`?" if near else ""


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that is most like `name`; None where none is, or where `name` is longer than any name."""
    text = str(name)
    near = difflib.get_close_matches(text, list(known), n=1) if len(text) <= MAX_NAME else []
    return near[0] if near else None


def expand_home(text: str) -> str:
    """Return a path with the home directory in place of a leading `~`.

    Raises:
        InputError: there is no home directory.
    """
    if text != "~" and not text.startswith("~/"):
        return text
    expanded = os.path.expanduser(text)
    if not os.path.isabs(expanded):
        raise InputError(f"{text} names the home directory, but HOME is not set. Give the whole path, or set HOME.")
    return expanded


def write_whole(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` fill a temporary file next to `path`, then rename it to `path`.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; `path` is then as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary(path) as part:
            write(part)
            os.replace(part, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    return path


@contextlib.contextmanager
def temporary(path: Path, folder: bool = False) -> Iterator[Path]:
    """Create a file or a folder `.NAME.xxxxxxxx.part` next to `path`, and remove it at the end if it is still there.

    It is locked while it is written. The system releases the lock when the process ends, so what killed processes left
    under the same name can be recognised, and is removed first.
    """
    remove_leftovers(path)
    part, lock = _new_part(path, folder)
    try:
        yield part
    finally:
        _remove(part)
        if lock is not None:
            os.close(lock)


def remove_leftovers(path: Path) -> None:
    """Remove each `.NAME.xxxxxxxx.part` next to `path` that no process has locked."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
    with contextlib.suppress(OSError):  # no such folder, or no permission to list it
        for part in [entry for entry in os.scandir(path.parent) if pattern.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):  # another process has locked it
                lock = None if part.is_symlink() else _lock(Path(part))
                if lock is not None:
                    _remove(Path(part))
                    os.close(lock)


def _new_part(path: Path, folder: bool) -> tuple[Path, int | None]:
    while True:
        part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        if folder:
            part.mkdir()
        else:
            part.touch(exist_ok=False)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):
            lock = _lock(part)
            if part.exists():
                return part, lock
            if lock is not None:
                os.close(lock)
        # another process took the new part for a leftover, in the moment before it was locked


def _lock(part: Path) -> int | None:
    """Return an open descriptor that locks `part`; None where the system or the file system has no such locks."""
    if fcntl is None:
        return None
    descriptor = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return descriptor


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8; bytes of a file name that are not UTF-8 are written as escapes."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"))


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as indented JSON; a NaN or an infinity becomes null, since JSON has neither."""
    return write_text(path, json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def write_csv(path: str | Path, table: "pd.DataFrame") -> Path:
    """Write `table` without its index; floats read back equal."""
    return write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: there is no such file, it cannot be read, or it is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"No file {path}.") from error
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror}. Give another file, or yourself rights there."
        ) from error
    except (ValueError, RecursionError) as error:  # no JSON, or numbers and depths beyond Python's limits
        raise InputError(f"{path} is not JSON ({error}). Delete it and run the command again.") from error


def cannot_write(path: Path, error: OSError) -> InputError:
    """Return the error for a file or folder that the system does not let us write."""
    reason = error.strerror or str(error)
    cache = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    if Path(path).is_relative_to(cache):
        return InputError(f"Cannot write {path}: {reason}. Free some space, or set HF_HOME to another folder.")
    return InputError(f"Cannot write {path}: {reason}. Check the permissions and the free space there.")


def _plain(value: Any) -> Any:
    """Return `value` in types that JSON has: numpy scalars and arrays become numbers and lists."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
