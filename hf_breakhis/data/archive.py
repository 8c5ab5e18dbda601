"""BreakHis as one file, .tar.gz, .tar or .zip: read once from front to end, never unpacked."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import datasets

from hf_breakhis.data.kaggle import check_folds_csv
from hf_breakhis.data.members import archive_form, walk_archive
from hf_breakhis.data.prepared import file_stamp, preparing
from hf_breakhis.data.tree import is_picture

_FEATURES = datasets.Features(
    {"image": datasets.Image(), "place": datasets.Value("string"), "table": datasets.Value("binary")}
)


def read_archive(path: Path) -> tuple[datasets.Dataset, list[str], list[str]]:
    """Return the images of an archive, their places in it, and what is odd about a `Folds.csv` among them.

    The PNG files are copied as they are into the datasets cache, once for each path, size and time of change.

    Raises:
        InputError: the archive is cut short, damaged or of another kind, holds no PNG, or holds a member that could
            do harm (see `walk_archive`); or the cache has no room.
    """
    archive_form(path)  # refuses other files before datasets makes a folder for them
    with preparing(str(path)):
        rows = datasets.Dataset.from_generator(
            _generate, features=_FEATURES, gen_kwargs={"path": str(path)}, fingerprint=file_stamp([path])
        )
    places = list(rows["place"])
    pictures = [row for row, place in enumerate(places) if is_picture(PurePosixPath(place).name)]
    tables = sorted(set(range(len(rows))) - set(pictures))
    findings = [text for row in tables for text in check_folds_csv(rows[row]["table"], f"{path}: {places[row]}")]
    # Tables stand last, so this is a slice of the file and copies nothing.
    return rows.select(pictures).select_columns("image"), [places[row] for row in pictures], findings


def _generate(path: str) -> Iterator[dict]:
    for place, content in walk_archive(Path(path)):
        name = PurePosixPath(place).name
        if is_picture(name):
            yield {"image": {"bytes": content, "path": name}, "place": place, "table": None}
        else:
            yield {"image": None, "place": place, "table": content}
