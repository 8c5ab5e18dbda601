"""What is settled before a command starts: output streams and their encoding, file names, the home directory."""

import contextlib
import logging
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_breakhis.files import InputError, expand_home

READER_GONE = 141  # as a shell reports a command that SIGPIPE ended
_HELP = {"-h", "--help", "--help_all", "--help-all", "--version"}


def prepare_command(argv: Sequence[str]) -> list[str]:
    """Make output and file names safe for every command, and return `argv` as every command reads it.

    A leading `~/` is written out, and `--batch-size` is `--batch_size`.

    Raises:
        InputError: standard output is closed, Python runs without docstrings, the current folder is gone, file names
            are not read as UTF-8, or no home directory can hold caches.
    """
    _replace_closed_streams()
    _require_docstrings()
    state_encoding()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it keeps its own cache
    if not _HELP & set(argv):
        _require_current_folder()
        _require_utf8_names()
        if argv[:1] != ["doctor"]:  # which reports it among the other lines
            require_place_for_caches()
    end = argv.index("--") if "--" in argv else len(argv)  # after it, words are no flags
    return [_expanded(word) for word in argv[:end]] + [expand_home(word) for word in argv[end:]]


def state_encoding() -> None:
    """Write UTF-8 to files and pipes; a terminal keeps its encoding, and gets escapes for letters that it lacks."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a notebook's streams have none
        if reconfigure is not None and stream.isatty():
            reconfigure(errors="backslashreplace")
        elif reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def reader_is_gone() -> bool:
    """Return whether nobody reads standard output any more, as after `| head`."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def discard_output() -> None:
    """Send what is still buffered for standard output nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _replace_closed_streams() -> None:
    """Open what was closed (`>&-`): else the next file that is opened would take the place of standard output.

    Raises:
        InputError: standard output was closed, so that results would be lost.
    """
    is_closed = sys.stdout is None
    if is_closed or sys.stderr is None:
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
        sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (until the end)
        sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if is_closed:
        raise InputError("Standard output is closed. Redirect it to a file, or to /dev/null.")


def _require_docstrings() -> None:
    if sys.flags.optimize > 1:
        raise InputError(
            "Python runs without docstrings (-OO, or PYTHONOPTIMIZE=2), which transformers builds its classes from. "
            "Start it without that setting."
        )


def _require_current_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError("The current folder was deleted. Change to one that exists, for example cd ~.") from error


def _require_utf8_names() -> None:
    encoding = sys.getfilesystemencoding()
    if encoding.replace("-", "").lower() != "utf8":
        raise InputError(
            f"Python reads file names as {encoding} in this locale, so names with other letters cannot be used. Set "
            "PYTHONUTF8=1, or LC_ALL=C.UTF-8."
        )


def require_place_for_caches() -> None:
    """Refuse to run where the libraries would create a folder named `~`, or fail one after the other."""
    if os.environ.get("HF_HOME") or os.environ.get("XDG_CACHE_HOME"):
        return
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute():
        raise InputError(
            "There is no home directory: HOME is not set, and this user is not in the password database. Set HOME, or "
            "HF_HOME to a folder for caches."
        )
    place = next(
        place for place in (home / ".cache/huggingface", home / ".cache", home, *home.parents) if place.exists()
    )
    if not os.access(place, os.W_OK):
        raise InputError(f"{place} is not writable, so nothing can be cached. Set HF_HOME to a folder for caches.")


def _expanded(word: str) -> str:
    """Return a word of the command line as a shell would expand `~/`, which it does not after `--field=`."""
    if not word.startswith("--") or word in _HELP:
        return expand_home(word)
    flag, equals, value = word.partition("=")
    return f"--{flag[2:].replace('-', '_')}{equals}{expand_home(value)}"
