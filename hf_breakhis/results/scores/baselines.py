"""Baselines: what the most frequent class and the colour of a picture alone would score."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_breakhis.files import InputError
from hf_breakhis.metrics.functions.image_report import image_report
from hf_breakhis.results.scores.estimands import Estimate, interval_of
from hf_breakhis.results.scores.paired import SCORES, NothingInCommonError, paired_scores


def baseline_scores(
    folds: pd.DataFrame, colors: pd.DataFrame | None, test: pd.DataFrame, present: list[int], classes: list[str]
) -> dict[str, Any]:
    """Score both baselines on the training and test sets of the model.

    Each has a `difference`: scores of the model minus those of the baseline on the same images, with intervals over
    specimens; None where the folds test no image exactly once.

    Args:
        folds: folds.csv.
        colors: colors.csv by file name; None for feature vectors without images.
        test: test predictions of the model.
        present: the folds to score.
        classes: names of the classes.
    """
    parts = [_parts(folds, fold) for fold in present]
    predicted = {
        "majority": [_majority(train, tested, len(classes)) for train, tested in parts],
        "mean_color": _mean_color(parts, colors, len(classes)),
    }
    names = [tested["file_name"] for _, tested in parts]
    return {
        name: None
        if results is None
        else _score(present, results, classes) | {"difference": _difference(test, names, results, classes)}
        for name, results in predicted.items()
    }


def _parts(folds: pd.DataFrame, fold: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = folds[folds["fold"] == fold]
    return rows[rows["part"] == "train"], rows[rows["part"] == "test"]


def _majority(train: pd.DataFrame, test: pd.DataFrame, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels and, for each test image, the shares of the classes in the training set."""
    share = np.bincount(train["label"], minlength=num_classes) / len(train)
    return test["label"].to_numpy(), np.tile(share, (len(test), 1))


def _mean_color(
    parts: list[tuple[pd.DataFrame, pd.DataFrame]], colors: pd.DataFrame | None, num_classes: int
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    if colors is None:
        return None
    results = []
    for train, test in parts:
        if train["label"].nunique() < 2:
            return None  # nothing to tell apart
        missing = (set(train["file_name"]) | set(test["file_name"])) - set(colors.index)
        if missing:
            raise InputError(f"colors.csv has no row for {min(missing)} ({len(missing):,} missing); train again.")
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(colors.loc[train["file_name"]].to_numpy(), train["label"])
        prob = np.zeros((len(test), num_classes))
        prob[:, model.classes_] = model.predict_proba(colors.loc[test["file_name"]].to_numpy())
        results.append((test["label"].to_numpy(), prob))
    return results


def _score(present: list[int], results: list[tuple[np.ndarray, np.ndarray]], classes: list[str]) -> dict[str, Any]:
    def report(labels: np.ndarray, prob: np.ndarray) -> dict[str, Any]:
        scores = image_report(labels, prob.argmax(1), prob, classes)
        return {name: scores[name] for name in SCORES}

    per_fold = [{"fold": fold, **report(*result)} for fold, result in zip(present, results, strict=True)]
    labels, prob = (np.concatenate(columns) for columns in zip(*results, strict=True))
    areas = [row["roc_auc"] for row in per_fold if row["roc_auc"] is not None]
    return {"per_fold": per_fold, **report(labels, prob), "roc_auc": float(np.mean(areas)) if areas else None}


def _difference(
    test: pd.DataFrame,
    names: list[pd.Series],
    results: list[tuple[np.ndarray, np.ndarray]],
    classes: list[str],
) -> dict[str, Estimate] | None:
    """Return model minus baseline for each score; None where no image was tested exactly once."""
    columns = [f"prob_{name}" for name in classes]
    parts = []
    for fold_names, (_, prob) in zip(names, results, strict=True):
        table = pd.DataFrame(prob, columns=columns).assign(predicted=prob.argmax(1), file_name=fold_names.to_numpy())
        parts.append(table)
    kept = test.drop(columns=[*columns, "predicted"])
    baseline = kept.merge(pd.concat(parts), on="file_name", how="inner", validate="many_to_many")
    try:
        found = paired_scores([(test, baseline)])
    except NothingInCommonError:
        return None
    return {name: interval_of(found[name]) for name in SCORES}
