"""One form for the images of every source: seven columns, read from the file names, and what is odd about them."""

import filecmp
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import datasets
import pyarrow as pa

from hf_breakhis.data.filenames import (
    CLASSES,
    MAGNIFICATIONS,
    TUMOR_TYPES,
    BreakHisName,
    contradicts,
    parse_file_name,
    part_of,
)
from hf_breakhis.data.groups import PART_COLUMN
from hf_breakhis.data.inventory import INVENTORY, expected_file_names
from hf_breakhis.data.open_image import EXTENSIONS, PILLOW_ERRORS
from hf_breakhis.data.sources.about import Source, find_source
from hf_breakhis.data.twin.twin import is_twin
from hf_breakhis.data.walk import normal_path
from hf_breakhis.files import InputError, counted, few

COLUMNS = ("image", "label", "tumor_type", "patient_id", "specimen_id", "magnification", "file_name")
ODD_PLACES = {
    "unnamed": "Left out, since not named as BreakHis images are",
    "unsupported": f"Left out, since not of an accepted format ({' '.join(EXTENSIONS)})",
    "outside": "Outside of the folder that has benign/ and malignant/, not used",
    "link": "Links to folders that are read already, not followed",
    "copy": "There more than once (one file of each image is used), left out",
    "misplaced": "In a folder that disagrees with the file name (the name is believed)",
    "surplus": "Not in the inventory of BreakHis, but used",
}
TARGETS = {"malignancy": CLASSES, "tumor_type": tuple(TUMOR_TYPES)}


@dataclass(frozen=True)
class Images:
    """The images of a run.

    Attributes:
        dataset: columns as `COLUMNS`, one row an image, sorted by file name. `image` holds the path (folder) or the
            bytes of the file (archive), never decoded; `patient_id`, `specimen_id`, `tumor_type` and `magnification`
            are None where a source does not know them.
        source: what the images are: "breakhis", "twin", another key of `SOURCES`, or a Hub id.
        location: the folder or archive they were read from.
        warnings: sentences that belong into every report of these images.
        findings: what is odd about the files, though they can be used.
        places: all places behind the findings of `ODD_PLACES`, and "other": files that are no images.
        stamp: path, size and time of an archive in short; empty for a folder, whose files have their own.
        revision: the commit of a data set from the Hub, None for other sources.
        has_files: whether there are pixels; else only feature vectors.
    """

    dataset: datasets.Dataset
    source: str
    location: str
    warnings: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    stamp: str = ""
    places: Mapping[str, list[str]] = field(default_factory=dict)
    revision: str | None = None
    has_files: bool = True

    @property
    def about(self) -> Source:
        """What is known about the source. The names of images that BreakHis does not have are not public."""
        source = find_source(self.source)
        return replace(source, names_are_public=source.names_are_public and not self.places.get("surplus"))

    @property
    def cautions(self) -> list[str]:
        """The warnings, after the fact that all images are generated where they are."""
        text = (
            f"All {len(self.dataset):,} images are generated (synthetic twin). Scores say nothing about real tissue."
        )
        return [text, *self.warnings] if self.about.is_generated else self.warnings

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return tuple(self.dataset.features["label"].names)


def names_of(places: Iterable[str]) -> list[str]:
    """Return the last part of each place."""
    return [place.replace(os.sep, "/").rpartition("/")[2] for place in places]


def placeless(sentences: Iterable[str], location: str) -> list[str]:
    """Return sentences with paths relative to `location`: they go into cards, and a user's folders do not.

    Args:
        sentences: findings and warnings.
        location: see `Images`; a relative one tells nothing of the machine and stays.
    """
    if not os.path.isabs(location) or len(PurePosixPath(location).parts) < 2:
        return list(sentences)
    short = PurePosixPath(location).name
    found = list(sentences)
    for place in {location, normal_path(location)}:
        found = [text.replace(f"{place}/", "").replace(place, short) for text in found]
    return found


