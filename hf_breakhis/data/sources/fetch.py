"""Fetch one big archive: resumed after a cut, whole or not there, by one process at a time.

`http_get` of huggingface_hub resumes too, but without If-Range, ETag or length: it appends the bytes of a file that
has changed on the server (`test_a_file_that_changes_in_the_middle_is_fetched_anew` fails with it).
"""

import contextlib
import http.client
import logging
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from hf_breakhis.data.sources.archive import is_web_page
from hf_breakhis.files import InputError, read_json, write_json

STALL_SECONDS = 60.0  # without a byte
TRIES = 5  # in a row that brought less than PROGRESS_BYTES
PROGRESS_BYTES = 2**20
RESTARTS = 3
PAUSE_SECONDS = 1.0  # before the second try, then doubled
MAX_PAUSE_SECONDS = 60.0
SPARE_BYTES = 2**28  # left free on the disk
MAX_DIGITS = 15
_CHUNK = 2**16
_GZIP = b"\x1f\x8b"
_CUTS = (OSError, http.client.HTTPException)
_INSTEAD = "or fetch BreaKHis_v1.tar.gz by other means and give --data_dir"


@dataclass(frozen=True)
class Version:
    """What a server says about the file it sends: enough to know it again."""

    url: str
    length: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """Return what `If-Range` takes; a weak ETag is not enough for bytes."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class _CutError(Exception):
    """The connection ended before the file did; the next try goes on from here."""


class _ChangedError(Exception):
    """What is on the disk is no beginning of what the server has now; the next try begins anew."""


def fetch(url: str, path: Path, check: Callable[[Path], None]) -> Path:
    """Fetch `url` to `path`, unless it is there; of several processes one fetches and the others wait.

    What was fetched before a cut is kept beside `path`, and the next call goes on from there, if the server still has
    the same file. `path` appears when its length is that of the server's file and `check` has passed.

    Args:
        url: http or https.
        path: where to.
        check: raises InputError for a file that is not the one wanted.

    Raises:
        InputError: the server refuses, stalls or changes the file again and again, the content is something else, or
            the folder cannot be written to or has no room.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logging.getLogger(__name__).warning("Waiting for another process, which is fetching %s.", path)
            lock.acquire()
        try:
            if not path.is_file():
                _Fetch(url, path, check).run()
        finally:
            lock.release()
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}. Free some space, check the permissions, or give another "
            "folder."
        ) from error
    return path


