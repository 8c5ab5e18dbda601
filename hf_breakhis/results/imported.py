"""A run of predictions that another program made: its folds, its training list and its files."""

import platform
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hf_breakhis.files import InputError, counted, write_csv, write_json, write_text
from hf_breakhis.folders import FolderKind, replace_folder, require_place
from hf_breakhis.results.foreign.notes import notes_on
from hf_breakhis.results.foreign.read import Foreign, find_names, read_foreign
from hf_breakhis.results.foreign.values import TARGETS
from hf_breakhis.results.predictions import DESCRIPTION, by_fold
from hf_breakhis.results.splits import read_split
from hf_breakhis.run import (
    AUDIT,
    CHECKSUMS,
    DATA,
    FIGURES,
    FINISHED,
    FOLD_PREFIX,
    FOLDS,
    IMPORTED,
    INPUTS,
    METRICS,
    OF_EVALUATION,
    PREDICTIONS,
    RECIPE,
    REPORT,
    SCORES,
    Run,
)
from hf_breakhis.settings import versions_of

PACKAGES = ("hf-breakhis", "pandas", "scikit-learn")
FOLD_ROWS = ("file_name", "patient_id", "specimen_id", "label", "fold", "part")


def kind_of_folder(kind: str) -> FolderKind:
    """Return how the folder of an imported or evaluated run is recognised, so that only such a run is replaced."""

    def is_of_kind(path: Path) -> bool:
        try:
            return Run(path.parent).recipe.get("kind") == kind
        except InputError:
            return False

    names = (*INPUTS, *OF_EVALUATION, *SCORES, FINISHED, CHECKSUMS, AUDIT, REPORT)
    patterns = (
        *(*names, f"{FIGURES}/*.svg", f"{FIGURES}/*.png"),
        *(f"{FOLD_PREFIX}[0-9]*/{name}" for name in (PREDICTIONS, METRICS, CHECKSUMS)),
    )
    return FolderKind(f"{kind} run", patterns, RECIPE, is_of_kind)


@dataclass(frozen=True)
class Training:
    """The images that the models were trained on.

    Attributes:
        source: for the report.
        folds: columns file_name, patient_id, specimen_id, label, fold and part; every part of each fold.
    """

    source: str
    folds: pd.DataFrame