def arrange(
    images: datasets.Dataset,
    places: Sequence[str],
    location: str,
    stamp: str = "",
    unused: Mapping[str, list[str]] | None = None,
) -> Images:
    """Give images their seven columns, from the file names alone.

    Args:
        images: one column, `image`.
        places: where each image was found: a path, or a member of an archive.
        location: what the user gave.
        stamp: see `Images`.
        unused: places of other files, by kind (see `walk`).

    Raises:
        InputError: two images have one name, or none has that of a BreakHis image.
    """
    places = [normal_path(place) for place in places]
    folders = [_folders(place, location) for place in places]
    columns, odd, names = _read_names(places, folders, _SameImage(images))
    odd |= unused or {}
    file_names = columns["file_name"]
    chosen = [row for row, name in enumerate(file_names) if name]
    if not chosen:
        raise InputError(
            f"No file in {location} is named as BreakHis images are. Give BreakHis, or class folders with "
            "dataset=imagefolder."
        )
    text = datasets.Value("string")
    warnings = _warn_of_places(places, folders, names, set(odd["misplaced"]))
    parts = [None if name is None else part_of(above) for name, above in zip(names, folders, strict=True)]
    if any(parts):
        columns[PART_COLUMN] = parts
        warnings.append(suggested_split(parts))
    features = {"label": datasets.ClassLabel(names=list(CLASSES))} | dict.fromkeys(list(columns)[1:], text)
    added = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    order = sorted(chosen, key=file_names.__getitem__)
    dataset = in_order(datasets.concatenate_datasets([images, added], axis=1), order)
    file_names = [file_names[row] for row in order]
    odd["surplus"] = sorted(set(file_names) - set(expected_file_names()))
    findings = tell(odd)
    if _is_generated(dataset):
        return Images(dataset, "twin", location, warnings, findings, stamp, odd)
    return Images(dataset, "breakhis", location, warnings, findings, stamp, odd)


def in_order(images: datasets.Dataset, order: Sequence[int] | datasets.table.Table | None) -> datasets.Dataset:
    """Return the rows of `COLUMNS` in this order, as an index over a table that stays as it is.

    Args:
        images: has `COLUMNS`, and `PART_COLUMN` where folders suggest a split.
        order: rows of `images`, None for all as they are; a table of one column is taken without a look at its rows.
    """
    if order is not None and not isinstance(order, datasets.table.Table):
        # Rows behind an index are fetched one by one, each a piece of its own, so there is none where it does nothing.
        is_whole = len(order) == len(images) and all(row == number for number, row in enumerate(order))
        order = None if is_whole else datasets.table.InMemoryTable(pa.table({"order": pa.array(order, pa.uint64())}))
    # With decode=True datasets would open the images itself, in any format that Pillow knows.
    kept = [*COLUMNS, *([PART_COLUMN] if PART_COLUMN in images.column_names else [])]
    chosen = images.select_columns(kept).cast_column("image", datasets.Image(decode=False))
    return datasets.Dataset(chosen.data, info=chosen.info, indices_table=order)


def suggested_split(parts: Iterable[str | None]) -> str:
    """Return the sentence about a split that folders suggest, given the part of each image."""
    counts = Counter(parts)
    sizes = ", ".join(f"{counts[part]:,} {part}" for part in ("train", "validation", "test") if counts[part])
    return f"The folders suggest a split ({sizes}); it is used only with split_by=folders."


def _folders(place: str, location: str) -> list[str]:
    """Return the folders of a normal place from `location` on; those above belong to the user's machine."""
    return place.removeprefix(f"{normal_path(location)}/").split("/")[:-1]


class _SameImage:
    """Tells whether two rows hold the same file, by its bytes."""

    def __init__(self, images: datasets.Dataset) -> None:
        self.images = images.cast_column("image", datasets.Image(decode=False))

    def __call__(self, first: int, second: int) -> bool:
        one, other = self.images[first]["image"], self.images[second]["image"]
        if one["bytes"] is not None or other["bytes"] is not None:
            result: bool = one["bytes"] == other["bytes"]
            return result
        try:
            return filecmp.cmp(one["path"], other["path"], shallow=False)
        except OSError:
            return False


def _read_names(
    places: Sequence[str], folders: Sequence[Sequence[str]], is_same: Callable[[int, int], bool]
) -> tuple[dict[str, list[Any]], dict[str, list[str]], list[BreakHisName | None]]:
    """Return the six columns after the image, odd places, and the name of each row that is used.

    Rows that are not used hold None. Of files of one name, a PNG is used before copies in other formats, and one of
    several equal files. Equal texts are one object: of a hundred thousand images, the lists are pointers.

    Raises:
        InputError: two different images have one name.
    """
    odd: dict[str, list[str]] = {"unnamed": [], "copy": [], "misplaced": []}
    names: list[BreakHisName | None] = [None] * len(places)
    rows: dict[str, int] = {}
    for row, place in enumerate(places):
        try:
            name = parse_file_name(place.rpartition("/")[2])
        except InputError:
            odd["unnamed"].append(place)
            continue
        before = rows.get(str(name))
        if before is not None:
            is_png, was_png = (places[one].lower().endswith(".png") for one in (row, before))
            if is_png == was_png and not is_same(before, row):
                raise _twice(places, str(name))
            odd["copy"].append(places[before] if is_png and not was_png else place)
            if was_png or not is_png:
                continue
            names[before] = None
        rows[str(name)], names[row] = row, name
    odd["misplaced"] = [
        place for place, above, name in zip(places, folders, names, strict=True) if name and contradicts(above, name)
    ]
    shared: dict[str, str] = {}
    columns: dict[str, list[Any]] = {"label": [name and name.label for name in names]}
    for kind in COLUMNS[2:-1]:
        values = [name and getattr(name, kind) for name in names]
        columns[kind] = [value and shared.setdefault(value, value) for value in values]
    columns["file_name"] = [name and str(name) for name in names]
    return columns, odd, names