class _Fetch:
    """One file on its way: the part on the disk and what is known about it."""

    def __init__(self, url: str, path: Path, check: Callable[[Path], None]) -> None:
        self.url, self.path, self.check = url, path, check
        self.part = path.with_name(f"{path.name}.part")
        self.about = path.with_name(f"{path.name}.part.json")
        self.version = self._recall()

    def run(self) -> None:
        """Fetch until the part is whole, check it, and rename it."""
        tries, restarts, best = 0, 0, self.offset
        while True:
            try:
                more = f", try {tries + 1}" if tries else ""
                with tqdm(
                    desc=f"Downloading{more}", unit="B", unit_scale=True, unit_divisor=1024, disable=None
                ) as bar:
                    self._request(bar)
                break
            except _ChangedError as error:
                self._forget()
                restarts += 1
                reason, wait = str(error), 0.0
            except _CutError as error:
                reason, wait = str(error), _wait_asked(error.__cause__)
            # Only what was never reached before counts, so a server that begins anew each time has an end too.
            tries = 1 if self.offset >= best + PROGRESS_BYTES else tries + 1
            best = max(best, self.offset)
            if tries >= TRIES or restarts >= RESTARTS:
                kept = f"{self.offset:,} bytes are kept, and the same command goes on from there; " * bool(self.offset)
                raise InputError(f"Cannot fetch {self.url}: {reason}. {kept}try again later, {_INSTEAD}.")
            time.sleep(min(max(wait, PAUSE_SECONDS * 2 ** (tries - 1)), MAX_PAUSE_SECONDS))
        self._finish()

    @property
    def offset(self) -> int:
        """Return how many bytes are on the disk."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def _request(self, bar: "tqdm[Any]") -> None:
        """Ask for what is missing and write what comes.

        Raises:
            _CutError: some of it is still missing.
            _ChangedError: the part on the disk is of no use.
            InputError: the server refuses, or sends a page of text.
        """
        offset = self.offset
        if offset and offset == self.version.length:
            return
        headers = {"User-Agent": "hf_breakhis", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self.version.validator:
                headers["If-Range"] = self.version.validator
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 (only ever an address of ours)
        try:
            answer = urllib.request.urlopen(request, timeout=STALL_SECONDS)  # noqa: S310
        except urllib.error.HTTPError as error:
            self._refused(error, offset)
            return
        except TimeoutError as error:
            raise _CutError(f"the server sent nothing for {STALL_SECONDS:g} seconds") from error
        except urllib.error.URLError as error:
            raise _CutError(f"the server cannot be reached ({error.reason})") from error
        except _CUTS as error:
            raise _CutError(f"the connection broke ({error!r})") from error
        with answer:
            self._receive(answer, offset, bar)

    def _refused(self, error: urllib.error.HTTPError, offset: int) -> None:
        """Turn an answer that is no success into what to do next."""
        with error:
            if error.code == 416 and offset:
                if (error.headers["Content-Range"] or "").replace(" ", "") == f"bytes*/{offset}":
                    return  # nothing is missing: the length given before was wrong
                raise _ChangedError("the server's file is shorter than what was fetched before") from error
            if error.code in (408, 425, 429) or error.code >= 500:
                raise _CutError(f"the server answers {error.code} {error.reason}") from error
            raise InputError(
                f"Cannot fetch {self.url}: the server answers {error.code} {error.reason}; look for the archive's "
                f"new address on the BreakHis page of the Federal University of Parana, {_INSTEAD}."
            ) from error

    def _receive(self, answer: http.client.HTTPResponse, offset: int, bar: "tqdm[Any]") -> None:
        """Write the body of an answer behind what is there, or anew if it is the whole file."""
        length = _number(answer.headers["Content-Length"])
        if answer.status == 206:
            start, total = _read_range(answer.headers["Content-Range"])
            if start != offset or not self._is_same(total, answer.headers["ETag"]):
                raise _ChangedError("the server's file has changed since a part of it was fetched")
            if length is not None and total is not None and start + length != total:
                raise _CutError("the server contradicts itself about the length")
        else:
            if offset:
                self._forget()
            offset, total = 0, length
            self.version = Version(self.url, total, answer.headers["ETag"], answer.headers["Last-Modified"])
        self._require_room(total, offset)
        chunk = _read(answer)
        if not offset:
            self._require_archive(chunk, answer)
            write_json(self.about, asdict(self.version))
        bar.total, bar.n, bar.initial = total, offset, offset
        bar.refresh()
        with self.part.open("ab") as stream:
            while chunk:
                stream.write(chunk)
                bar.update(len(chunk))
                chunk = _read(answer)
        if total is not None and self.offset < total:
            raise _CutError(f"the server broke off after {self.offset:,} of {total:,} bytes")

    def _is_same(self, total: int | None, etag: str | None) -> bool:
        """Tell whether length and ETag are those of the version on the disk, as far as both are known."""
        known = ((self.version.length, total), (self.version.etag, etag))
        return all(before == now for before, now in known if before is not None and now is not None)

    def _require_room(self, total: int | None, offset: int) -> None:
        need = (total or 0) - offset + SPARE_BYTES
        free = shutil.disk_usage(self.path.parent).free
        if free < need:
            raise InputError(
                f"{self.path.parent} has {free / 2**30:.1f} GiB free, but {need / 2**30:.1f} GiB are needed for "
                f"{self.path.name}; make room, or give another folder."
            )

    def _require_archive(self, start: bytes, answer: http.client.HTTPResponse) -> None:
        """Refuse a page of text in place of the archive, before gigabytes of it are fetched."""
        if not _GZIP.startswith(start[:2]):
            what = "a web page" if is_web_page(start) else answer.headers["Content-Type"] or "something else"
            raise InputError(f"{answer.url} gives {what}, not a .tar.gz archive; try again later, {_INSTEAD}.")

    def _finish(self) -> None:
        """Check what was fetched and give it its name; what is wrong is deleted, since no resuming mends it."""
        try:
            self.check(self.part)
        except InputError as error:
            self._forget()
            reason = str(error).replace(str(self.part), self.url)
            raise InputError(f"What {self.url} gave is not usable and was deleted: {reason}") from error
        os.replace(self.part, self.path)
        self.about.unlink(missing_ok=True)

    def _recall(self) -> Version:
        """Return which version the part on the disk is of; a part of unknown origin is deleted."""
        if self.part.is_file() and self.about.is_file():
            with contextlib.suppress(InputError, TypeError):
                version = Version(**read_json(self.about))
                if version.url == self.url:
                    return version
        self._forget()
        return Version(self.url)

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)
        self.version = Version(self.url)


def _read(answer: http.client.HTTPResponse) -> bytes:
    """Read the next bytes as they come; an error of the connection is a cut, one of the disk is not."""
    try:
        return answer.read1(_CHUNK)
    except TimeoutError as error:
        raise _CutError(f"the server sent nothing for {STALL_SECONDS:g} seconds") from error
    except _CUTS as error:
        raise _CutError(f"the connection broke ({error!r})") from error


def _read_range(text: str | None) -> tuple[int, int | None]:
    """Return start and total of "bytes 5-9/10"; start -1 when it cannot be read."""
    match = re.fullmatch(r"\s*bytes\s+(\d+)-\d+/(\d+|\*)\s*", text or "")
    start = _number(match[1]) if match else None
    return (-1, None) if match is None or start is None else (start, _number(match[2]))


def _number(text: str | None) -> int | None:
    """Return a number that a server sent; one of more digits than any file has bytes counts as not sent."""
    digits = (text or "").strip()
    return int(digits) if digits.isdecimal() and len(digits) <= MAX_DIGITS else None


def _wait_asked(error: BaseException | None) -> float:
    """Return the seconds that the server asks to wait."""
    if isinstance(error, urllib.error.HTTPError):
        return float(_number(error.headers.get("Retry-After")) or 0)
    return 0.0