def import_predictions(
    files: Sequence[Path],
    folder: Path,
    columns: Mapping[str, str],
    scores: str = "auto",
    train: Path | None = None,
    split: str | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Write a run of kind "imported" from the predictions of another program.

    Args:
        files: the predictions; several files are folds, and so are the values of a column `fold`.
        folder: the run folder; an earlier imported run is replaced.
        columns: name -> column, see `read_foreign`.
        scores: what the numbers are, see `read_foreign`.
        train: a table of the training images, with a column `fold` if the folds differ.
        split: a name or a file of a split, see `read_split`, whose training sets were used.
        command: the words of the command line.

    Raises:
        InputError: see `read_foreign`; a name stands twice in one fold, or the split has other test sets.
    """
    require_place(folder, kind_of_folder(IMPORTED))
    read = [read_foreign(path, columns, scores) for path in files]
    for one in read[1:]:
        first = read[0]
        if (one.target, one.is_breakhis, one.scores == "classes") != (
            first.target, first.is_breakhis, first.scores == "classes",
        ):  # fmt: skip
            raise InputError(
                f"{first.path} and {one.path} have other classes, images or scores. Give them separately."
            )
    _require_other_files(read)
    test = _number_folds(read)
    _require_once(test)
    training = None
    if train is not None:
        training = _training_list(train, test, read[0])
    elif split is not None:
        training = _training_split(split, test)
    folds = _folds(test, training)
    seen = _seen(test, training)
    level = kept_apart(folds, split) if training else "unknown"
    recipe = _recipe(files, read[0], test, level, training, shlex.join(command))
    data = _data(read, test, split if training else None)

    return write_predictions(folder, recipe, data, folds, test.assign(seen_in_training=seen))


def write_predictions(
    folder: Path,
    recipe: Mapping[str, Any],
    data: Mapping[str, Any],
    folds: pd.DataFrame,
    test: pd.DataFrame,
    more: Callable[[Path], None] = lambda _: None,
) -> Run:
    """Write a run that has predictions only; an earlier run of the same kind is replaced.

    Args:
        folder: the run folder.
        recipe: content of its recipe, with `kind` and `environment`.
        data: content of data.json.
        folds: columns `FOLD_ROWS`.
        test: predictions with the columns of predictions.csv.
        more: writes other files into the folder.
    """

    def fill(part: Path) -> None:
        run = Run(part)
        write_text(part / RECIPE, yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=1000))
        write_json(part / DATA, dict(data))
        write_csv(part / FOLDS, folds)
        more(part)
        for fold, rows in by_fold(test):
            place = run.fold(fold)
            place.folder.mkdir()
            write_csv(place.folder / PREDICTIONS, rows.sort_values("file_name"))
            write_json(place.folder / METRICS, {"selected_on": None})
        write_json(part / FINISHED, {"folds": sorted(int(fold) for fold in test["fold"].unique())})
        run.seal()

    replace_folder(folder, fill, kind_of_folder(recipe["kind"]))
    return Run(folder)


def _number_folds(read: Sequence[Foreign]) -> pd.DataFrame:
    """Return the rows of all files, with fold as a number: from a column, the file names, or counted."""
    with_column = [bool((one.rows["fold"] != "").any()) for one in read]
    if any(with_column) and not all(with_column):
        has, lacks = read[with_column.index(True)].path, read[with_column.index(False)].path
        raise InputError(
            f"{has} has a column with folds, and {lacks} has none. Add it to each file, or leave it out with "
            "--columns fold=."
        )
    if all(with_column):
        for one in read:
            wrong = ~one.rows["fold"].str.fullmatch(r"[0-9]{1,4}(\.0)?")
            if wrong.any():
                raise InputError(f"{one.path}: `fold` is {one.rows['fold'][wrong].iloc[0]!r}; give whole numbers.")
        rows = pd.concat([one.rows for one in read], ignore_index=True)
        rows["fold"] = rows["fold"].astype(float).astype(int)
    else:
        ends = [re.findall(r"[0-9]+", one.path.stem)[-1:] for one in read]
        numbers = [int(end[0]) for end in ends if end and len(end[0]) <= 4]
        if len(read) == 1 or len(set(numbers)) < len(read):
            numbers = list(range(len(read)))
        rows = pd.concat([one.rows.assign(fold=k) for k, one in zip(numbers, read, strict=True)], ignore_index=True)
    scores = [name for name in rows.columns if str(name).startswith(("logit_", "prob_"))]
    rows = rows.assign(part="test", seen_in_training=False)
    return rows[[*DESCRIPTION, "fold", "part", "seen_in_training", *scores, "predicted"]]


def _require_other_files(read: Sequence[Foreign]) -> None:
    """Refuse a file that is given twice, also as a copy or with its rows in another order."""
    content = [one.rows.sort_values("file_name").reset_index(drop=True) for one in read]
    for k, one in enumerate(read):
        for first, earlier in zip(read[:k], content[:k], strict=True):
            if content[k].equals(earlier):
                raise InputError(
                    f"{one.path} and {first.path} have the same predictions of the same images, so they are not two "
                    "folds. Give one of them."
                )


def _require_once(test: pd.DataFrame) -> None:
    twice = test.duplicated(["fold", "file_name"])
    if twice.any():
        row, names = test[twice].iloc[0], counted(int(twice.sum()), "name")
        raise InputError(
            f"Twice in one fold: {names}, such as {row['file_name']} in fold {row['fold']}. "
            "Give one row for each image, or a column `fold`."
        )
    mixed = test.groupby("file_name")["label"].nunique() > 1
    if mixed.any():
        raise InputError(f"{mixed[mixed].index[0]} has another true class in another fold. Correct the labels.")


def _training_list(path: Path, test: pd.DataFrame, like: Foreign) -> Training:
    """Read the training images; without a column `fold` they are those of every fold."""
    rows = find_names(path, like.target, like.is_breakhis)
    numbers = sorted(test["fold"].unique())
    if "fold" in rows:
        missing = [str(number) for number in numbers if str(number) not in set(rows["fold"])]
        if missing:
            raise InputError(f"{path} has no training images of fold {', '.join(missing)}. Add them.")
        rows = rows[rows["fold"].isin([str(number) for number in numbers])]
        rows = rows.assign(fold=rows["fold"].astype(int))
    else:
        rows = pd.concat([rows.assign(fold=number) for number in numbers], ignore_index=True)
    rows = rows.drop_duplicates(["fold", "file_name"]).assign(part="train")
    return Training(f"the list {path.name}", rows[list(FOLD_ROWS)])


def _training_split(given: str, test: pd.DataFrame) -> Training:
    """Return the training sets of the folds of a split that have these test sets."""
    split = read_split(given)
    parts = dict(by_fold(split.folds))
    whole = {number: set(rows.loc[rows["part"] == "test", "file_name"]) for number, rows in parts.items()}
    label = test.drop_duplicates("file_name").set_index("file_name")["label"]
    found = []
    for number, rows in by_fold(test):
        names = set(rows["file_name"])
        fits = [other for other, tested in whole.items() if names <= tested]
        if not fits:
            best = max(whole, key=lambda other: len(names & whole[other]))
            raise InputError(
                f"Fold {number} tests {len(names - whole[best]):,} of {len(names):,} images that are not in the test "
                f"set of fold {best} of {given}, the nearest. Give the split that was used, or --train."
            )
        chosen = min(fits, key=lambda other: len(whole[other]))
        train = parts[chosen][parts[chosen]["part"] == "train"]
        labels = train["file_name"].map(label).fillna(-1)
        found.append(train.assign(fold=number, label=labels.where(labels >= 0, _label_of(train)).astype(int)))
    return Training(split.source, pd.concat(found, ignore_index=True)[list(FOLD_ROWS)])


def _label_of(rows: pd.DataFrame) -> "pd.Series[Any]":
    names = {name: k for classes in TARGETS.values() for k, name in enumerate(classes)}
    return rows["class"].map(names).fillna(0)


def _folds(test: pd.DataFrame, training: Training | None) -> pd.DataFrame:
    rows = test[list(FOLD_ROWS)]
    return rows if training is None else pd.concat([rows, training.folds], ignore_index=True)


def _seen(test: pd.DataFrame, training: Training | None) -> np.ndarray:
    """Say which test images are in the training set of their own fold, (n,)."""
    if training is None:
        return np.zeros(len(test), dtype=bool)
    trained = set(zip(training.folds["fold"], training.folds["file_name"], strict=True))
    return np.array([key in trained for key in zip(test["fold"], test["file_name"], strict=True)])


def kept_apart(folds: pd.DataFrame, split: str | None = None) -> str:
    """Return the largest unit that is in one part only; patients where each counts as one specimen."""
    if split == "official":
        return split
    level = "patient" if (folds["specimen_id"] == folds["patient_id"]).all() else "specimen"
    for _, rows in by_fold(folds):
        train, test = rows[rows["part"] == "train"], rows[rows["part"] == "test"]
        if test["patient_id"].isin(train["patient_id"]).any():
            return "image"
        if test["specimen_id"].isin(train["specimen_id"]).any():
            level = "patient"
    return level


def _recipe(
    files: Sequence[Path], first: Foreign, test: pd.DataFrame, level: str, training: Training | None, command: str
) -> dict[str, Any]:
    return {
        "kind": IMPORTED,
        "files": [path.name for path in files],
        "columns": first.columns,
        "scores": first.scores,
        "trained_on": None if training is None else training.source,
        **protocol_fields(first.target, level, int(test["fold"].nunique()), command),
    }


def protocol_fields(
    target: str, level: str, num_folds: int, command: str, packages: Sequence[str] = PACKAGES
) -> dict[str, Any]:
    """Return the fields of the recipe that every summary reads, for a run that was not trained here."""
    return {
        "target": target,
        "split_by": level,
        "num_folds": num_folds,
        "repeats": 1,
        "carry_over": "none",
        "reserve_size": 0.0,
        "validation_size": 0.0,
        **dict.fromkeys(("test_size", "stratify", "split_seed", "seed")),
        "environment": {
            "command": command,
            "python": platform.python_version(),
            "packages": versions_of(packages),
        },
    }


def _data(read: Sequence[Foreign], test: pd.DataFrame, split: str | None) -> dict[str, Any]:
    images = test.drop_duplicates("file_name")
    is_breakhis = read[0].is_breakhis
    names = dict(enumerate(TARGETS[read[0].target]))
    columns = {"label": images["label"].map(names)}
    columns |= {name: images[name][images[name] != ""] for name in ("tumor_type", "magnification")}
    columns["patient"] = images["patient_id"]
    counts = {name: values.value_counts().sort_index().to_dict() for name, values in columns.items()}
    warnings = notes_on(read)
    if split is not None:
        warnings += _missing(split, test)
    return {
        "source": "breakhis" if is_breakhis else "imagefolder",
        "title": "BreakHis" if is_breakhis else "imported predictions",
        "is_generated": False,
        "names_are_public": is_breakhis,
        "location": None,
        "revision": None,
        "manifest_sha256": "",
        "num_images": len(images),
        "num_patients": int(images["patient_id"].nunique()),
        "num_specimens": int(images["specimen_id"].nunique()),
        "counts": counts,
        "findings": [],
        "warnings": warnings,
    }


def _missing(split: str, test: pd.DataFrame) -> list[str]:
    """Return a warning for each fold that tests only a part of the test set of the split."""
    whole = {n: set(rows.loc[rows["part"] == "test", "file_name"]) for n, rows in by_fold(read_split(split).folds)}
    found = []
    for number, rows in by_fold(test):
        names = set(rows["file_name"])
        size = min(len(tested) for tested in whole.values() if names <= tested)
        if len(names) < size:
            found.append(f"Fold {number} has predictions of {len(names):,} of {size:,} test images of the split.")
    return found
