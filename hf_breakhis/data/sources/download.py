"""BreaKHis_v1.tar.gz from its authors, fetched once and compared with the inventory."""

from pathlib import Path, PurePosixPath

from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.data.sources.archive import walk_archive
from hf_breakhis.data.sources.fetch import fetch
from hf_breakhis.data.walk import IMAGE, kind_of
from hf_breakhis.files import InputError, few

URL = "http://www.inf.ufpr.br/vri/databases/BreaKHis_v1.tar.gz"


def download_breakhis(folder: Path, url: str | None = None) -> Path:
    """Return BreaKHis_v1.tar.gz in `folder`, fetched and checked if it is not there.

    Raises:
        InputError: as `fetch`, or what was fetched is not BreakHis.
    """
    return fetch(url or URL, folder / "BreaKHis_v1.tar.gz", require_breakhis)


def require_breakhis(path: Path) -> None:
    """Read an archive to its end and compare its file names with the inventory.

    Raises:
        InputError: it is damaged, or an image is missing or too many.
    """
    places = [PurePosixPath(place).name for place, _ in walk_archive(path)]
    found, expected = {name for name in places if kind_of(name) == IMAGE}, set(expected_file_names())
    for kind, names in (("misses", sorted(expected - found)), ("has besides", sorted(found - expected))):
        if names:
            count = f"{len(names):,} image{'s' * (len(names) > 1)}"
            raise InputError(f"The archive {path} is not BreakHis: it {kind} {count}, {few(names)}.")
