"""BreakHis as one file, .tar.gz, .tar or .zip: read once from front to end, never unpacked."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import datasets

from hf_breakhis.data.images import Images, arrange
from hf_breakhis.data.sources.arranged import arrange_once
from hf_breakhis.data.sources.breakhis_folder import is_other_picture, is_picture
from hf_breakhis.data.sources.datasets_cache import file_stamp, preparing
from hf_breakhis.data.sources.kaggle import FOLDS_CSV, check_folds_csv
from hf_breakhis.data.sources.members import archive_form, walk_archive

_FEATURES = datasets.Features(
    {"image": datasets.Image(decode=False), "place": datasets.Value("string"), "table": datasets.Value("binary")}
)


def load_archive(path: Path) -> Images:
    """Read the images of an archive, and what is odd about a `Folds.csv` among them.

    The PNG files are copied as they are into the datasets cache, once for each path, size and time of change.

    Raises:
        InputError: the archive is cut short, damaged or of another kind, holds no PNG, or holds a member that could
            do harm (see `walk_archive`); or the cache has no room; or as `arrange`.
    """
    archive_form(path)  # refuses other files before datasets makes a folder for them
    stamp = file_stamp([path])
    with preparing(str(path)):
        rows = datasets.Dataset.from_generator(
            _generate, features=_FEATURES, gen_kwargs={"path": str(path)}, fingerprint=stamp
        )

    def make() -> Images:
        places = list(rows["place"])
        names = [PurePosixPath(place).name for place in places]
        number = sum(map(is_picture, names))  # what is no PNG stands last
        others = [place for place, name in zip(places[number:], names[number:], strict=True) if name != FOLDS_CSV]
        pictures = rows.select_columns("image").select(range(number))
        images = arrange(pictures, places[:number], str(path), stamp, others)
        tables = [row for row in range(number, len(rows)) if names[row] == FOLDS_CSV]
        for row in tables:
            images.findings.extend(check_folds_csv(rows[row]["table"], f"{path}: {places[row]}"))
        return images

    return arrange_once(str(path), ("archive",), lambda: file_stamp([path]), make, rows, stamp)


def _generate(path: str) -> Iterator[dict]:
    for place, content in walk_archive(Path(path), is_listed=is_other_picture):
        name = PurePosixPath(place).name
        if is_picture(name):
            yield {"image": {"bytes": content, "path": name}, "place": place, "table": None}
        else:
            yield {"image": None, "place": place, "table": content}
