"""Checksums of files, to detect changed or replaced files."""

import hashlib
from pathlib import Path

from hf_breakhis.files import InputError


def checksum(path: Path) -> str:
    """Return the sha256 of a file, or raise InputError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing. Restore it, or train again with --restart.") from error
    except OSError as error:
        raise InputError(
            f"Cannot read {path} ({error.strerror or error}). Restore it, or train again with --restart."
        ) from error


def changed_files(folder: Path, sums: dict[str, str]) -> list[str]:
    """Return the names of the files in `folder` that are missing or differ from their sha256."""
    paths = {name: folder / name for name in sums}
    missing = [f"{name} (missing)" for name, path in paths.items() if not path.is_file()]
    return missing + [name for name, path in paths.items() if path.is_file() and checksum(path) != sums[name]]
