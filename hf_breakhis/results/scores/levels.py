"""Scores at both levels: each image counts the same, or each patient counts the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hf_breakhis.data.filenames import MAGNIFICATIONS
from hf_breakhis.metrics.functions.fold_aggregate import fold_aggregate, mean_roc
from hf_breakhis.metrics.functions.image_report import image_report
from hf_breakhis.metrics.functions.recognition_rate import MIXED, patient_scores, recognition_rate
from hf_breakhis.results.predictions import by_fold, classes_of, known, probabilities_of
from hf_breakhis.results.scores.estimands import Estimand, Estimate
from hf_breakhis.results.scores.intervals import choose_groups, groups_by_class, intervals
from hf_breakhis.results.scores.resampling import image_scores, images_of, patient_rates, patient_sides

RANKING = ("roc_auc", "average_precision")
BY_MAGNIFICATION = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc")
RATES = ("recognition_rate", "accuracy_of_mean_probability")
PATIENT_AUC = "roc_auc_of_mean_probability"


def image_level(test: pd.DataFrame, estimand: Estimand) -> dict[str, Any]:
    """Return the image reports of the folds, their mean and spread, and the scores of all folds with intervals.

    `pooled` holds scores of all test images, but of AUC and average precision the mean over the folds, see
    `image_scores`; what pooling the scores of different models gives is in `pooled_ranking`.
    """
    result = fold_aggregate(test["label"], test["predicted"], test["fold"], probabilities_of(test), classes_of(test))
    groups, classes = choose_groups(test), classes_of(test)
    for report in result["per_fold"]:
        rows = (test["fold"] == report["fold"]).to_numpy()
        report["num_groups"] = len(np.unique(groups.codes[rows]))
        report["num_groups_by_class"] = groups_by_class(test[rows], replace(groups, codes=groups.codes[rows]), classes)
    return {
        "per_fold": result["per_fold"],
        "mean": result["mean"],
        "sd": result["sd"],
        "pooled": _with_models(_image_scores, test, estimand),
        "pooled_ranking": {name: result["pooled"][name] for name in RANKING},
        "mean_confusion_matrix": result["mean_confusion_matrix"],
        "pooled_confusion_matrix": result["pooled"]["confusion_matrix"],
        "roc": result["roc"],
    }


def part_level(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Return the image report of each fold on another part than the test set; None where there is none."""
    if rows.empty:
        return None
    reports = [
        {"fold": fold, **image_report(part["label"], part["predicted"], probabilities_of(part), classes_of(part))}
        for fold, part in by_fold(rows)
    ]
    return {"per_fold": reports}


def tested_magnifications(test: pd.DataFrame) -> list[str]:
    """Return the magnifications that occur, in BreakHis' order and then by name."""
    present = set(test["magnification"]) - {""}
    ordered = [name for name in MAGNIFICATIONS if name in present]
    return ordered + sorted(present - set(ordered))


def by_magnification(test: pd.DataFrame, estimand: Estimand) -> dict[str, dict[str, Any]]:
    """Return the scores of each magnification."""
    result = {}
    for name in tested_magnifications(test):
        rows = test[test["magnification"] == name]
        scores = _image_scores(rows, estimand)
        result[name] = _counts(rows) | {score: scores[score] for score in BY_MAGNIFICATION if score in scores}
    return result


def by_tumor_type(test: pd.DataFrame, estimand: Estimand) -> dict[str, dict[str, Any]]:
    """Return the accuracy within each tumour type: the share of its images that are right."""
    groups = test[test["tumor_type"] != ""].groupby("tumor_type")
    return {
        str(name): _counts(rows) | {"accuracy": _image_scores(rows, estimand, ranked=False)["accuracy"]}
        for name, rows in groups
    }


def _counts(rows: pd.DataFrame) -> dict[str, int | None]:
    def count(column: str) -> int | None:
        return int(rows[column].nunique()) if known(rows, column) else None

    return {
        "num_images": len(rows),
        "num_patients": count("patient_id"),
        "num_specimens": count("specimen_id"),
    }


