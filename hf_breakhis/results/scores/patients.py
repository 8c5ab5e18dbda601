"""Patients: scores in which every patient weighs the same, whatever the number of images."""

from typing import Any

import numpy as np
import pandas as pd

from hf_breakhis.metrics import recognition_rate
from hf_breakhis.metrics.recognition_rate.recognition_rate import MIXED, patient_scores
from hf_breakhis.results.predictions import by_fold, known, probabilities_of
from hf_breakhis.results.scores.intervals import intervals
from hf_breakhis.results.scores.resampling import images_of, patient_rates, patient_sides

RATES = ("recognition_rate", "accuracy_of_mean_probability")


def patient_level(test: pd.DataFrame, magnifications: list[str]) -> dict[str, Any] | None:
    """Return the scores by patient, per fold and pooled; None where the source names no patients."""
    if not known(test, "patient_id"):
        return None
    per_fold = [{"fold": fold, **_rates(rows)} for fold, rows in by_fold(test)]
    columns = {name: np.array([np.nan if row[name] is None else row[name] for row in per_fold]) for name in RATES}
    return {
        "per_fold": per_fold,
        "mean": {name: float(values.mean()) for name, values in columns.items()},
        "sd": {name: float(values.std(ddof=1)) if len(values) > 1 else None for name, values in columns.items()},
        "pooled": _bounded(test),
        "by_magnification": {name: _bounded(test[test["magnification"] == name]) for name in magnifications},
        "table": _table(test),
    }


def _rates(rows: pd.DataFrame) -> dict[str, float | int | None]:
    prob = probabilities_of(rows)
    return recognition_rate(rows["label"], rows["predicted"], rows["patient_id"], prob, prob.shape[1])


def _bounded(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the rates with their intervals, both sides of two classes, and the number of patients."""
    images = images_of(rows)
    patients = rows["patient_id"].to_numpy()
    rates = intervals(patient_rates(images, patients), images.num_groups, classes=images.group_classes)
    if len(images.classes) == 2:
        rates |= intervals(patient_sides(images, patients), images.num_groups, classes=images.group_classes)
    return {**rates, "num_patients": int(rows["patient_id"].nunique())}


def _table(test: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row a patient; the mean probability is class 1's of two, the true class's of more."""
    prob = probabilities_of(test)
    patients = patient_scores(test["label"], test["predicted"], test["patient_id"], prob, prob.shape[1])
    first = test.drop_duplicates("patient_id").set_index("patient_id").loc[patients["ids"]]
    labels = patients["labels"]
    of_class = np.ones_like(labels) if prob.shape[1] == 2 else labels
    means = np.take_along_axis(patients["mean_probabilities"], of_class[:, None], axis=1)[:, 0]
    means = np.where(of_class == MIXED, np.nan, means)
    columns = {
        "patient_id": patients["ids"],
        "specimen_id": first["specimen_id"],
        "label": np.where(labels == MIXED, None, labels),
        "tumor_type": first["tumor_type"],
        "num_images": patients["num_images"],
        "patient_score": patients["scores"],
        "mean_probability": means,
    }
    lists = [list(values.tolist()) for values in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
