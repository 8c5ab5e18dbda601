"""Scores of weighted groups equal the scores of the images themselves, drawn as often."""

from dataclasses import replace

import numpy as np
import pytest

from hf_breakhis.metrics.functions.fold_aggregate import flat_scores
from hf_breakhis.metrics.functions.image_report import image_report
from hf_breakhis.metrics.functions.recognition_rate import recognition_rate
from hf_breakhis.results.scores.resampling import Predicted, image_scores, patient_rates, patient_sides

TWO, FOUR = ("benign", "malignant"), ("A", "F", "PT", "TA")


def draw_images(classes, n=300, num_groups=15, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(num_groups), rng.integers(num_groups, size=n - num_groups)])
    labels = groups % len(classes)
    logits = 1.5 * np.eye(len(classes))[labels] + rng.normal(size=(n, len(classes)))
    prob = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if ties:
        prob = np.round(prob, 1) + 1e-3
        prob /= prob.sum(1, keepdims=True)
    return Predicted(labels, prob.argmax(1), prob, groups, classes)


def repeat_rows(images, weights):
    """Row numbers of the images, each as often as its group is drawn."""
    return np.repeat(np.arange(len(images.labels)), weights[images.groups])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_weighted_scores_are_those_of_repeated_images(classes, ties):
    images = draw_images(classes, ties=ties)
    weights = np.random.default_rng(1).integers(0, 4, size=(5, images.num_groups))
    scores = image_scores(images)(weights)
    for i, weight in enumerate(weights):
        rows = repeat_rows(images, weight)
        report = image_report(images.labels[rows], images.predicted[rows], images.probabilities[rows], classes)
        ours = {name: values[i] for name, values in scores.items()}
        assert ours == pytest.approx(flat_scores(report), abs=1e-12)


def test_missing_classes_leave_undefined_what_the_report_leaves_undefined():
    images = draw_images(TWO)
    only_benign = (np.arange(images.num_groups) % 2 == 0).astype(int)
    scores = image_scores(images)(only_benign[None])
    rows = repeat_rows(images, only_benign)
    report = flat_scores(image_report(images.labels[rows], images.predicted[rows], images.probabilities[rows]))
    undefined = {name for name, values in scores.items() if np.isnan(values[0])}
    assert undefined == {name for name, value in report.items() if value is None}
    assert {"roc_auc", "average_precision", "sensitivity", "balanced_accuracy", "mcc"} <= undefined


@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_weighted_rates_are_those_of_repeated_patients(classes):
    images = draw_images(classes, num_groups=16)
    # Two patients a group; a patient drawn twice counts as two patients.
    patients = images.groups * 10 + np.arange(len(images.labels)) % 2
    weights = np.random.default_rng(2).integers(0, 3, size=(4, images.num_groups))
    rates = patient_rates(images, patients)(weights)
    for i, weight in enumerate(weights):
        rows = repeat_rows(images, weight)
        copy = np.concatenate([np.arange(weight[group]) for group in images.groups])
        names = [f"{patient}-{k}" for patient, k in zip(patients[rows], copy, strict=True)]
        expected = recognition_rate(
            images.labels[rows], images.predicted[rows], names, images.probabilities[rows], len(classes)
        )
        for name, values in rates.items():
            assert values[i] == pytest.approx(expected[name])


def test_a_patient_of_two_classes_leaves_the_verdict_undefined():
    images = draw_images(TWO)
    rates = patient_rates(images, np.zeros(len(images.labels)))(np.ones((1, images.num_groups)))
    assert np.isnan(rates["accuracy_of_mean_probability"][0])
    assert rates["recognition_rate"][0] == pytest.approx(np.mean(images.labels == images.predicted))


def test_patients_called_by_their_mean_probability():
    """By hand: of three malignant patients two are called so, of two benign ones one; the mixed one is left out."""
    patients = np.array(["a", "a", "b", "c", "d", "e", "f", "f"])
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 1])
    positive = np.array([0.9, 0.3, 0.8, 0.2, 0.1, 0.7, 0.9, 0.9])
    images = Predicted(labels, (positive > 0.5).astype(int), np.stack([1 - positive, positive], 1), np.arange(8))
    found = patient_sides(images, patients)(np.ones((1, 8)))
    assert found["sensitivity"] == pytest.approx([2 / 3])
    assert found["specificity"] == pytest.approx([1 / 2])


def test_a_ranking_is_the_mean_over_folds_and_not_moved_by_their_scales():
    """One fold ranks 3 of 4 pairs correctly, the other all 4; its scores are all below those of the first."""
    labels, folds = np.array([0, 0, 1, 1] * 2), np.repeat([0, 1], 4)
    score = np.array([0.6, 0.8, 0.7, 0.9, 0.1, 0.2, 0.3, 0.4])
    images = Predicted(labels, labels, np.stack([1 - score, score], 1), np.arange(8), folds=folds)
    found = image_scores(images)(np.ones((1, 8)))
    assert found["roc_auc"] == pytest.approx([(0.75 + 1) / 2])
    assert found["average_precision"] == pytest.approx([((1 + 2 / 3) / 2 + 1) / 2])
    pooled = image_scores(replace(images, folds=None))(np.ones((1, 8)))
    assert pooled["roc_auc"] == pytest.approx([(3 + 4 + 2 + 2) / 16])
    without = np.array([[0, 0, 1, 1, 1, 1, 1, 1.0]])
    assert image_scores(images)(without)["roc_auc"] == pytest.approx([1]), "a fold without a class is left out"


def test_groups_without_images_have_no_class():
    images = Predicted(np.array([1, 0]), np.array([1, 0]), np.eye(2)[[1, 0]], np.array([0, 2]), total_groups=4)
    assert images.group_classes.tolist() == [1, -1, 0, -1]