def _image_scores(
    rows: pd.DataFrame, estimand: Estimand = Estimand.MODELS, ranked: bool = True
) -> dict[str, Estimate]:
    images = images_of(rows)
    return intervals(image_scores(images, ranked), images.num_groups, classes=images.group_classes, estimand=estimand)


def _with_models(
    score: Callable[[pd.DataFrame, Estimand], dict[str, Estimate]], rows: pd.DataFrame, estimand: Estimand
) -> dict[str, Estimate]:
    """Return what `score` gives; where that is about the recipe, with the intervals of the trained models too."""
    scores = score(rows, estimand)
    if estimand is Estimand.MODELS:
        return scores
    models = score(rows, Estimand.MODELS)
    return {
        name: {**one, "models_low": models[name]["low"], "models_high": models[name]["high"]}
        for name, one in scores.items()
    }


def patient_level(test: pd.DataFrame, magnifications: list[str], estimand: Estimand) -> dict[str, Any] | None:
    """Return the scores by patient, per fold and pooled; None where the source names no patients."""
    if not known(test, "patient_id"):
        return None
    per_fold = [{"fold": fold, **_rates(rows)} for fold, rows in by_fold(test)]
    columns = {name: np.array([np.nan if row[name] is None else row[name] for row in per_fold]) for name in RATES}
    patients = _as_images(test)
    roc = _patient_roc(patients)
    areas = {} if roc is None else {PATIENT_AUC: np.array([curve["auc"] for curve in roc["per_fold"]])}
    pooled = _with_models(_patient_scores, test, estimand)
    if roc is not None:
        pooled[PATIENT_AUC] = _with_models(_image_scores, patients, estimand)["roc_auc"]
    return {
        "per_fold": per_fold,
        "mean": {name: float(values.mean()) for name, values in (columns | areas).items()},
        "sd": {
            name: float(values.std(ddof=1)) if len(values) > 1 else None for name, values in (columns | areas).items()
        },
        "pooled": pooled | {"num_patients": int(test["patient_id"].nunique())},
        "roc": roc,
        "by_magnification": {
            name: _patient_scores(rows, estimand) | {"num_patients": int(rows["patient_id"].nunique())}
            for name in magnifications
            for rows in [test[test["magnification"] == name]]
        },
        "table": _table(test),
    }


def _as_images(test: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each patient of each fold with the mean probabilities of its images, those of one class."""
    scores = [name for name in test.columns if str(name).startswith("prob_")]
    keys = ["fold", "patient_id"]
    first = test.groupby(keys, sort=False)
    kept = dict.fromkeys(("specimen_id", "label", "magnification", "tumor_type"), "first")
    patients = first.agg({**kept, **dict.fromkeys(scores, "mean")}).reset_index()
    patients = patients[(first["label"].nunique() == 1).to_numpy()]
    return patients.assign(file_name=patients["patient_id"], predicted=patients[scores].to_numpy().argmax(1))


def _patient_roc(patients: pd.DataFrame) -> dict[str, Any] | None:
    """Return the curves of each fold and their mean by patient; None where no fold has patients of both classes."""
    classes = classes_of(patients)
    if patients.empty or len(classes) != 2:
        return None
    roc = mean_roc(patients["label"].to_numpy(), probabilities_of(patients), patients["fold"].to_numpy(), classes)
    return roc if roc.get("mean") else None


def _rates(rows: pd.DataFrame) -> dict[str, float | int | None]:
    prob = probabilities_of(rows)
    return recognition_rate(rows["label"], rows["predicted"], rows["patient_id"], prob, prob.shape[1])


def _patient_scores(rows: pd.DataFrame, estimand: Estimand = Estimand.MODELS) -> dict[str, Estimate]:
    """Return the rates with their intervals, and sensitivity and specificity of two classes."""
    images = images_of(rows)
    patients, classes = rows["patient_id"].to_numpy(), images.group_classes
    rates = intervals(patient_rates(images, patients), images.num_groups, classes=classes, estimand=estimand)
    if len(images.classes) == 2:
        sides = patient_sides(images, patients)
        rates |= intervals(sides, images.num_groups, classes=classes, estimand=estimand)
    return rates


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
