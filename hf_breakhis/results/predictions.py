"""Predictions of a run: read, checked, and the test sets of all folds put together."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hf_breakhis.files import InputError, csv_text, require_kind
from hf_breakhis.run import PREDICTIONS, Run
from hf_breakhis.tables import as_bools, as_floats, as_integers, read_table, require_columns

PARTS = ("test", "validation", "reserve")
DESCRIPTION = ("file_name", "label", "tumor_type", "patient_id", "specimen_id", "magnification")
COLUMNS = (*DESCRIPTION, "fold", "part", "seen_in_training", "predicted")
GROUPS = ("patient_id", "specimen_id")
# Probabilities come from 32-bit floats, so two readings of one number differ in the seventh digit.
TOLERANCE = 1e-4


def read_predictions(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a predictions.csv whose every value has been checked.

    Text columns come as text ("" where the source does not know), label, fold and predicted as int,
    seen_in_training as bool, and the rest as the float that was written.

    Raises:
        InputError: no such file, a missing column, or a value that cannot be; the message names the first one.
    """
    require_kind(path, (str, os.PathLike), "read_predictions takes a file", "for example 'outputs/c3/predictions.csv'")
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file in it, such as {path / PREDICTIONS}.")
    text = read_table(path, COLUMNS)
    classes = classes_of(text)
    if len(classes) < 2:
        raise InputError(f"{path} has no columns prob_CLASS for two classes or more; write it again with `train`.")
    require_columns(text, path, [f"logit_{name}" for name in classes])
    numbers: dict[str, np.ndarray] = {
        name: as_floats(text[name], path) for name in text.columns if name.startswith(("logit_", "prob_"))
    }
    numbers |= {name: as_integers(text[name], path) for name in ("label", "predicted", "fold")}
    table = text.assign(seen_in_training=as_bools(text["seen_in_training"], path), **numbers)
    _require_classes(table, classes, path)
    _require_probabilities(table, classes, path)
    _require(table["part"].isin(PARTS), table, path, f"`part` is none of {', '.join(PARTS)}")
    _require(~table.duplicated(["fold", "part", "file_name"]), table, path, "this image stands twice in one fold")
    return table


def gather(run: Run, parts: dict[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """Put the test sets of all folds that ended together, by fold and file name, and write them to the run.

    Args:
        run: the run.
        parts: what `read_parts` gave, where it has been called already.

    Raises:
        InputError: no fold has ended, or the folds do not fit together.
    """
    test = (read_parts(run) if parts is None else parts)["test"]
    if test.empty:
        raise InputError(f"The folds of {run.folder} hold no test predictions; train it again with --restart.")
    run.write(PREDICTIONS, csv_text(test))
    return test


def read_parts(run: Run) -> dict[str, pd.DataFrame]:
    """Return the test, validation and reserve parts of all finished folds, each by fold and file name."""
    folds = [fold for fold in run.folds() if fold.is_finished]
    if not folds:
        raise InputError(f"No fold of {run.folder} has finished. Train it first.")
    tables: list[pd.DataFrame] = []
    for fold in folds:
        path = fold.folder / PREDICTIONS
        table = read_predictions(path)
        if set(table["fold"].astype(str)) != {fold.name}:
            raise InputError(f"{path} holds rows of another fold; train that fold again with --restart.")
        if tables and classes_of(table) != classes_of(tables[0]):
            raise InputError(f"{path} has other classes than fold {folds[0].name}; the folds are not of one run.")
        tables.append(table)
    whole = pd.concat(tables, ignore_index=True).sort_values(["fold", "file_name"])
    return {part: whole[whole["part"] == part].reset_index(drop=True) for part in PARTS}


def classes_of(table: pd.DataFrame) -> list[str]:
    """Return the class names in the order of their numbers, from the columns prob_CLASS."""
    return [name.removeprefix("prob_") for name in table.columns if name.startswith("prob_")]


def probabilities_of(table: pd.DataFrame) -> np.ndarray:
    """Return the probabilities, (n, num_classes)."""
    return _columns(table, "prob_")


def logits_of(table: pd.DataFrame) -> np.ndarray:
    """Return the logits, (n, num_classes)."""
    return _columns(table, "logit_")


def _columns(table: pd.DataFrame, start: str) -> np.ndarray:
    """Return a column for each class, (n, num_classes); `table[names]` takes ten times as long for a small table."""
    return np.array([table[start + name].to_numpy(dtype=float) for name in classes_of(table)]).T


def by_fold(table: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """Return the folds in order, each with its rows."""
    return [(int(fold), table[table["fold"] == fold]) for fold in sorted(table["fold"].unique())]


def known(table: pd.DataFrame, column: str) -> bool:
    """Say whether every image has a value in a column that the source may leave empty."""
    return bool((table[column] != "").all())


def _require_classes(table: pd.DataFrame, classes: list[str], path: str | Path) -> None:
    for name in ("label", "predicted"):
        allowed = table[name].between(0, len(classes) - 1)
        _require(allowed, table, path, f"`{name}` is outside 0..{len(classes) - 1} ({', '.join(classes)})")


def _require_probabilities(table: pd.DataFrame, classes: list[str], path: str | Path) -> None:
    prob, logits = probabilities_of(table), logits_of(table)
    _require(((prob >= 0) & (prob <= 1)).all(1), table, path, "a probability lies outside 0..1")
    _require(np.abs(prob.sum(1) - 1) <= TOLERANCE, table, path, "the probabilities do not sum to 1")
    with np.errstate(over="ignore"):  # logits at both ends of what a float holds: a probability of 0, rightly
        softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    agree = (np.abs(softmax - prob) <= TOLERANCE).all(1)
    _require(agree, table, path, "the probabilities are not those of the logits")
    chosen = np.take_along_axis(prob, table["predicted"].to_numpy()[:, None], axis=1)[:, 0]
    _require(chosen >= prob.max(1) - TOLERANCE, table, path, "`predicted` is not the class of the highest probability")


def _require(good: Any, table: pd.DataFrame, path: str | Path, problem: str) -> None:
    good = np.asarray(good)
    if not good.all():
        row = int(np.argmin(good))
        count = f" (and {(~good).sum() - 1:,} rows more)" if (~good).sum() > 1 else ""
        raise InputError(f"{path}, row {row + 1} ({table['file_name'].iloc[row]}): {problem}{count}; write it again.")
