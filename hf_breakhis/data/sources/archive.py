"""BreakHis as one file, .tar.gz, .tar or .zip: read once from front to end, never unpacked."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import datasets

from hf_breakhis.data.images import Images, arrange
from hf_breakhis.data.sources.arranged import arrange_once
from hf_breakhis.data.sources.datasets_cache import file_stamp, preparing
from hf_breakhis.data.sources.kaggle import FOLDS_CSV, check_folds_csv
from hf_breakhis.data.sources.members import archive_form, walk_archive
from hf_breakhis.data.walk import IMAGE, OTHER, UNSUPPORTED, kind_of

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
    with preparing(str(path)):
        rows = datasets.Dataset.from_generator(
            _generate, features=_FEATURES, gen_kwargs={"path": str(path)}, fingerprint=f"{stamp}-{_FORMAT}"
        )

    def make() -> Images:
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

    return arrange_once(str(path), ("archive",), lambda: file_stamp([path]), make, rows, stamp)


def _generate(path: str) -> Iterator[dict[str, Any]]:
    for place, content in walk_archive(Path(path), is_listed=lambda name: kind_of(name) != IMAGE):
        name = PurePosixPath(place).name
        if kind_of(name) == IMAGE:
            yield {"image": {"bytes": content, "path": name}, "place": place, "table": None}
        else:
            yield {"image": None, "place": place, "table": content}
