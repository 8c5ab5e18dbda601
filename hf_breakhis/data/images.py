"""One form for the images of every source: seven columns, read from the file names, and what is odd about them."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import datasets
import pyarrow as pa

from hf_breakhis.data.filenames import CLASSES, MAGNIFICATIONS, TUMOR_TYPES, parse_file_name
from hf_breakhis.data.groups import PART_COLUMN
from hf_breakhis.data.inventory import INVENTORY, expected_file_names
from hf_breakhis.data.open_image import PILLOW_ERRORS
from hf_breakhis.data.sources.about import Source, find_source
from hf_breakhis.data.twin.twin import is_twin
from hf_breakhis.files import InputError, printable

COLUMNS = ("image", "label", "tumor_type", "patient_id", "specimen_id", "magnification", "file_name")
ODD_PLACES = {
    "unnamed": "Left out, since not named as BreakHis images are",
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
        places: all places behind three of the findings: "unnamed" (left out), "misplaced", "surplus" (used).
        stamp: path, size and time of an archive in short; empty for a folder, whose files have their own.
        revision: the commit of a data set from the Hub, None for other sources.
        is_unchanged: tells whether the files still are as they were when they were listed; None if nobody looks.
    """

    dataset: datasets.Dataset
    source: str
    location: str
    warnings: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    stamp: str = ""
    places: Mapping[str, list[str]] = field(default_factory=dict)
    revision: str | None = None
    is_unchanged: Callable[[], bool] | None = field(default=None, repr=False, compare=False)

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


def few(names: Sequence[str], limit: int = 3) -> str:
    """Return "a, b, c and 4 more"."""
    more = len(names) - limit
    return ", ".join(map(printable, names[:limit])) + (f" and {more:,} more" if more > 0 else "")


def placeless(sentences: Iterable[str], location: str) -> list[str]:
    """Return sentences with places told from `location` on: they go into cards, and a user's folders do not.

    Args:
        sentences: findings and warnings.
        location: see `Images`; a relative one tells nothing of the machine and stays.
    """
    if not os.path.isabs(location) or len(PurePosixPath(location).parts) < 2:
        return list(sentences)
    short = PurePosixPath(location).name
    return [text.replace(f"{location}/", "").replace(location, short) for text in sentences]


def arrange(
    images: datasets.Dataset,
    places: Sequence[str],
    location: str,
    stamp: str = "",
    others: Sequence[str] = (),
) -> Images:
    """Give images their seven columns, from the file names alone.

    Args:
        images: one column, `image`.
        places: where each image was found: a path, or a member of an archive.
        location: what the user gave.
        stamp: see `Images`.
        others: where pictures were found that are no PNG, and so none of BreakHis.

    Raises:
        InputError: a name is there twice, or none is that of a BreakHis image.
    """
    columns, odd = _read_names(places)
    odd["unnamed"].extend(others)
    file_names = columns["file_name"]
    chosen = [row for row, name in enumerate(file_names) if name]
    if not chosen:
        raise InputError(
            f"No file in {location} is named as BreakHis images are. Give BreakHis, or class folders with "
            "dataset=imagefolder."
        )
    text = datasets.Value("string")
    features = {"label": datasets.ClassLabel(names=list(CLASSES))} | dict.fromkeys(COLUMNS[2:], text)
    told = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    order = sorted(chosen, key=file_names.__getitem__)
    dataset = in_order(datasets.concatenate_datasets([images, told], axis=1), order)
    file_names = [file_names[row] for row in order]
    odd["surplus"] = sorted(set(file_names) - set(expected_file_names()))
    findings = tell(odd)
    if _is_generated(dataset):
        return Images(dataset, "twin", location, [], findings, stamp, odd)
    return Images(dataset, "breakhis", location, [], findings, stamp, odd)


def in_order(
    images: datasets.Dataset, order: Sequence[int] | datasets.table.Table | None, name: str | None = None
) -> datasets.Dataset:
    """Return the rows of `COLUMNS` in this order, as an index over a table that stays as it is.

    Args:
        images: has `COLUMNS`, and `PART_COLUMN` where folders suggest a split.
        order: rows of `images`, None for all as they are; a table of one column is taken without a look at its rows.
        name: the fingerprint of the result; by default datasets finds one.
    """
    if order is not None and not isinstance(order, datasets.table.Table):
        # Rows behind an index are fetched one by one, each a piece of its own, so there is none where it does nothing.
        is_whole = len(order) == len(images) and all(row == number for number, row in enumerate(order))
        order = None if is_whole else datasets.table.InMemoryTable(pa.table({"order": pa.array(order, pa.uint64())}))
    # With decode=True datasets would open the images itself, in any format that Pillow knows.
    kept = [*COLUMNS, *([PART_COLUMN] if PART_COLUMN in images.column_names else [])]
    chosen = images.select_columns(kept).cast_column("image", datasets.Image(decode=False))
    return datasets.Dataset(chosen.data, info=chosen.info, indices_table=order, fingerprint=name)


def _read_names(places: Sequence[str]) -> tuple[dict[str, list], dict[str, list[str]]]:
    """Return the six columns beside the image, and the places that have no name or lie in the wrong folder.

    Rows without a name hold None. Equal texts are one object: of a hundred thousand images, the lists are pointers.

    Raises:
        InputError: a name is there twice.
    """
    columns: dict[str, list] = {name: [] for name in COLUMNS[1:]}
    odd: dict[str, list[str]] = {"unnamed": [], "misplaced": []}
    seen: set[str] = set()
    shared: dict[str, str] = {}
    for place in places:
        parts = place.replace(os.sep, "/").split("/")
        if parts[-1] in seen:
            raise _twice(places, parts[-1])
        seen.add(parts[-1])
        try:
            name = parse_file_name(parts[-1])
        except InputError:
            odd["unnamed"].append(place)
            for column in columns.values():
                column.append(None)
            continue
        # From the folder of the class down; a copy with fewer folders above has nothing to disagree with.
        if parts[-6:] != name.path.split("/")[-6:]:
            odd["misplaced"].append(place)
        columns["label"].append(name.label)
        for kind in COLUMNS[2:-1]:
            value = getattr(name, kind)
            columns[kind].append(shared.setdefault(value, value))
        columns["file_name"].append(parts[-1])
    return columns, odd


def _twice(places: Sequence[str], name: str) -> InputError:
    """Name two places of an image, and say how many more there are of this kind."""
    names = [place.replace(os.sep, "/").rpartition("/")[2] for place in places]
    first, second = [place for place, found in zip(places, names, strict=True) if found == name][:2]
    more = sum(count > 1 for count in Counter(names).values()) - 1
    others = f" and {more:,} more name{'s are' if more > 1 else ' is'} there twice" if more else ""
    return InputError(f"The image {name} is there twice, as {first} and {second}{others}; delete one of each.")


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


def warn_of_subset(file_names: Iterable[str], magnifications: Sequence[str]) -> list[str]:
    """Say how much of BreakHis is here, and which slide folders miss most."""
    expected = {
        str(name): name.patient_id
        for folder in INVENTORY
        for name in folder.names()
        if name.magnification in magnifications
    }
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
