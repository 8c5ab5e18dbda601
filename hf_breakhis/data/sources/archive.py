"""BreakHis as one .tar.gz, .tar or .zip file: read once from front to end, and nothing is unpacked."""

import contextlib
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

import datasets
from tqdm import tqdm

from hf_breakhis.data.images import Images, arrange
from hf_breakhis.data.sources.breakhis_folder import FOLDS_CSV, check_folds_csv
from hf_breakhis.data.sources.datasets_cache import file_stamp, preparing_images
from hf_breakhis.data.walk import IMAGE, OTHER, UNSUPPORTED, is_text, kind_of, normal_path
from hf_breakhis.files import InputError

MAX_MEMBER_BYTES = 64 * 2**20
MAX_TOTAL_BYTES = 32 * 2**30  # BreakHis has 4
MAX_MEMBERS = 500_000  # BreakHis has 7,909 images; an empty member costs memory too
MAX_DIRECTORY_BYTES = 2**26  # of the list of members in a zip, which is read at once
MAX_HEADER_BYTES = 2**20
_BLOCK = 512
_DAMAGES = (
    # The modules of Python read the numbers in a header as they stand, and stumble over what is none.
    *(EOFError, OSError, ValueError, LookupError, OverflowError, RuntimeError, struct.error),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_FORMS = "BreaKHis_v1.tar.gz (also .tar or .zip)"
_FORMAT = 2  # raised whenever other rows are made of the same archive
_FEATURES = datasets.Features(
    {"image": datasets.Image(decode=False), "place": datasets.Value("string"), "table": datasets.Value("binary")}
)


def load_archive(path: Path) -> Images:
    """Read the images of an archive, and what is odd about a `Folds.csv` among them.

    The image files are copied as they are into the datasets cache, once for each path, size and time of change.

    Raises:
        InputError: the archive is cut short, damaged or of another kind, holds no image, or holds a member that could
            do harm (see `walk_archive`); or the cache has no room; or as `arrange`.
    """
    archive_form(path)  # refuses other files before datasets makes a folder for them
    stamp = file_stamp([path])
    with preparing_images(str(path)):
        rows = datasets.Dataset.from_generator(
            _generate, features=_FEATURES, gen_kwargs={"path": str(path)}, fingerprint=f"{stamp}-{_FORMAT}"
        )
    places = list(rows["place"])
    names = [PurePosixPath(place).name for place in places]
    kinds = [kind_of(name) for name in names]
    number = kinds.count(IMAGE)  # all else stands last
    unused: dict[str, list[str]] = {UNSUPPORTED: [], OTHER: []}
    for place, kind in zip(places[number:], kinds[number:], strict=True):
        unused[kind].append(place)
    pictures = rows.select_columns("image").select(range(number))
    images = arrange(pictures, places[:number], str(path), stamp, unused)
    tables = [row for row in range(number, len(rows)) if names[row] == FOLDS_CSV]
    for row in tables:
        images.findings.extend(check_folds_csv(rows[row]["table"], f"{path}: {places[row]}"))
    return images


def _generate(path: str) -> Iterator[dict[str, Any]]:
    for place, content in walk_archive(Path(path), is_listed=lambda name: kind_of(name) != IMAGE):
        name = PurePosixPath(place).name
        if kind_of(name) == IMAGE:
            yield {"image": {"bytes": content, "path": name}, "place": place, "table": None}
        else:
            yield {"image": None, "place": place, "table": content}


def archive_form(path: Path) -> str:
    """Return "tar.gz", "tar" or "zip", by what the file holds and not by its name.

    Raises:
        InputError: it is none of them, is empty, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(_BLOCK)
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Check the permissions.") from error
    if start.startswith(b"\x1f\x8b"):
        return "tar.gz"
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if start[257:262] == b"ustar":
        return "tar"
    if not start:
        what = "empty"
    elif is_web_page(start):
        what = "a web page, not an archive"
    else:
        what = "not a .tar.gz, .tar or .zip archive"
    raise InputError(f"The file {path} is {what}; give the official {_FORMS}, or its unpacked folder.")


def is_web_page(start: bytes) -> bool:
    """Tell whether a file that starts so is HTML."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def walk_archive(
    path: Path,
    is_wanted: Callable[[str], bool] = lambda name: kind_of(name) == IMAGE or name == FOLDS_CSV,
    is_listed: Callable[[str], bool] = lambda name: False,
) -> Iterator[tuple[str, bytes]]:
    """Yield place and content of every image in the archive, in its order, and of a `Folds.csv` at the end.

    Args:
        path: the archive.
        is_wanted: says by the name of a file, without folders, whether to yield it.
        is_listed: says so of what is to be yielded at the end, without its content.

    Raises:
        InputError: the archive is cut short, damaged, encrypted or of another kind, holds nothing wanted, or holds a
            member that could write outside of a folder or would fill memory or disk.
    """
    walk = _walk_zip if archive_form(path) == "zip" else _walk_tar
    pictures, tables = 0, []
    try:
        for place, content in walk(path, is_wanted, is_listed):
            name = PurePosixPath(place).name
            if name == FOLDS_CSV or is_listed(name):
                tables.append((place, content))
            else:
                pictures += 1
                yield place, content
    except InputError:
        raise
    except _DAMAGES as error:
        raise InputError(
            f"The archive {path} is cut short or damaged ({error}); fetch it again and compare its length."
        ) from error
    if not pictures:
        raise InputError(f"The archive {path} holds no image; give the official {_FORMS}.")
    yield from tables


