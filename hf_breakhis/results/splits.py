"""Other people's splits, read from what they publish: a table, the official fold files, folders, or a known name."""

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from hf_breakhis.data.filenames import CLASSES
from hf_breakhis.data.inventory import INVENTORY, NUM_OFFICIAL_FOLDS, expected_file_names
from hf_breakhis.data.open_image import EXTENSIONS
from hf_breakhis.files import InputError, counted, nearest
from hf_breakhis.results.foreign.columns import by_plain_name, few_names, first_column
from hf_breakhis.results.foreign.names import parse_foreign_name
from hf_breakhis.results.foreign.values import malignancy_of
from hf_breakhis.results.predictions import by_fold
from hf_breakhis.run import PLAN, RECIPE
from hf_breakhis.tables import foreign_rows
from hf_breakhis.text import text_table
from hf_breakhis.yaml_files import find_yaml, read_yaml

PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
    "reserve": ("reserve",),
}
PART_OF = {word: part for part, words in PARTS.items() for word in words}
# Names of the columns of a table; `grp` is that of the Kaggle copy.
COLUMNS = {
    "file_name": ("file_name", "filename", "file", "image", "path"),
    "part": ("part", "split", "set", "subset", "grp"),
    "fold": ("fold",),
    "class": ("class", "label"),
    "patient_id": ("patient_id", "patient"),
    "specimen_id": ("specimen_id", "specimen"),
}
ROW = ("file_name", "patient_id", "specimen_id", "class", "fold", "part")
ON_BOTH_SIDES = {"images": "file_name", "patients": "patient_id", "specimens": "specimen_id"}
MOST_NAMES = 4
FOLD_FILE = "dsfold*.txt"
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".jsonl", ".json", ".xlsx", ".xls")
_OFFICIAL = re.compile(r"([^|]+\.png)\|([0-9]+)\|([0-9]+)\|(train|test)")
_FORMS = (
    "Give a table with file_name and part or fold, the official dsfold files, a folder with train/ and test/, or one "
    "of "
)


@dataclass(frozen=True)
class Split:
    """A split as folds.csv has it.

    Attributes:
        name: for titles and folders.
        source: where it was published, or the file.
        folds: columns `ROW`; one row for each fold and image, "" where a patient, specimen or class is unknown.
        paths: file name -> file, where the split is a folder of images.
    """

    name: str
    source: str
    folds: pd.DataFrame
    paths: dict[str, Path] = field(default_factory=dict)


def read_split(given: str) -> Split:
    """Read a split: a name of `PUBLISHED`, a file or a folder.

    Raises:
        InputError: it is none of them, or has no train and test set.
    """
    if given in PUBLISHED:
        published = PUBLISHED[given]
        return Split(given, published.source, published.folds())
    path = Path(given)
    paths: dict[str, Path] = {}
    if path.is_file():
        rows = _read_file(path)
    elif path.is_dir() and (files := sorted(path.glob(FOLD_FILE))):
        rows = pd.concat([_read_file(file) for file in files], ignore_index=True)
    elif path.is_dir():
        rows, paths = _read_folder(path)
    else:
        raise InputError(f"No split at {given}. {_FORMS}{', '.join(PUBLISHED)}.{nearest(given, list(PUBLISHED))}")
    _require_parts(rows, given)
    return Split(path.stem, str(path), rows, paths)


def is_split(given: str) -> bool:
    """Say whether an argument of `audit` is a split rather than a run, a study or a recipe."""
    path = Path(given)
    if path.is_dir():
        is_run = any((path / name).exists() for name in (RECIPE, PLAN))
        inside = [place for place in (path, *_folders(path)) for place in (*_folders(place), *place.glob(FOLD_FILE))]
        return not is_run and any(place.name.lower() in PART_OF or place.match(FOLD_FILE) for place in inside)
    return given == "official" or path.suffix.lower() in TABLES


