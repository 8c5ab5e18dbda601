"""Leakage: test images whose patient or specimen the fold's model was trained on."""

from typing import Any

import pandas as pd

from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import by_fold, known

KINDS = ("same_patient", "same_specimen", "seen_in_training")
UNKNOWN_TRAINING = "The training data of this model are unknown: leakage was not assessed."
NOT_ASSESSED = "No training list was given: leakage was not assessed."


def is_assessed(leakage: dict[str, Any]) -> bool:
    """Say whether the training sets are known."""
    return leakage["share_seen"] is not None


def leakage(folds: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any]:
    """Count the test images that show a patient or a specimen of their own fold's training set.

    Args:
        folds: folds.csv.
        test: test predictions; only their folds are counted.

    Raises:
        InputError: a fold's predictions are not those of its test set.
    """
    rows = [_fold(folds[folds["fold"] == fold], fold, part) for fold, part in by_fold(test)]
    return {
        "per_fold": rows,
        "share_same_patient": _share(rows, "same_patient"),
        "share_same_specimen": _share(rows, "same_specimen"),
        "share_seen": _share(rows, "seen_in_training"),
    }


def _fold(folds: pd.DataFrame, fold: int, test: pd.DataFrame) -> dict[str, Any]:
    planned = folds[folds["part"] == "test"]
    if set(planned["file_name"]) != set(test["file_name"]):
        raise InputError(
            f"Fold {fold} has {len(planned):,} test images in folds.csv and {len(test):,} in its predictions.csv, and "
            "they are not the same; train that fold again with --restart."
        )
    train = folds[folds["part"] == "train"]
    if train.empty:  # of imported predictions
        return {"fold": int(fold), "test_images": len(test)} | dict.fromkeys(KINDS)
    return {
        "fold": int(fold),
        "test_images": len(test),
        "same_patient": _shared(planned, train, "patient_id"),
        "same_specimen": _shared(planned, train, "specimen_id"),
        "seen_in_training": int(test["seen_in_training"].sum()),
    }


def _shared(test: pd.DataFrame, train: pd.DataFrame, column: str) -> int | None:
    if not (known(test, column) and known(train, column)):
        return None
    return int(test[column].isin(train[column].unique()).sum())


def _share(rows: list[dict[str, Any]], name: str) -> float | None:
    if any(row[name] is None for row in rows):
        return None
    result: float | None = sum(row[name] for row in rows) / sum(row["test_images"] for row in rows)
    return result