class _Metered:
    """A stream that gives at most `left` bytes more, so that no header makes tarfile read gigabytes into memory."""

    def __init__(self, stream: gzip.GzipFile | IO[bytes], path: Path) -> None:
        self.stream, self.path, self.left = stream, path, MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise InputError(f"The archive {self.path} holds an oversized header or tail; use the official {_FORMS}.")
        return content


def _walk_tar(
    path: Path, is_wanted: Callable[[str], bool], is_listed: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Yield place and content of each wanted member of a tar archive, read from front to end."""
    packed = archive_form(path) == "tar.gz"
    if not packed:
        _require_end(path)
    total = 0
    with (
        _bar(path.stat().st_size) as bar,
        path.open("rb") as raw,
        gzip.GzipFile(fileobj=raw) if packed else contextlib.nullcontext(raw) as unpacked,
    ):
        metered = _Metered(unpacked, path)
        with tarfile.open(fileobj=metered, mode="r|") as archive:  # type: ignore[call-overload]
            for number, member in enumerate(iter(archive.next, None), start=1):
                archive.members.clear()  # else it keeps all of them
                _require_few(number, path)
                _require_inside(member.name, path)
                if not (member.isfile() or member.isdir()):
                    raise _refuse(member.name, path, "is a link or a device")
                total += member.size
                _require_small(member.name, member.size, total, path, is_wanted)
                metered.left = member.size + MAX_HEADER_BYTES
                place = normal_path(member.name)
                if member.isfile() and is_wanted(PurePosixPath(place).name):
                    content = archive.extractfile(member)
                    yield place, content.read() if content else b""
                elif member.isfile() and is_listed(PurePosixPath(place).name):
                    yield place, b""
                bar.update(raw.tell() - bar.n)
            # Only the end of the gzip stream proves that nothing is missing: a cut between members looks whole to tar.
            while metered.read(2**16):
                pass
        bar.update(raw.tell() - bar.n)


class _ZipStream(io.FileIO):
    """A zip file that refuses to read more at once than the list of its members may have."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise InputError(
                f"The archive {self.path} has a list of members of {size:,} bytes, more than {MAX_DIRECTORY_BYTES:,}. "
                f"Unpack it and give the folder, or use the official {_FORMS}."
            )
        return super().read(-1 if size is None else size)


def _walk_zip(
    path: Path, is_wanted: Callable[[str], bool], is_listed: Callable[[str], bool]
) -> Iterator[tuple[str, bytes]]:
    """Yield place and content of each wanted member of a zip archive; each has a checksum."""
    with _ZipStream(path) as stream, zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        _require_few(len(members), path)
        total = 0
        for member in members:
            _require_inside(member.orig_filename, path)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refuse(member.filename, path, "is a link or a device")
            if member.flag_bits & 1:
                raise _refuse(member.filename, path, "is encrypted")
            total += member.file_size
            _require_small(member.filename, member.file_size, total, path, is_wanted)
        with _bar(sum(member.compress_size for member in members)) as bar:
            for member in members:
                place = normal_path(member.filename)
                is_file = not place.endswith("/")
                if is_file and is_wanted(PurePosixPath(place).name):
                    yield place, _read(archive, member, path)
                elif is_file and is_listed(PurePosixPath(place).name):
                    yield place, b""
                bar.update(member.compress_size)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bytes:
    try:
        return archive.read(member)
    except NotImplementedError as error:  # undamaged, but zipfile does not know its compression or its encryption
        raise _refuse(member.filename, path, f"cannot be read ({error})") from error


def _bar(total: int) -> "tqdm[Any]":
    return tqdm(total=total, desc="Reading archive", unit="B", unit_scale=True, disable=None)


def _require_end(path: Path) -> None:
    """Refuse a plain tar without the two empty blocks at its end: between two members a cut leaves no other trace.

    Raises:
        InputError: it ends otherwise.
    """
    with path.open("rb") as stream:
        stream.seek(-min(2 * _BLOCK, path.stat().st_size), 2)
        if stream.read().strip(b"\0"):
            raise InputError(
                f"The archive {path} is cut short (it has no end); fetch it again and compare its length."
            )


def _require_inside(name: str, path: Path) -> None:
    """Refuse what could reach outside: nothing is unpacked here, but such an archive is not the official one."""
    windows = PureWindowsPath(name)
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise _refuse(name, path, "leaves the archive")
    if not is_text(name):
        raise _refuse(name, path, "has a name that is not UTF-8")


def _require_few(number: int, path: Path) -> None:
    """Refuse an archive of more members than memory should hold."""
    if number > MAX_MEMBERS:
        raise InputError(
            f"The archive {path} has more than {MAX_MEMBERS:,} members. Unpack it and give the folder, or use the "
            f"official {_FORMS}."
        )


def _require_small(name: str, size: int, total: int, path: Path, is_wanted: Callable[[str], bool]) -> None:
    """Refuse a member that would not fit into memory, and an archive that would fill the disk."""
    if size < 0:
        raise _refuse(name, path, "has a size below zero")
    if size > MAX_MEMBER_BYTES and is_wanted(PurePosixPath(normal_path(name)).name):
        raise _refuse(name, path, f"is larger than {MAX_MEMBER_BYTES // 2**20} MiB")
    if total > MAX_TOTAL_BYTES:
        raise InputError(
            f"The archive {path} unpacks to more than {MAX_TOTAL_BYTES // 2**30} GiB; use the official {_FORMS}."
        )


def _refuse(name: str, path: Path, what: str) -> InputError:
    return InputError(f"Member {name!r} of {path} {what}; use the official {_FORMS}.")
