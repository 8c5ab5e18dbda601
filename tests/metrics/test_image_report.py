"""The image report agrees with scikit-learn and with numbers worked out by hand, and never crashes on one class."""

import numpy as np
import pytest
from sklearn import metrics

from hf_breakhis.metrics.functions.fold_aggregate import flat_scores
from hf_breakhis.metrics.functions.image_report import image_report

FOUR = ("A", "F", "PT", "TA")


def draw(num_classes, n=200, seed=0):
    """References (n,), predictions (n,), probabilities (n, num_classes)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(num_classes, size=n)
    logits = np.eye(num_classes)[truth] + rng.normal(size=(n, num_classes))
    prob = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return truth, prob.argmax(1), prob


def test_numbers_worked_out_by_hand():
    # 3 benign of which 2 right, 5 malignant of which 4 right.
    report = image_report([0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 0])
    assert report["confusion_matrix"] == [[2, 1], [1, 4]]
    assert report["accuracy"] == 6 / 8
    assert (report["sensitivity"], report["specificity"]) == (4 / 5, 2 / 3)
    assert report["balanced_accuracy"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert report["mcc"] == pytest.approx((2 * 4 - 1 * 1) / np.sqrt(3 * 5 * 3 * 5))
    assert report["per_class"]["benign"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3}
    )
    assert report["weighted"]["recall"] == pytest.approx(6 / 8)


@pytest.mark.parametrize("classes", [("benign", "malignant"), FOUR])
def test_report_is_what_scikit_learn_computes(classes):
    truth, predicted, prob = draw(len(classes))
    report = image_report(truth, predicted, prob, classes)
    table = metrics.classification_report(truth, predicted, target_names=classes, output_dict=True)
    for name in classes:
        expected = table[name]
        assert report["per_class"][name]["f1"] == pytest.approx(expected["f1-score"])
        assert report["per_class"][name]["precision"] == pytest.approx(expected["precision"])
        assert report["per_class"][name]["support"] == expected["support"]
    for ours, theirs in (("macro", "macro avg"), ("weighted", "weighted avg")):
        assert report[ours]["f1"] == pytest.approx(table[theirs]["f1-score"])
        assert report[ours]["precision"] == pytest.approx(table[theirs]["precision"])
    assert report["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    assert report["brier"] == pytest.approx(metrics.brier_score_loss(truth, prob if len(classes) > 2 else prob[:, 1]))
    area = metrics.roc_auc_score(truth, prob if len(classes) > 2 else prob[:, 1], multi_class="ovr")
    assert report["roc_auc"] == pytest.approx(area)
    assert report["average_precision"] == pytest.approx(
        metrics.average_precision_score(truth, prob if len(classes) > 2 else prob[:, 1])
    )


def test_more_classes_have_no_sensitivity():
    assert not {"sensitivity", "specificity"} & set(image_report(*draw(4), FOUR))


def test_probabilities_of_class_1_are_enough_for_two_classes():
    truth, predicted, prob = draw(2)
    short, long = (flat_scores(image_report(truth, predicted, values)) for values in (prob[:, 1], prob))
    assert short == pytest.approx(long)


def test_one_class_leaves_undefined_what_it_cannot_tell():
    report = image_report([1, 1, 1], [1, 1, 0], [0.9, 0.8, 0.3])
    undefined = ("specificity", "balanced_accuracy", "mcc", "roc_auc", "average_precision")
    assert [report[name] for name in undefined] == [None] * 5
    assert (report["accuracy"], report["sensitivity"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert report["per_class"]["benign"]["recall"] is None


def test_a_class_never_predicted_counts_in_the_average():
    report = image_report([0, 0, 1, 1, 1], [1, 1, 1, 1, 1])
    assert report["per_class"]["benign"]["precision"] is None
    assert report["macro"]["precision"] == pytest.approx((0 + 3 / 5) / 2)


def test_a_class_that_does_not_occur_is_left_out_of_the_averages():
    truth, predicted, prob = draw(3)
    padded = np.column_stack([prob, np.zeros(len(prob))])
    with_absent = image_report(truth, predicted, padded, FOUR)
    without = image_report(truth, predicted, prob, FOUR[:3])
    for name in ("macro.f1", "weighted.precision", "balanced_accuracy", "roc_auc", "average_precision", "brier"):
        assert flat_scores(with_absent)[name] == pytest.approx(flat_scores(without)[name])
    assert with_absent["per_class"]["TA"] == {"precision": None, "recall": None, "f1": None, "support": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0]), "2 references and 1 predictions"),
        (([], []), "at least one"),
        (([0, 2], [0, 1]), "`references` holds 2; allowed are the classes 0 to 1"),
        (([0, 1], [0, 0.7]), "`predictions` holds 0.7"),
        (([0, 1], [0, 1], [0.5, 3.0]), "not logits"),
        (([0, 1], [0, 1], [0.5, np.nan]), "sum to 1"),
        (([0, 1], [0, 1], [[0.5, 0.4, 0.1]] * 2), r"shape \(2, 3\); allowed is \(2, 2\)"),
    ],
)
def test_what_cannot_be_scored_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        image_report(*arguments)