def _warn_of_places(
    places: Sequence[str], folders: Sequence[Sequence[str]], names: Sequence[BreakHisName | None], misplaced: set[str]
) -> list[str]:
    """Say how many images lie elsewhere than in the official archive, and how many are copies in another format."""
    found = [(place, above, name) for place, above, name in zip(places, folders, names, strict=True) if name]
    # From the folder of the class down; what the user gave may begin further down.
    elsewhere = [
        place
        for place, above, name in found
        if list(above[-5:]) != name.path.split("/")[-6:-1][-max(1, len(above)) :] and place not in misplaced
    ]
    other = [place for place, _, _ in found if not place.lower().endswith(".png")]
    warnings = []
    if elsewhere:
        some = f"{counted(len(elsewhere), 'image')} ({few(names_of(elsewhere))})"
        warnings.append(
            f"Not where the official archive has them: {some}. "
            "Class, patient and magnification are taken from the file names."
        )
    if other:
        some = f"{counted(len(other), 'image')} ({few(names_of(other))})"
        warnings.append(f"Copies in another format than PNG: {some}. Their pixels may differ from the originals.")
    return warnings


def _twice(places: Sequence[str], name: str) -> InputError:
    """Name two places of an image."""
    stem = name.removesuffix(".png")
    first, second = [place for place in places if place.rpartition("/")[2].rpartition(".")[0] == stem][:2]
    return InputError(
        f"Two different images are named {name}: {first} and {second}; delete or rename one of each such pair."
    )


def public_findings(images: Images) -> list[str]:
    """Return the findings as a run and a card hold them: odd places are counted, since folders may name people."""
    counted = {
        named: f"{ODD_PLACES[kind]}: {len(places):,}."
        for kind, places in images.places.items()
        if places and kind in ODD_PLACES
        for named in tell({kind: places})
    }
    return [counted.get(text, text) for text in images.findings]


def tell(places: Mapping[str, Sequence[str]]) -> list[str]:
    """Turn odd places into sentences, one a kind."""
    return [f"{sentence}: {few(places[kind])}." for kind, sentence in ODD_PLACES.items() if places.get(kind)]


def _is_generated(dataset: datasets.Dataset) -> bool:
    """Look for the mark of the twin at the first image that opens; the integrity check looks at all."""
    for row in dataset.select(range(min(len(dataset), 8))):
        try:
            return is_twin(row["image"]["bytes"] or row["image"]["path"])
        except PILLOW_ERRORS:
            continue  # the integrity check names it
    return False


@cache
def _expected_patients(magnifications: frozenset[str]) -> dict[str, str]:
    """Return the patient of each image of BreakHis at these magnifications, by file name."""
    names = (name for folder in INVENTORY for name in folder.names() if name.magnification in magnifications)
    return {str(name): name.patient_id for name in names}


def warn_of_subset(file_names: Iterable[str], magnifications: Sequence[str]) -> list[str]:
    """Say how much of BreakHis is here, and which slide folders miss most."""
    expected = _expected_patients(frozenset(magnifications))
    missing = expected.keys() - set(file_names)
    if not missing:
        return []
    gaps = Counter(expected[name] for name in missing)
    worst = [f"{patient} ({gaps[patient]})" for patient in sorted(gaps, key=lambda patient: (-gaps[patient], patient))]
    folders = set(expected.values())
    present = {expected[name] for name in expected.keys() - missing}
    at = "" if len(magnifications) == len(MAGNIFICATIONS) else f" at {', '.join(magnifications)}"
    return [
        f"{len(expected) - len(missing):,} of {len(expected):,} images of BreakHis{at} are here, from {len(present)} "
        f"of {len(folders)} slide folders; missing most: {few(worst)}."
    ]