def describe_split(split: Split) -> dict[str, Any]:
    """Count the images of each fold, part and class, and name what a part lacks and what lies on both sides."""
    classes = sorted(set(split.folds["class"]) - {""})
    if set(classes) <= set(CLASSES):
        classes = list(CLASSES) if classes else []  # a class that no part has is missing too
    rows, shared = [], []
    for number, fold in by_fold(split.folds):
        for part in PARTS:
            images = fold[fold["part"] == part]
            if len(images):
                counts = {name: int((images["class"] == name).sum()) for name in classes}
                missing = [name for name, count in counts.items() if not count]
                rows.append(
                    {"fold": number, "part": part, "images": len(images), "classes": counts, "missing": missing}
                )
        both = {
            level: sorted(
                set.intersection(*(set(fold[column][fold["part"] == part]) for part in ("train", "test"))) - {""}
            )
            for level, column in ON_BOTH_SIDES.items()
        }
        shared.append({"fold": number, **both})
    return {"name": split.name, "source": split.source, "sizes": rows, "shared": shared}


def sizes_table(found: dict[str, Any]) -> str:
    """Return the sizes of a split as plain text."""
    rows = []
    for row in found["sizes"]:
        counts = ", ".join(f"{name} {count:,}" for name, count in row["classes"].items()) or "not known"
        missing = f"; MISSING: {', '.join(row['missing'])}" if row["missing"] else ""
        rows.append((str(row["fold"]), row["part"], f"{row['images']:,}", f"{counts}{missing}"))
    lines = [f"{found['name']}: {found['source']}", ""]
    lines += text_table(("Fold", "Part", "Images", "Classes"), rows, words=(0, 1, 3))
    for row in found["shared"]:
        for level in ON_BOTH_SIDES:
            if row[level]:
                names = ", ".join(row[level][:MOST_NAMES]) + ", ..." * (len(row[level]) > MOST_NAMES)
                number = counted(len(row[level]), level.removesuffix("s"))
                lines.append(f"Fold {row['fold']}: {number} in train and test: {names}")
    return "\n".join(lines)


def copies_in_folder(split: Split) -> pd.DataFrame:
    """Return the pairs of images of a folder that show the same; see `find_copies`.

    Raises:
        InputError: an image cannot be decoded.
    """
    from concurrent.futures import ThreadPoolExecutor

    from hf_breakhis.data.integrity.check_image import check_image
    from hf_breakhis.data.integrity.duplicates import find_copies
    from hf_breakhis.data.integrity.features import describe_all
    from hf_breakhis.hardware import count_cores

    images = split.folds.drop_duplicates("file_name")
    contents = [{"bytes": None, "path": str(split.paths[name])} for name in images["file_name"]]
    with ThreadPoolExecutor(count_cores()) as pool:
        found = pool.map(check_image, range(len(contents)), contents)
        checked = list(tqdm(found, desc="Checking", total=len(contents), unit=" images", disable=None))
    for name, one in zip(images["file_name"], checked, strict=True):
        if not one.content_sha256:
            raise InputError(f"{split.paths[name]} {one.problem}. Check the permissions of the file.")
    hashes = {key: [getattr(one, key) for one in checked] for key in ("content_sha256", "pixels_sha256", "shape")}
    specimens = images["specimen_id"].where(images["specimen_id"] != "", None)
    return find_copies(images.assign(label=images["class"], specimen_id=specimens, **hashes), describe_all(contents))


def copies_in_data(split: Split, data_dir: str) -> pd.DataFrame:
    """Return the pairs of BreakHis images that show the same, of those that a split names.

    Raises:
        InputError: the images cannot be read, or are not those of the split.
    """
    from hf_breakhis.arguments import DataArguments
    from hf_breakhis.data.integrity.described import check_and_describe
    from hf_breakhis.data.integrity.duplicates import find_image_copies
    from hf_breakhis.data.sources.table import load_images

    images = load_images(DataArguments(dataset="breakhis", data_dir=data_dir))
    lacking = sorted(set(split.folds["file_name"]) - set(images.dataset["file_name"]))
    if lacking:
        raise InputError(
            f"{data_dir} lacks {len(lacking):,} images of the split, such as {lacking[0]}. Give all of them, or leave "
            "--data_dir out."
        )
    return find_image_copies(images, check_and_describe(images).files)


def _read_file(path: Path) -> pd.DataFrame:
    """Read the official fold file, or a table with a header: CSV, TSV, JSON or Parquet."""
    columns, rows = foreign_rows(path)
    if _OFFICIAL.fullmatch("|".join(columns)):
        return _official_rows(["|".join(row) for row in itertools.chain([columns], rows)], path)
    return _table_rows(columns, list(rows), path)


