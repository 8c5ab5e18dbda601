"""Folds: which images are used for training, validation and test, or reserved. Every split is checked."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    train_test_split,
)

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.dealing import MIN_GROUPS, count_by_group, deal_folds, deal_part
from hf_breakhis.data.groups import (
    PART_COLUMN,
    folder_rows,
    groups_of,
    least_groups,
    named_part,
    official_parts,
    require_enough_groups,
    require_splittable,
    require_two_classes,
)
from hf_breakhis.data.inventory import NUM_OFFICIAL_FOLDS
from hf_breakhis.files import InputError, require_kind

PARTS = ("train", "validation", "test", "reserve")
UNUSED = "unused"  # rows that `train_share`, `train_magnifications` or `test_magnifications` leaves out
MAX_DRAWS = 100


def _no_rows() -> np.ndarray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Fold:
    """Row numbers of the parts of one fold, each ascending; they share no row and with `unused` are all rows."""

    index: int
    train: np.ndarray
    test: np.ndarray = field(default_factory=_no_rows)
    validation: np.ndarray = field(default_factory=_no_rows)
    reserve: np.ndarray = field(default_factory=_no_rows)
    unused: np.ndarray = field(default_factory=_no_rows)


def split_images(dataset: datasets.Dataset, data: DataArguments, split_seed: int | None = None) -> list[Fold]:
    """Split the images of `load_images` as a recipe says; `split_seed` replaces its own (for repeats).

    Raises:
        InputError: these images cannot be split so, or arguments are of other kinds.
    """
    require_kind(dataset, datasets.Dataset, "split_images takes the table of images", "load_images(...).dataset")
    require_kind(data, DataArguments, "split_images takes the data fields of a recipe", "Recipe.load(...).data")
    labels, seed = np.array(dataset["label"]), data.split_seed if split_seed is None else split_seed
    names = [name for name in ("patient_id", "specimen_id", PART_COLUMN) if name in dataset.features]
    columns: dict[str, Sequence[str | None]] = {name: list(dataset[name]) for name in names}
    folds = make_folds(
        labels,
        columns,
        split_by=data.split_by,
        num_folds=data.num_folds,
        test_size=data.test_size,
        reserve_size=data.reserve_size,
        validation_size=data.validation_size,
        stratify=data.stratify,
        seed=seed,
        classes=dataset.features["label"].names,
        test_patients=data.test_patients,
    )
    if data.train_share < 1:
        groups = groups_of(len(labels), columns, data.split_by)
        folds = [with_share(fold, labels, groups, data.train_share, seed) for fold in folds]
    if not data.train_magnifications and not data.test_magnifications:
        return folds
    own = np.array(dataset["magnification"])
    kept = [with_magnifications(fold, own, data.train_magnifications, data.test_magnifications) for fold in folds]
    classes = dataset.features["label"].names
    for fold in kept:
        for name in ("train", "test"):
            missing = sorted({*range(len(classes))} - {*labels[getattr(fold, name)].tolist()})
            if missing:
                raise InputError(
                    f"Fold {fold.index} has no {classes[missing[0]]} image in its {name} part. "
                    f"Give more of them in `{name}_magnifications`."
                )
    return kept


def with_magnifications(fold: Fold, own: np.ndarray, train: Sequence[str], test: Sequence[str]) -> Fold:
    """Return the fold with the images of its parts that have these magnifications; the others are `unused`.

    Args:
        fold: whose reserve is kept.
        own: (n_images,) the magnification of each image.
        train: magnifications of the training and the validation set; none for all.
        test: of the test set; none for all.
    """
    parts = {"train": train, "validation": train, "test": test}
    kept, left = {}, [fold.unused]
    for name, wanted in parts.items():
        rows = getattr(fold, name)
        stays = np.isin(own[rows], list(wanted)) if wanted else np.ones(len(rows), dtype=bool)
        kept[name] = rows[stays]
        left.append(rows[~stays])
    return replace(fold, **kept, unused=np.sort(np.concatenate(left)))


def with_share(fold: Fold, labels: np.ndarray, groups: np.ndarray, share: float, seed: int) -> Fold:
    """Return the fold with a share of its training groups; the others are `unused`.

    The groups of each class have one random order for all shares, and the first ones are kept, at least one. So a
    smaller training set is part of every larger one.

    Args:
        fold: its other parts are kept.
        labels: (n_images,) int.
        groups: (n_images,) what is kept together.
        share: above 0 and at most 1.
        seed: of the order, together with the number of the fold.
    """
    ids, first, number = np.unique(groups[fold.train], return_index=True, return_inverse=True)
    label_of = labels[fold.train][first]
    kept = np.zeros(len(ids), dtype=bool)
    for label in np.unique(label_of):
        members = np.flatnonzero(label_of == label)
        order = np.random.default_rng([seed, fold.index, int(label)]).permutation(members)
        kept[order[: int(np.ceil(round(share * len(members), 6)))]] = True
    return replace(fold, train=fold.train[kept[number]], unused=fold.train[~kept[number]])


def make_folds(
    labels: np.ndarray,
    columns: Mapping[str, Sequence[str | None]],
    split_by: str = "specimen",
    num_folds: int = 5,
    test_size: float = 0.2,
    reserve_size: float = 0.0,
    validation_size: float = 0.0,
    stratify: bool = True,
    seed: int = 42,
    classes: Sequence[str] = ("benign", "malignant"),
    test_patients: Sequence[str] = (),
) -> list[Fold]:
    """Split rows into folds that keep related images together.

    First the reserve is set aside, then the rest is divided into test sets, then each fold gives a share of its
    training groups to validation. With `stratify`, groups are shuffled within each class and dealt, and the best
    balanced of many draws is kept (`deal_folds`, `deal_part`). Where a draw leaves a part without a class, the whole
    is drawn again with a seed derived from `seed`, up to `MAX_DRAWS` times.

    Args:
        labels: (n_images,) int, the number of the class.
        columns: "patient_id" and "specimen_id", each (n_images,) str, or None where unknown.
        split_by: what may not straddle a split. "patient" is the slide folder as published; "specimen" also merges
            folders that differ only in block letters; "image" keeps nothing together and leaks; "official" is the
            authors' five hold-outs by patient, which divide specimens; "folders" is the one hold-out that the
            folders of the images suggest (train/, val/, test/), whatever it divides.
        num_folds: number of folds; 1 is a hold-out of `test_size`.
        test_size: share of the images (or as near as groups allow) held out when `num_folds` is 1.
        reserve_size: share set aside first, the same rows in every fold.
        validation_size: share of each fold's training set.
        stratify: keep the shares of the classes; without, parts are drawn at random.
        seed: the same seed and row order give the same folds.
        classes: names for messages; numbers stand there where these are too few.
        test_patients: ids to hold out, in place of a draw; `num_folds` is then 1.

    Returns:
        `num_folds` folds. Save for a hold-out and "official", each row outside of the reserve is tested once.

    Raises:
        InputError: an argument is not allowed, the ids are missing, or no split has every class in every part.

    Source:
        Specimen and patient levels, official folds: Spanhol et al. 2016, IEEE TBME 63(7).
    """
    labels = np.asarray(labels)
    shares = {"test_size": test_size, "reserve_size": reserve_size, "validation_size": validation_size}
    require_splittable(labels, columns, split_by, num_folds, shares)
    if labels.max(initial=0) >= len(classes):
        classes = [str(number) for number in range(labels.max() + 1)]
    groups = groups_of(len(labels), columns, split_by)
    official = split_by == "official"
    if official and (num_folds != NUM_OFFICIAL_FOLDS or reserve_size):
        raise InputError(f"split_by=official is {NUM_OFFICIAL_FOLDS} folds without a reserve; change num_folds or it.")
    if not 0 <= seed < 2**32:
        raise InputError(f"`split_seed` is {seed}, but has to be from 0 to 4294967295.")
    require_two_classes(labels, classes)
    if split_by == "folders":
        return [_fold_of_folders(columns.get(PART_COLUMN), labels, classes)]
    if not official and not test_patients:
        extras = (reserve_size > 0, validation_size > 0)
        require_enough_groups(labels, groups, classes, split_by, num_folds, *extras)
    tests = official_parts(columns["patient_id"]).T if official else None
    if test_patients:
        tests = named_part(columns["patient_id"], test_patients, groups, split_by)[None]
    missing = ""
    for draw in range(MAX_DRAWS):
        draw_seed = seed if draw == 0 else int(np.random.SeedSequence([seed, draw]).generate_state(1)[0])
        splitter = _Splitter(labels, groups, split_by != "image", stratify, draw_seed)
        try:
            folds = splitter.folds(num_folds, test_size, reserve_size, validation_size, tests)
        except InputError as error:  # the reserve of this draw took too much of a class
            missing = str(error)
            continue
        missing = find_missing_class(folds, labels, classes)
        if not missing:
            check_folds(folds, groups, covers=num_folds > 1 and not official)
            return folds
    hint = "give all of BreakHis, or use split_by=specimen" if official else "set fewer folds or other shares"
    hint = "name other patients in test_patients" if test_patients else hint
    raise InputError(f"No split by {split_by} fits: {missing}; {hint}.")


@dataclass(frozen=True)
class _Splitter:
    """One draw: labels, groups and a seed; methods take and return row numbers."""

    labels: np.ndarray
    groups: np.ndarray
    grouped: bool
    stratify: bool
    seed: int

    def folds(
        self, num_folds: int, test_size: float, reserve_size: float, validation_size: float, tests: np.ndarray | None
    ) -> list[Fold]:
        rows, reserve = np.arange(len(self.labels)), _no_rows()
        if reserve_size:
            leave = least_groups(num_folds, validation_size > 0)
            rows, reserve = self.take(rows, reserve_size, "reserve_size", leave)
        if tests is not None:
            pairs = [(np.flatnonzero(~test), np.flatnonzero(test)) for test in tests]
        elif num_folds == 1:
            pairs = [self.take(rows, test_size, "test_size", 1 + (validation_size > 0))]
        else:
            pairs = self.divide(rows, num_folds)
        folds = []
        for index, (train, test) in enumerate(pairs):
            validation = _no_rows()
            if validation_size:
                train, validation = self.take(train, validation_size, "validation_size")
            folds.append(Fold(index, np.sort(train), np.sort(test), np.sort(validation), np.sort(reserve)))
        return folds

    def divide(self, rows: np.ndarray, num_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Divide `rows` into (train, test) pairs whose test sets are a partition."""
        if self.grouped and self.stratify:
            number, counts = count_by_group(self.groups[rows], self.labels[rows])
            dealt = deal_folds(counts, num_folds, self.seed)[number]
            tests = [dealt == fold for fold in range(num_folds)]
            return [(rows[~test], rows[test]) for test in tests]
        kind = GroupKFold if self.grouped else StratifiedKFold if self.stratify else KFold
        splitter = kind(num_folds, shuffle=True, random_state=self.seed)
        try:
            with warnings.catch_warnings():
                # scikit-learn warns of classes with few images; what came of it is checked afterwards.
                warnings.simplefilter("ignore", UserWarning)
                pairs = list(splitter.split(rows, self.labels[rows], self.groups[rows]))
        except ValueError as error:
            raise InputError(f"{len(rows):,} images do not allow num_folds={num_folds} ({_brief(error)})") from error
        return [(rows[train], rows[test]) for train, test in pairs]

    def take(self, rows: np.ndarray, share: float, name: str, leave: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Divide `rows` into a rest and a part of about `share`; `leave` groups of every class stay in the rest."""
        labels = self.labels[rows]
        try:
            if not self.grouped:
                strata = labels if self.stratify else None
                rest, part = train_test_split(rows, test_size=share, stratify=strata, random_state=self.seed)
                return rest, part
            number, counts = count_by_group(self.groups[rows], labels)
            chosen = np.isin(number, next(ShuffleSplit(1, test_size=share, random_state=self.seed).split(counts))[1])
        except ValueError as error:
            raise InputError(
                f"`{name}` is {share}, too much or little for {len(rows):,} images ({_brief(error)})"
            ) from error
        if self.stratify:
            chosen = deal_part(counts, share, leave, self.seed)[number]
        return rows[~chosen], rows[chosen]


def _fold_of_folders(parts: Sequence[str | None] | None, labels: np.ndarray, classes: Sequence[str]) -> Fold:
    """Return the hold-out that the folders train/, val/ and test/ suggest."""
    rows = folder_rows(parts or [None] * len(labels))
    fold = Fold(0, rows["train"], rows["test"], rows["validation"])
    if missing := find_missing_class([fold], labels, classes):
        raise InputError(f"No split by folders fits: {missing}; use split_by=specimen, or move images.")
    check_folds([fold], np.arange(len(labels)))
    return fold


def _brief(error: Exception) -> str:
    """Return the first sentence of a message, such as scikit-learn's."""
    return str(error).split(". ")[0].removesuffix(".")


def find_missing_class(folds: Sequence[Fold], labels: np.ndarray, classes: Sequence[str]) -> str:
    """Name the first part of a fold that lacks a class, "" if none does; a part that was not asked for is empty."""
    for fold in folds:
        for part in PARTS:
            rows = getattr(fold, part)
            lacking = np.setdiff1d(labels, labels[rows])
            if len(lacking) and (len(rows) or part in ("train", "test")):
                name = "training" if part == "train" else part
                return f"Fold {fold.index} has no {classes[lacking[0]]} image in its {name} set"
    return ""


def check_folds(folds: Sequence[Fold], groups: np.ndarray, covers: bool = False) -> None:
    """Prove that no row is lost or doubled and no group straddles two parts; unused rows may be of any group.

    Args:
        folds: what `make_folds` is about to return.
        groups: (n_images,) the ids claimed to be kept together.
        covers: whether every row outside of the reserve is to be tested exactly once.

    Raises:
        ValueError: it is not so.
    """
    for fold in folds:
        rows = np.concatenate([getattr(fold, part) for part in (*PARTS, UNUSED)])
        if not np.array_equal(np.sort(rows), np.arange(len(groups))):
            raise ValueError(f"Fold {fold.index} loses or doubles rows.")
        used = groups[np.setdiff1d(rows, fold.unused)]
        if sum(len(np.unique(groups[getattr(fold, part)])) for part in PARTS) != len(np.unique(used)):
            raise ValueError(f"Fold {fold.index} has one group in two parts.")
    if covers:
        tested = np.concatenate([fold.test for fold in folds])
        if not np.array_equal(np.sort(tested), np.setdiff1d(np.arange(len(groups)), folds[0].reserve)):
            raise ValueError("The test sets are no partition.")


def thin_parts(folds: Sequence[Fold], labels: np.ndarray, groups: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Name each part of a fold with fewer than `MIN_GROUPS` groups of a class, as "fold 0 validation: 2 benign"."""
    found = []
    for fold in folds:
        for part in PARTS:
            rows = getattr(fold, part)
            for label, name in enumerate(classes):
                count = len(np.unique(groups[rows][labels[rows] == label]))
                if len(rows) and count < MIN_GROUPS:
                    found.append(f"fold {fold.index} {part}: {count} {name}")
    return found


def leaks(fold: Fold, columns: Mapping[str, Sequence[str | None]]) -> dict[str, int | None]:
    """Count the test images whose patient, or specimen, has training images; None where ids are unknown."""
    counts: dict[str, int | None] = {"test_images": len(fold.test)}
    for level in ("patient", "specimen"):
        ids = np.array(list(columns.get(f"{level}_id") or [None]))
        known = all(ids)
        counts[f"same_{level}"] = int(np.isin(ids[fold.test], list(set(ids[fold.train]))).sum()) if known else None
    return counts


def folds_table(folds: Sequence[Fold], dataset: datasets.Dataset) -> pd.DataFrame:
    """Return one row for each fold and image: file_name, patient_id, specimen_id, label, fold, part."""
    images = pd.DataFrame({name: list(dataset[name]) for name in ("file_name", "patient_id", "specimen_id", "label")})
    tables = []
    for fold in folds:
        part = np.empty(len(images), dtype=object)
        for name in (*PARTS, UNUSED):
            part[getattr(fold, name)] = name
        tables.append(images.assign(fold=fold.index, part=part))
    return pd.concat(tables, ignore_index=True)


def resume_folds(path: Path, dataset: datasets.Dataset, split_by: str) -> list[Fold]:
    """Read the folds.csv of a run, so that a run is resumed with the folds that it began with.

    Raises:
        InputError: the file is of other images, or is damaged.
    """
    try:
        table = pd.read_csv(path, dtype={"file_name": str})
        rows = [(int(i), table[table["fold"] == i]) for i in sorted(table["fold"].unique())]
        folds = [
            Fold(i, **{name: np.flatnonzero(part["part"] == name) for name in (*PARTS, UNUSED)}) for i, part in rows
        ]
        if any(list(part["file_name"]) != list(dataset["file_name"]) for _, part in rows):
            raise ValueError("the images are not the same")
        columns = {name: list(dataset[name]) for name in ("patient_id", "specimen_id")}
        check_folds(folds, groups_of(len(dataset), columns, split_by))
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{path.parent} holds a run on other images or folds ({_brief(error)}). Set another --output_dir, or add "
            "--restart to overwrite the run."
        ) from error
    return folds
