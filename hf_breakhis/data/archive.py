"""BreakHis as BreaKHis_v1.tar.gz: read once from front to end, never unpacked."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import datasets
from tqdm import tqdm

from hf_breakhis.data.tree import is_picture, is_text
from hf_breakhis.files import InputError

MAX_IMAGE_BYTES = 64 * 2**20
FORMAT = 1  # raised whenever the same archive would be copied otherwise
_FEATURES = datasets.Features({"image": datasets.Image(), "place": datasets.Value("string")})


def read_archive(path: Path) -> tuple[datasets.Dataset, list[str]]:
    """Return the images of an archive and their places in it.

    The PNG files are copied as they are into the datasets cache, once for each path, size and time of change.

    Raises:
        InputError: the archive is cut short or damaged, is no .tar.gz, holds no PNG, or holds a member that could
            write outside of a folder; or the cache has no room.
    """
    _require_gzip(path)
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # ours knows the length of the archive
    try:
        images = datasets.Dataset.from_generator(
            _generate, features=_FEATURES, gen_kwargs={"path": str(path)}, fingerprint=archive_stamp(path)
        )
    except datasets.exceptions.DatasetGenerationError as error:
        raise _reason(error, path) from error
    except OSError as error:
        raise _no_room(error) from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    return images.select_columns("image"), list(images["place"])


def archive_stamp(path: Path) -> str:
    """Return a name for the archive as it is now: its path, size and time of change."""
    state = path.stat()
    return hashlib.sha256(f"{FORMAT}|{path.resolve()}|{state.st_size}|{state.st_mtime_ns}".encode()).hexdigest()[:16]


def walk_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield place and content of every PNG in the archive, in its order.

    Raises:
        InputError: as `read_archive`, save for the cache.
    """
    count = 0
    try:
        with (
            tqdm(total=path.stat().st_size, desc="Reading archive", unit="B", unit_scale=True, disable=None) as bar,
            path.open("rb") as raw,
            gzip.GzipFile(fileobj=raw) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|") as archive,
        ):
            for member in archive:
                _require_harmless(member, path)
                if member.isfile() and is_picture(PurePosixPath(member.name).name):
                    content = archive.extractfile(member)
                    count += 1
                    yield member.name, content.read() if content else b""
                bar.update(raw.tell() - bar.n)
            # Only the end of the gzip stream proves that nothing is missing: a cut between members looks whole to tar.
            while unpacked.read(2**20):
                pass
    except (EOFError, tarfile.TarError, OSError, zlib.error) as error:
        raise InputError(
            f"The archive {path} is cut short or damaged ({error}); fetch it again and compare its length."
        ) from error
    if not count:
        raise InputError(f"The archive {path} holds no PNG image; give the official BreaKHis_v1.tar.gz.")


def _generate(path: str) -> Iterator[dict]:
    for place, content in walk_archive(Path(path)):
        yield {"image": {"bytes": content, "path": PurePosixPath(place).name}, "place": place}


def _require_gzip(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            start = stream.read(2)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Give yourself rights there.") from error
    if start != b"\x1f\x8b":
        what = "empty" if not start else "not a .tar.gz archive"
        raise InputError(f"The file {path} is {what}; give the official BreaKHis_v1.tar.gz, or its unpacked folder.")


def _require_harmless(member: tarfile.TarInfo, path: Path) -> None:
    """Refuse what could reach outside: nothing is unpacked here, but such an archive is not the official one."""
    place = PurePosixPath(member.name)
    windows = PureWindowsPath(member.name)
    if place.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        what = "leaves the archive"
    elif not (member.isfile() or member.isdir()):
        what = "is a link or a device"
    elif not is_text(member.name):
        what = "has a name that is not UTF-8"
    elif member.size > MAX_IMAGE_BYTES and is_picture(place.name):
        what = f"is larger than {MAX_IMAGE_BYTES // 2**20} MiB"
    else:
        return
    raise InputError(f"Member {member.name!r} of {path} {what}; use the official BreaKHis_v1.tar.gz.")


def _reason(error: BaseException, path: Path) -> Exception:
    """Find what went wrong beneath the error in which datasets wraps it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return InputError(str(cause))
        if isinstance(cause, OSError):
            return _no_room(cause)
        cause = cause.__cause__ or cause.__context__
    return RuntimeError(f"datasets could not read {path}")


def _no_room(error: OSError) -> InputError:
    return InputError(
        f"Cannot write to the datasets cache {datasets.config.HF_DATASETS_CACHE}: {error.strerror or error}. "
        "Make room or rights there, or set HF_DATASETS_CACHE to another folder."
    )
