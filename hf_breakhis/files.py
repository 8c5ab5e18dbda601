"""Writing files completely or not at all, their checksums, and the error for bad input."""

import contextlib
import difflib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import fcntl
except ImportError:  # without such locks leftovers are not removed
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:  # `--help` waits for no pandas
    import pandas as pd

MAX_NAME = 120  # the time to compare names grows with the square of their length
MAX_MESSAGE = 4000
MAX_REASON = 200
_ESCAPES = "backslashreplace"  # for bytes of file names that are not UTF-8


class InputError(ValueError):
    """Input of the user that cannot be used.

    The message is one line: what is wrong, what is allowed, what to do. The command line prints it and exits with
    code 2. Every other exception keeps its traceback, since it is a bug of this package.

    Messages repeat text from files, so control characters are escaped and long texts are cut here.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def require_kind(given: Any, kinds: type | tuple[type, ...], takes: str, remedy: str) -> None:
    """Raise for an argument of another kind, which notebooks do not check: "TAKES, not GIVEN; give REMEDY."

    Args:
        given: the argument.
        kinds: the kinds that it may have.
        takes: what is allowed, such as "cross_validate takes a recipe".
        remedy: what to write.

    Raises:
        InputError: it has none of these kinds.
    """
    if not isinstance(given, kinds):
        shown = repr(str(given)[:60]) if isinstance(given, str | Path) else type(given).__name__
        raise InputError(f"{takes}, not {shown}; give {remedy}.")


def as_folder(given: Any) -> Path:
    """Return the folder of a run as a path.

    Raises:
        InputError: it is no path.
    """
    require_kind(given, (str, os.PathLike), "A run is given by its folder", "the folder that `train` wrote")
    return Path(given)


def printable(text: str) -> str:
    """Return `text` as one line of at most `MAX_MESSAGE` characters, with unprintable characters escaped."""
    short = text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in short)


def few(names: Sequence[str], limit: int = 3) -> str:
    """Return "a, b, c and 4 more"."""
    more = len(names) - limit
    return ", ".join(map(printable, names[:limit])) + (f" and {more:,} more" if more > 0 else "")


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return "1 image" or "2,000 images"."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def reason_of(error: BaseException, first_line: bool = False) -> str:
    """Return the message of an error without its full stop; its class if it has none.

    Args:
        error: of a library.
        first_line: leave out the other lines, which are advice; otherwise they are joined to it.

    Returns:
        One line of up to 200 letters. Of a longer one the last words are left out, shown as [...].
    """
    lines = str(error).strip().splitlines()[: 1 if first_line else None]
    text = " ".join(" ".join(lines).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON].rpartition(' ')[0]} [...]".lstrip()


def nearest(name: str, known: Sequence[str]) -> str:
    """Return ' Did you mean ...?' with the known name most similar to `name`, or an empty text."""
    near = nearest_name(name, known)
    return f" Did you mean `{near}`?" if near else ""


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """Return the known name most similar to `name`, whatever the case of its letters.

    None if none is similar, or if `name` is too long.
    """
    text = str(name)
    folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(text.casefold(), list(folded), n=1) if len(text) <= MAX_NAME else []
    return folded[near[0]] if near else None


def expand_home(text: str) -> str:
    """Return a path with a leading `~` replaced by the home directory.

    Raises:
        InputError: there is no home directory.
    """
    if text != "~" and not text.startswith("~/"):
        return text
    expanded = os.path.expanduser(text)
    if not os.path.isabs(expanded):
        raise InputError(f"{text} is in the home directory, but HOME is not set. Give the full path, or set HOME.")
    return expanded


def write_whole(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` fill a temporary file next to `path`, then rename it to `path`.

    Raises:
        InputError: the folder cannot be written to, or the disk is full; `path` is then unchanged.
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
    """Create a file or a folder `.NAME.xxxxxxxx.part` next to `path`, and remove it at the end if it still exists.

    It is locked while it is written. The system releases the lock when the process ends, so leftovers of killed
    processes can be recognised, and are removed first.
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
    """Remove every `.NAME.xxxxxxxx.part` next to `path` that is not locked by a process."""
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
        # another process removed the new file before it was locked


def _lock(part: Path) -> int | None:
    """Return an open descriptor that locks `part`; None if the system does not support such locks."""
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
    """Write `text` as UTF-8, with escapes for bytes of file names that are not UTF-8."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8", errors=_ESCAPES))


def write_json(path: str | Path, value: Any) -> Path:
    """Write what `json_text` returns."""
    return write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return `value` as indented JSON; NaN and infinities become null, since JSON has neither."""
    return json.dumps(_plain(value), indent=2, allow_nan=False) + "\n"


def write_csv(path: str | Path, table: "pd.DataFrame") -> Path:
    """Write what `csv_text` returns."""
    return write_text(path, csv_text(table))


def csv_text(table: "pd.DataFrame") -> str:
    """Return `table` as CSV without its index; floats are written exactly."""
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file does not exist, cannot be read, or is not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"No file {path}.") from error
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror}. Check the permissions, or give another file."
        ) from error
    except (ValueError, RecursionError) as error:  # not JSON, or numbers and nesting beyond the limits of Python
        raise InputError(f"{path} is not JSON ({error}). Delete it and run the command again.") from error


def require_writable(path: str | Path, folder: bool = False) -> None:
    """Refuse a file, or a folder, that cannot be written, before the work whose result it is for.

    Raises:
        InputError: states the reason.
    """
    path = Path(path)
    parent = next(place for place in path.parents if os.path.lexists(place))
    try:
        if path.is_dir() and not folder:
            raise IsADirectoryError
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> InputError:
    """Return the error for a file or folder that cannot be written."""
    file = next((place for place in path.parents if os.path.isfile(place)), None)
    if file is not None:
        return InputError(f"Cannot write {path}: {file} is a file, not a folder. Give another place.")
    if isinstance(error, IsADirectoryError):
        return InputError(f"Cannot write {path}, which is a folder. Give the name of a file.")
    reason = error.strerror or str(error)
    cache = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    if Path(path).is_relative_to(cache):
        return InputError(f"Cannot write {path}: {reason}. Free some space, or set HF_HOME to another folder.")
    return InputError(
        f"Cannot write {path}: {reason}. Check the permissions and the free space, or give another place."
    )


def cannot_read(path: str | Path, error: OSError, remedy: str) -> InputError:
    """Return an error with the remedy, which is another one for a file that only lacks a permission."""
    remedy = "check its permissions" if isinstance(error, PermissionError) else remedy
    return InputError(f"Cannot read {path} ({error.strerror or error}); {remedy}.")


def checksum(path: Path) -> str:
    """Return the sha256 of a file, or raise InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing. Restore it, or train again with --restart.") from error
    except OSError as error:
        raise cannot_read(path, error, "restore it, or train again with --restart") from error


def checksum_of_text(text: str) -> str:
    """Return the sha256 of the file that `write_text` writes."""
    return hashlib.sha256(text.encode("utf-8", _ESCAPES)).hexdigest()


def changed_files(folder: Path, sums: dict[str, str]) -> list[str]:
    """Return the names of the files in `folder` that are missing or differ from their sha256."""
    paths = {name: folder / name for name in sums}
    missing = [f"{name} (missing)" for name, path in paths.items() if not path.is_file()]
    return missing + [name for name, path in paths.items() if path.is_file() and checksum(path) != sums[name]]


def _plain(value: Any) -> Any:
    # JSON has no numpy scalars and arrays
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
