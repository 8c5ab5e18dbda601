"""The parts of a nested search: one for each outer fold, which never sees the test set of that fold, and the last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from hf_breakhis.arguments import DataArguments, require
from hf_breakhis.data.splits import Fold, make_folds
from hf_breakhis.files import InputError

FINAL, OUTER = "final", "outer-"


@dataclass(frozen=True, eq=False)
class Part:
    """One search.

    Attributes:
        name: `outer-0`, `outer-1`, ... or `final`.
        folds: on which each trial is trained and scored.
        outer: the fold whose training set is searched; None for the search on all images.
    """

    name: str
    folds: list[Fold]
    outer: Fold | None = None


def check_split(data: DataArguments) -> None:
    """Refuse splits that a nested search does not support.

    Raises:
        InputError: names the field and what to set.
    """
    fixed = {"fold": "all", "repeats": 1, "train_magnifications": [], "test_magnifications": []}
    for name, value in fixed.items():
        given = getattr(data, name)
        wanted = "empty" if value == [] else value
        require(given == value, f"`{name}` is {given}, but a search needs {wanted}. Set it to {wanted}.")
    reasons = {"folders": "has no inner folds", "official": "tests images several times"}
    why = reasons.get(data.split_by, "")
    require(not why, f"`split_by` is {data.split_by}, which {why}. Set split_by to specimen, patient or image.")


def search_parts(dataset: Dataset, data: DataArguments, outer: Sequence[Fold], inner: int) -> list[Part]:
    """Return the search of each outer fold, and the final search, whose folds are the outer ones.

    Args:
        dataset: all images.
        data: of the recipe.
        outer: folds of the recipe.
        inner: number of inner folds.

    Raises:
        InputError: a training set has too few groups for the inner folds.
    """
    labels = np.array(dataset["label"])
    columns = {name: list(dataset[name]) for name in ("patient_id", "specimen_id")}
    classes = dataset.features["label"].names
    parts = [Part(f"{OUTER}{fold.index}", inner_folds(fold, labels, columns, data, inner, classes), fold)
             for fold in outer]  # fmt: skip
    return [*parts, Part(FINAL, list(outer))]


def inner_folds(
    outer: Fold,
    labels: np.ndarray,
    columns: Mapping[str, Sequence[str | None]],
    data: DataArguments,
    number: int,
    classes: Sequence[str],
) -> list[Fold]:
    """Return folds of the training set of an outer fold; all other images are `unused` in them.

    Args:
        outer: its training and validation sets are divided.
        labels: (n_images,) int.
        columns: "patient_id" and "specimen_id", each (n_images,).
        data: of the recipe: unit, validation share, stratification and seed of the split.
        number: of inner folds, at least 2.
        classes: names of the classes.

    Raises:
        InputError: the training set has too few groups.
    """
    rows = np.sort(np.concatenate([outer.train, outer.validation]))
    own = {name: [values[row] for row in rows] for name, values in columns.items()}
    try:
        made = make_folds(
            labels[rows],
            own,
            split_by=data.split_by,
            num_folds=number,
            validation_size=data.validation_size,
            stratify=data.stratify,
            seed=data.split_seed,
            classes=classes,
        )
    except InputError as error:
        raise InputError(f"Inner folds of outer fold {outer.index}: {error}") from error
    unused = np.setdiff1d(np.arange(len(labels)), rows)
    folds = [Fold(one.index, rows[one.train], rows[one.test], rows[one.validation], unused=unused) for one in made]
    for fold in folds:
        used = np.concatenate([fold.train, fold.validation, fold.test])
        if len(np.intersect1d(used, np.concatenate([outer.test, outer.reserve]))):
            raise ValueError(f"Inner fold {fold.index} of outer fold {outer.index} has a test image of that fold.")
    return folds
