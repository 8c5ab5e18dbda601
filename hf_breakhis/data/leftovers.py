"""Half-written folders: whoever writes one holds it, so that what a killed process left can be told and deleted."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system: nothing is deleted
    fcntl = None  # type: ignore[assignment]


@contextmanager
def writing(part: Path) -> Iterator[None]:
    """Hold a half-written folder; the system lets go of it when this process ends, however that happens."""
    descriptor = _hold(part)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Delete what killed writers of `path` left beside it: `.NAME.xxxxxxxx.part`, and nobody holds it."""
    path = path.resolve()
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.part")
    with suppress(OSError):
        for part in path.parent.iterdir():
            if pattern.fullmatch(part.name) and part.is_dir() and not part.is_symlink():
                descriptor = _hold(part)
                if descriptor is not None:
                    shutil.rmtree(part, ignore_errors=True)
                    os.close(descriptor)


def _hold(folder: Path) -> int | None:
    """Return an open descriptor that holds a folder until it is closed; None if another process does, or none can."""
    if fcntl is None:
        return None
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
        else:
            return descriptor
    return None
