"""Replace or clear folders that the user names, if this package wrote them and every file in them."""

import contextlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hf_breakhis.files import InputError, cannot_write, require_writable, temporary

_ADVICE = "Give a new or an empty folder."
_PART_PREFIX, _PART_SUFFIX, _PART_LENGTH = ".", ".part", len(".0123abcd.part")


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that this package writes, and how to recognise it.

    Attributes:
        name: of the kind, for messages.
        names: patterns of the paths of its files; `*` does not match a slash, a final `**` matches everything below.
        marker: JSON file in the folder with `made_by`; empty if the folder is part of one that is recognised.
        is_marker: whether the content of the marker is ours, for a marker of another format.
    """

    name: str
    names: tuple[str, ...]
    marker: str = ""
    is_marker: Callable[[Path], bool] | None = None

    @property
    def made_by(self) -> str:
        """The value of `made_by` in the marker."""
        return f"hf_breakhis {self.name}"

    def recognises(self, folder: Path) -> bool:
        """Return whether `folder` contains the marker with our content."""
        path = folder / self.marker
        if path.is_symlink() or not path.is_file():
            return False
        if self.is_marker is not None:
            return self.is_marker(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(content, dict) and content.get("made_by") == self.made_by


def replace_folder(path: str | Path, fill: Callable[[Path], Any], kind: FolderKind) -> Path:
    """Let `fill` fill a temporary folder, then replace `path` by it.

    If `path` is a symbolic link to a folder, that folder is replaced and the link stays.

    Raises:
        InputError: `require_replaceable` refuses the folder, it cannot be written to, or the disk is full.
    """
    folder = require_replaceable(path, kind)
    files: list[str] = []
    folders: list[str] = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary(folder, folder=True) as part:
            fill(part)
            if not require_replaceable(path, kind).exists():  # it may have changed meanwhile
                os.replace(part, folder)
                return Path(path)
            files, folders = _contents(folder)
            old = part.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")  # a leftover after a kill
            os.rename(folder, old)
            try:
                os.replace(part, folder)
            except OSError:
                os.rename(old, folder)
                raise
    except OSError as error:
        raise cannot_write(Path(path), error) from error
    _delete(old, files, [*folders, ""], kind.marker)
    return Path(path)


def require_place(path: str | Path, kind: FolderKind) -> Path:
    """Refuse, before the work whose result it is for, a folder that `replace_folder` would refuse after it.

    Returns:
        The absolute path, without links.

    Raises:
        InputError: `require_replaceable` refuses the folder, or it cannot be written.
    """
    folder = require_replaceable(path, kind)
    require_writable(folder, folder=True)
    return folder


def clear_folder(path: str | Path, kind: FolderKind) -> None:
    """Delete the content of a folder, the marker last; the folder itself stays.

    Files near the top are deleted first, so that a killed command leaves no folder that looks finished.

    Raises:
        InputError: `require_replaceable` refuses the folder, or something cannot be deleted.
    """
    folder = require_replaceable(path, kind)
    if folder.exists():
        _delete(folder, *_contents(folder), kind.marker)


def require_replaceable(path: str | Path, kind: FolderKind) -> Path:
    """Return the absolute path, without links, of a folder that does not exist, is empty, or is of this kind.

    Raises:
        InputError: it is a file, the working directory, the home directory or a parent of either, contains a Git
            repository, has no marker of ours, or contains a file or a link that this package does not write.
    """
    try:
        folder = Path(path).resolve()
        if not folder.exists():
            return folder
        if not folder.is_dir():
            raise InputError(f"{path} is a file. {_ADVICE}")
        files, folders = _contents(folder)
    except (OSError, RuntimeError) as error:  # the latter for a loop of links
        raise InputError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}. {_ADVICE}") from error
    for name, place in _protected():
        if place.is_relative_to(folder):
            what = "is" if place == folder else "contains"
            raise InputError(f"{path} {what} the {name} directory, which is never replaced. {_ADVICE}")
    if any(name.split("/")[-1] == ".git" for name in (*files, *folders)):
        raise InputError(f"{path} contains a Git repository (.git), which is never replaced. {_ADVICE}")
    if not files and not folders:
        return folder
    if kind.marker and not kind.recognises(folder):
        article = "an" if kind.name[0].lower() in "aeiou" else "a"
        raise InputError(
            f"{path} is not empty and not {article} {kind.name} that hf-breakhis wrote "
            f"(no {kind.marker} of one). {_ADVICE}"
        )
    strange = [name for name in files if (folder / name).is_symlink() or not _matches(name, kind.names)]
    strange += [name for name in folders if not _matches(name, kind.names, as_folder=True)]
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise InputError(
            f"{path} contains files that hf-breakhis did not write: {', '.join(sorted(strange)[:3])}{more}. "
            "Move them, or give a new or an empty folder."
        )
    return folder


def _protected() -> list[tuple[str, Path]]:
    """Return the working directory and the home directory, if they exist."""
    places = []
    with contextlib.suppress(OSError):  # the working directory was deleted
        places.append(("working", Path.cwd().resolve()))
    home = Path(os.path.expanduser("~"))
    if home.is_absolute():
        places.append(("home", home.resolve()))
    return places


def _contents(folder: Path) -> tuple[list[str], list[str]]:
    """Return the relative paths of all files, with links, and of all folders."""
    files, folders, open_ones = [], [], [""]
    while open_ones:
        prefix = open_ones.pop()
        for entry in os.scandir(folder / prefix):
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                open_ones.append(f"{name}/")
            else:
                files.append(name)
    return files, folders


def _matches(name: str, patterns: tuple[str, ...], as_folder: bool = False) -> bool:
    parts = [_without_part(part) for part in name.split("/")]
    for pattern in patterns:
        wanted = pattern.split("/")
        if wanted[-1] == "**":
            wanted = wanted[:-1] + ["*"] * max(len(parts) - len(wanted) + 1, 1)
        if as_folder:
            wanted = wanted[: len(parts)] if len(wanted) > len(parts) or pattern.endswith("/**") else []
        if len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted)):
            return True
    return False


def _without_part(name: str) -> str:
    """Return NAME for the leftover `.NAME.xxxxxxxx.part` of a killed command, and any other name unchanged."""
    is_part = name.startswith(_PART_PREFIX) and name.endswith(_PART_SUFFIX) and len(name) > _PART_LENGTH + 1
    return name[1:-_PART_LENGTH] if is_part else name


def _delete(folder: Path, files: list[str], folders: list[str], marker: str) -> None:
    """Delete files, those near the top first and the marker last, then folders from the bottom up.

    Raises:
        InputError: a file or a folder cannot be deleted.
    """
    files = sorted(files, key=lambda name: (name == marker, name.count("/"), name))
    folders = sorted(folders, key=lambda name: (name.count("/"), name), reverse=True)
    for delete, names in ((os.unlink, files), (os.rmdir, folders)):
        for name in names:
            try:
                delete(folder / name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise InputError(
                    f"Cannot delete {folder / name}: {error.strerror or error}. Check its permissions, or delete "
                    f"{folder} yourself."
                ) from error
