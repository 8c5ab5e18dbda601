"""Means over folds, pooled scores and the mean ROC curve are three things, each worked out independently."""

import numpy as np
import pytest
from sklearn import metrics

from hf_breakhis.metrics.functions.fold_aggregate import fold_aggregate
from hf_breakhis.metrics.functions.image_report import image_report


@pytest.fixture
def folds():
    """References (n,), probabilities (n,) of class 1, folds (n,) of unequal sizes; fold 2 is the easiest."""
    rng = np.random.default_rng(3)
    fold = np.repeat([0, 1, 2], [80, 120, 50])
    truth = rng.integers(2, size=len(fold))
    score = 1 / (1 + np.exp(-((fold + 1) * (truth - 0.5) * 2 + rng.normal(size=len(fold)))))
    return truth, score, fold


def test_mean_and_sd_are_those_of_the_folds(folds):
    truth, score, fold = folds
    predicted = (score >= 0.5).astype(int)
    result = fold_aggregate(truth, predicted, fold, score)
    areas = [metrics.roc_auc_score(truth[fold == i], score[fold == i]) for i in range(3)]
    assert result["mean"]["roc_auc"] == pytest.approx(np.mean(areas))
    assert result["sd"]["roc_auc"] == pytest.approx(np.std(areas, ddof=1))
    f1 = [metrics.f1_score(truth[fold == i], predicted[fold == i], average="macro") for i in range(3)]
    assert result["mean"]["macro.f1"] == pytest.approx(np.mean(f1))
    matrices = [metrics.confusion_matrix(truth[fold == i], predicted[fold == i]) for i in range(3)]
    assert np.allclose(result["mean_confusion_matrix"], np.mean(matrices, axis=0))


def test_pooled_is_the_report_of_all_images(folds):
    truth, score, fold = folds
    predicted = (score >= 0.5).astype(int)
    result = fold_aggregate(truth, predicted, fold, score)
    assert result["pooled"] == image_report(truth, predicted, score)
    assert result["pooled"]["accuracy"] != pytest.approx(result["mean"]["accuracy"], abs=1e-6)


def test_mean_curve_averages_true_positive_rates_at_equal_false_positive_rates(folds):
    truth, score, fold = folds
    roc = fold_aggregate(truth, (score >= 0.5).astype(int), fold, score)["roc"]
    rate = np.array(roc["mean"]["fpr"])
    assert len(rate) == 102
    assert (rate[0], roc["mean"]["tpr"][0], rate[-1], roc["mean"]["tpr"][-1]) == (0, 0, 1, 1)
    at_30 = int(np.argmin(np.abs(rate - 0.3)))
    expected = []
    for i in range(3):
        fpr, tpr, _ = metrics.roc_curve(truth[fold == i], score[fold == i], drop_intermediate=False)
        left, right = np.flatnonzero(fpr <= 0.3)[-1], np.flatnonzero(fpr > 0.3)[0]
        expected.append(tpr[left] + (tpr[right] - tpr[left]) * (0.3 - fpr[left]) / (fpr[right] - fpr[left]))
    assert roc["mean"]["tpr"][at_30] == pytest.approx(np.mean(expected))
    assert roc["mean"]["sd"][at_30] == pytest.approx(np.std(expected, ddof=1))


def test_area_of_the_mean_curve_is_close_to_the_mean_area(folds):
    truth, score, fold = folds
    roc = fold_aggregate(truth, (score >= 0.5).astype(int), fold, score)["roc"]
    areas = [curve["auc"] for curve in roc["per_fold"]]
    assert roc["mean"]["auc"] == pytest.approx(np.mean(areas), abs=1e-12)
    assert metrics.auc(roc["mean"]["fpr"], roc["mean"]["tpr"]) == pytest.approx(np.mean(areas), abs=2e-3)


def test_perfect_ranking_loses_no_area_at_the_axis():
    result = fold_aggregate([0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0.1, 0.2, 0.8, 0.9])
    assert result["roc"]["mean"]["auc"] == pytest.approx(1.0)


def test_one_fold_has_no_spread():
    result = fold_aggregate([0, 1, 1], [0, 1, 0], [0, 0, 0], [0.1, 0.8, 0.4])
    assert set(result["sd"].values()) == {None}
    assert result["roc"]["mean"]["sd"] is None


def test_a_fold_of_one_class_has_no_curve_and_leaves_no_mean():
    result = fold_aggregate([0, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1], [0.1, 0.8, 0.7, 0.4])
    assert [curve["fold"] for curve in result["roc"]["per_fold"]] == [0]
    assert result["mean"]["specificity"] is None
    assert result["mean"]["accuracy"] == 0.75


def test_more_classes_have_a_curve_each_against_the_rest():
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    prob = rng.dirichlet(np.ones(3), size=90) * 0.5 + 0.5 * np.eye(3)[truth]
    result = fold_aggregate(truth, prob.argmax(1), np.repeat([0, 1], 45), prob, ("A", "F", "PT"))
    curves = result["roc"]["one_vs_rest"]
    assert list(curves) == ["A", "F", "PT"]
    expected = metrics.roc_auc_score(truth[:45] == 1, prob[:45, 1])
    assert curves["F"]["per_fold"][0]["auc"] == pytest.approx(expected)


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="2 references, 2 predictions and 1 folds"):
        fold_aggregate([0, 1], [0, 1], [0])
