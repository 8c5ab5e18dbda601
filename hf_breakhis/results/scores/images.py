"""Images: scores in which every image weighs the same, whole and by magnification and tumour type."""

from dataclasses import replace
from typing import Any

import pandas as pd

from hf_breakhis.data.filenames import MAGNIFICATIONS
from hf_breakhis.metrics import fold_aggregate, image_report
from hf_breakhis.results.predictions import by_fold, classes_of, known, probabilities_of
from hf_breakhis.results.scores.intervals import choose_groups, groups_by_class, intervals
from hf_breakhis.results.scores.resampling import image_scores, images_of

RANKING = ("roc_auc", "average_precision")
BY_MAGNIFICATION = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc")


def image_level(test: pd.DataFrame) -> dict[str, Any]:
    """Return the image reports of the folds, their mean and spread, and the scores of all folds with intervals.

    `pooled` holds scores of all test images, but of AUC and average precision the mean over the folds, see
    `image_scores`; what pooling the scores of different models gives is in `pooled_ranking`.
    """
    result = fold_aggregate(test["label"], test["predicted"], test["fold"], probabilities_of(test), classes_of(test))
    groups, classes = choose_groups(test), classes_of(test)
    for report in result["per_fold"]:
        rows = (test["fold"] == report["fold"]).to_numpy()
        told = groups_by_class(test[rows], replace(groups, codes=groups.codes[rows]), classes)
        report["num_groups_by_class"] = told
    return {
        "per_fold": result["per_fold"],
        "mean": result["mean"],
        "sd": result["sd"],
        "pooled": _bounded(test),
        "pooled_ranking": {name: result["pooled"][name] for name in RANKING},
        "mean_confusion_matrix": result["mean_confusion_matrix"],
        "pooled_confusion_matrix": result["pooled"]["confusion_matrix"],
        "roc": result["roc"],
    }


def part_level(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Return the image report of each fold on another part than the test part; None where there is none."""
    if rows.empty:
        return None
    reports = [
        {"fold": fold, **image_report(part["label"], part["predicted"], probabilities_of(part), classes_of(part))}
        for fold, part in by_fold(rows)
    ]
    return {"per_fold": reports}


def magnifications_of(test: pd.DataFrame) -> list[str]:
    """Return the magnifications that occur, in BreakHis' order and then by name."""
    present = set(test["magnification"]) - {""}
    ordered = [name for name in MAGNIFICATIONS if name in present]
    return ordered + sorted(present - set(ordered))


def by_magnification(test: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the scores of each magnification."""
    result = {}
    for name in magnifications_of(test):
        rows = test[test["magnification"] == name]
        scores = _bounded(rows)
        result[name] = _counts(rows) | {score: scores[score] for score in BY_MAGNIFICATION if score in scores}
    return result


def by_tumor_type(test: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the accuracy within each tumour type: the share of its images that are right."""
    groups = test[test["tumor_type"] != ""].groupby("tumor_type")
    return {str(name): _counts(rows) | {"accuracy": _bounded(rows, ranked=False)["accuracy"]} for name, rows in groups}


def _counts(rows: pd.DataFrame) -> dict[str, int | None]:
    def count(column: str) -> int | None:
        return int(rows[column].nunique()) if known(rows, column) else None

    return {
        "num_images": len(rows),
        "num_patients": count("patient_id"),
        "num_specimens": count("specimen_id"),
    }


def _bounded(rows: pd.DataFrame, ranked: bool = True) -> dict[str, dict[str, float | None]]:
    images = images_of(rows)
    return intervals(image_scores(images, ranked), images.num_groups, classes=images.group_classes)