def _official_rows(lines: list[str], path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(lines, start=1):
        match = _OFFICIAL.fullmatch(line)
        if match is None:
            raise InputError(
                f"{path}, line {number} is {line!r}, but has to be NAME.png|MAGNIFICATION|FOLD|train or test."
            )
        rows.append({"file_name": match[1], "fold": int(match[3]), "part": match[4]})
    return _described(_plain_names(pd.DataFrame(rows)), path)


def _plain_names(rows: pd.DataFrame) -> pd.DataFrame:
    """Write BreakHis names without the folders before them and with their extension."""
    parsed = {name: parse_foreign_name(name) for name in rows["file_name"].unique()}
    plain = {name: name if found is None else str(found) for name, found in parsed.items()}
    return rows.assign(file_name=rows["file_name"].map(plain))


def _table_rows(columns: Sequence[str], cells: Sequence[Sequence[str]], path: Path) -> pd.DataFrame:
    plain = by_plain_name(columns)
    named = {
        key: first_column(words, plain, key, path, "Rename or remove one of them.") for key, words in COLUMNS.items()
    }
    found = {key: columns.index(name) for key, name in named.items() if name}
    if "file_name" not in found or not {"part", "fold"} & set(found):
        raise InputError(
            f"{path} has the columns {few_names(columns)}, but needs file_name, and part (train, validation, test) or "
            "fold. Rename its columns."
        )
    table = pd.DataFrame([[row[k] for k in found.values()] for row in cells], columns=list(found), dtype=str)
    if table.empty:
        raise InputError(f"{path} has a header and no rows; write it again.")
    rows = _plain_names(table)
    if "fold" in rows:
        wrong = ~rows["fold"].str.fullmatch("[0-9]{1,4}")
        if wrong.any():
            raise InputError(f"{path}: `fold` is {rows['fold'][wrong].iloc[0]!r}, but has to be a whole number.")
        rows["fold"] = rows["fold"].astype(int)
    if "part" not in rows:  # every fold is tested once and trained on otherwise
        numbers = sorted(rows["fold"].unique())
        own = rows["fold"]
        rows = pd.concat(
            [rows.assign(part=(own == n).map({True: "test", False: "train"}), fold=n) for n in numbers],
            ignore_index=True,
        )
    return _described(rows if "fold" in rows else rows.assign(fold=0), path)


def _read_folder(folder: Path) -> tuple[pd.DataFrame, dict[str, Path]]:
    """Read `train/CLASS/...`, `val/` and `test/`, also where these lie in one folder more."""
    top = folder
    inner = _folders(top)
    if len(inner) == 1 and inner[0].name.lower() not in PART_OF:
        top, inner = inner[0], _folders(inner[0])
    parts = {place: PART_OF[place.name.lower()] for place in inner if place.name.lower() in PART_OF}
    if not {"train", "test"} <= set(parts.values()):
        names = ", ".join(place.name for place in inner[:8]) or "no folders"
        raise InputError(f"{folder} holds {names}, but has to hold train/ and test/. {_FORMS}{', '.join(PUBLISHED)}.")
    rows, paths = [], {}
    for place, part in parts.items():
        for path in sorted(place.rglob("*")):
            below = path.relative_to(place).parts
            if path.suffix.lower() not in EXTENSIONS or any(name.startswith(".") for name in below):
                continue
            if len(below) < 2:
                raise InputError(f"{path} lies outside of a class folder; move it into one.")
            name = path.relative_to(top).as_posix()
            rows.append({"file_name": name, "class": below[0], "fold": 0, "part": part})
            paths[name] = path
    if not rows:
        raise InputError(f"{folder} holds no images ({', '.join(EXTENSIONS)}); give another folder.")
    return _described(pd.DataFrame(rows), folder), paths


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(path for path in place.iterdir() if path.is_dir() and path.name[0] not in "._")
    except OSError as error:
        raise InputError(f"Cannot read {place}: {error.strerror}. Check the permissions of the folder.") from error


def _described(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Fill in what BreakHis names say, and check parts and repetitions."""
    unknown = sorted(set(rows["part"].str.lower()) - set(PART_OF))
    if unknown:
        raise InputError(f"{path}: `part` is {unknown[0]!r}, but has to be one of {', '.join(PART_OF)}.")
    rows = rows.assign(part=rows["part"].str.lower().map(PART_OF))
    known = {name: _from_name(name) for name in rows["file_name"].unique()}
    if "class" in rows:
        rows["class"] = _classes(rows, {name: values["class"] for name, values in known.items()}, path)
    for column in ("patient_id", "specimen_id", "class"):
        stated = rows["file_name"].map({name: values[column] for name, values in known.items()})
        rows[column] = stated if column not in rows else rows[column].where(rows[column] != "", stated)
    lacking = rows[rows["patient_id"] == ""].drop_duplicates("file_name")["file_name"]
    if 0 < len(lacking) < len(known):
        name = lacking.iloc[0]
        raise InputError(
            f"{path}: the patient is not known for {len(lacking):,} of {len(known):,} images, such as {name}."
            f"{nearest(name, expected_file_names())} Correct the names, or give patient_id for every image."
        )
    if repeated := rows[rows.duplicated(["fold", "part", "file_name"])]["file_name"].tolist():
        raise InputError(f"{path} names {repeated[0]} twice in one part of a fold; keep one row.")
    return rows[list(ROW)]


def _classes(rows: pd.DataFrame, from_names: dict[str, str], path: Path) -> pd.Series:
    """Return the classes of a table; those of BreakHis by their usual names.

    Raises:
        InputError: they contradict the file names.
    """
    numbers = malignancy_of(rows["class"])
    if numbers is None or "" in from_names.values():
        return rows["class"]
    classes = pd.Series(np.take(CLASSES, numbers), rows.index)
    wrong = classes != rows["file_name"].map(from_names)
    if wrong.any():
        row = rows[wrong].iloc[0]
        raise InputError(
            f"{path}: the class contradicts the file name in {int(wrong.sum()):,} of {len(rows):,} rows, such as "
            f"{row['file_name']} with {row['class']}. Correct the classes, or leave the column out."
        )
    return classes


def _from_name(name: str) -> dict[str, str]:
    parsed = parse_foreign_name(name)
    if parsed is None:
        return dict.fromkeys(("patient_id", "specimen_id", "class"), "")
    return {
        "patient_id": parsed.patient_id,
        "specimen_id": parsed.specimen_id,
        "class": CLASSES[parsed.label],
    }


def _require_parts(rows: pd.DataFrame, given: str) -> None:
    for number, fold in by_fold(rows):
        for part in ("train", "test"):
            if not (fold["part"] == part).any():
                raise InputError(f"{given}: fold {number} has no {part} set. Give train and test of every fold.")


@dataclass(frozen=True)
class Published:
    """A published split: where, and how its rows are made."""

    source: str
    folds: Callable[[], pd.DataFrame]


def _official() -> pd.DataFrame:
    return _of_inventory(
        (fold + 1, folder.official[fold], folder.patient_id)
        for fold in range(NUM_OFFICIAL_FOLDS)
        for folder in INVENTORY
    )


def _eva() -> pd.DataFrame:
    recipe = read_yaml(find_yaml("eva", "recipe"), "a recipe is YAML like recipes/c3.yaml")
    chosen = [folder.patient_id for folder in INVENTORY if folder.tumor_type in recipe["tumor_types"]]
    parts = ((0, "test" if one in recipe["test_patients"] else "train", one) for one in chosen)
    return _of_inventory(parts, recipe["magnifications"], by_type=True)


def _of_inventory(
    parts: Iterable[tuple[int, str, str]], magnifications: Sequence[str] = (), by_type: bool = False
) -> pd.DataFrame:
    folders = {folder.patient_id: folder for folder in INVENTORY}
    rows = [
        (str(name), patient, folder.specimen_id, folder.tumor_type if by_type else CLASSES[folder.label], fold, part)
        for fold, part, patient in parts
        for folder in (folders[patient],)
        for name in folder.names()
        if not magnifications or name.magnification in magnifications
    ]
    return pd.DataFrame(rows, columns=list(ROW))


PUBLISHED = {
    "official": Published("the five hold-outs of Spanhol et al. 2016, dsfold1.txt to dsfold5.txt", _official),
    "eva": Published("kaiko-eva, class BreaKHis: 40X, four tumour types, fixed patients (recipes/eva.yaml)", _eva),
}
