"""Small cases come out to the last digit, and what cannot be scored is refused word for word."""

import warnings

import numpy as np
import pytest
from sklearn import metrics

from hf_breakhis.metrics.functions.fold_aggregate import flat_scores, fold_aggregate, mean_and_sd, mean_roc
from hf_breakhis.metrics.functions.image_report import (
    as_classes,
    class_scores,
    image_report,
    plain,
    probability_scores,
)
from hf_breakhis.metrics.functions.recognition_rate import MIXED, patient_scores, recognition_rate

LOGITS = "`probabilities` must lie in 0..1 and sum to 1 per image; give a softmax, not logits."


@pytest.mark.parametrize(
    ("function", "given", "message"),
    [
        (image_report, ([0, 1], [0]), "2 references and 1 predictions; give one of each per image."),
        (image_report, ([], []), "`references` has shape (0,); give one class number per image, at least one."),
        (image_report, ([0], [[0]]), "`predictions` has shape (1, 1); give one class number per image, at least one."),
        (image_report, (1, 1), "`references` has shape (); give one class number per image, at least one."),
        (image_report, ([0, 2.5], [0, 1]), "`references` holds 2.5; allowed are the classes 0 to 1."),
        (image_report, ([0, None], [0, 1]), "`references` holds nan; allowed are the classes 0 to 1."),
        (image_report, ([0, 1], [3, -1], None, "abc"), "`predictions` holds 3; allowed are the classes 0 to 2."),
        (
            image_report, ([0, 1], [0, 1], [0.5, 0.5, 0.5]),
            "`probabilities` has shape (3, 2); allowed is (2, 2).",
        ),
        (
            image_report, ([0, 1], [0, 1], [0.5, 0.5], "abc"),
            "`probabilities` has shape (2,); allowed is (2, 3).",
        ),
        (image_report, ([0, 1], [0, 1], [-0.5, 0.5]), LOGITS),
        (image_report, ([0, 1], [0, 1], [[0.5, 0.5], [0.5, 0.6]]), LOGITS),
        (image_report, ([0, 1], [0, 1], [[0.5, 0.5], [0.5, 0.4]]), LOGITS),
        (image_report, ([0, 1], [0, 1], [[0.5, 0.5], [1.1, -0.1]]), LOGITS),
        (image_report, ([0, 1], [0, 1], [np.nan, 0.5]), LOGITS),
        (image_report, ([0, 1], [0, 1], [[None, 0.5], [0.5, 0.5]]), LOGITS),
        (
            fold_aggregate, ([0, 1], [0, 1], [0]),
            "2 references, 2 predictions and 1 folds; give one of each per image.",
        ),
        (fold_aggregate, ([0, 1], [0], [0]), "2 references, 1 predictions and 1 folds; give one of each per image."),
        (fold_aggregate, ([0, 2], [0, 1], [0, 0]), "`references` holds 2; allowed are the classes 0 to 1."),
        (fold_aggregate, ([0, 1], [0, 2], [0, 0]), "`predictions` holds 2; allowed are the classes 0 to 1."),
        (
            fold_aggregate, ([0, 1], [0, 1], [0, 0], [0.5, 0.5, 0.5]),
            "`probabilities` has shape (3, 2); allowed is (2, 2).",
        ),
        (
            recognition_rate, ([0, 1], [0, 1], ["a"]),
            "2 references, 2 predictions and 1 patient_ids; give one of each per image.",
        ),
        (
            recognition_rate, ([0, 1], [0], ["a"]),
            "2 references, 1 predictions and 1 patient_ids; give one of each per image.",
        ),
        (
            recognition_rate, ([0, 1], [0, 1], ["a", ""]),
            "An image without a patient: the recognition rate needs the patient of every image.",
        ),
        (recognition_rate, ([0, 2], [0, 1], list("ab")), "`references` holds 2; allowed are the classes 0 to 1."),
        (recognition_rate, ([0, 1], [0, 2], list("ab")), "`predictions` holds 2; allowed are the classes 0 to 1."),
        (patient_scores, ([0, 2], [0, 1], list("ab")), "`references` holds 2; allowed are the classes 0 to 1."),
        (
            recognition_rate, ([0, 1], [0, 1], list("ab"), [0.5]),
            "`probabilities` has shape (1, 2); allowed is (2, 2).",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused_word_for_word(function, given, message):
    with pytest.raises(ValueError, match=r"image|classes|allowed") as refused:
        function(*given)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("probabilities", "allowed"),
    [
        ([[-1e-6, 1.0], [0.5, 0.5]], True),
        ([[-3e-6, 1.0], [0.5, 0.5]], False),
        ([[0.0, 1.00009], [0.5, 0.5]], True),
        ([[0.5, 0.50009], [0.5, 0.5]], True),
        ([[0.5, 0.50011], [0.5, 0.5]], False),
        ([[0.5, 0.49991], [0.5, 0.5]], True),
        ([[0.5, 0.49989], [0.5, 0.5]], False),
    ],
)
def test_probabilities_may_be_off_by_their_rounding(probabilities, allowed):
    """Without a warning of scikit-learn, which allows for less."""
    if allowed:
        expected = np.square(np.clip(probabilities, 0, 1) - np.eye(2)).sum() / 4
        assert image_report([0, 1], [0, 1], probabilities)["brier"] == pytest.approx(expected, rel=1e-12)
    else:
        with pytest.raises(ValueError, match=f"^{LOGITS}$"):
            image_report([0, 1], [0, 1], probabilities)


def test_scikit_learn_may_warn_of_all_else(monkeypatch):
    monkeypatch.setattr(metrics, "brier_score_loss", lambda *_, **__: warnings.warn("will change", stacklevel=1))
    with pytest.warns(UserWarning, match="will change"):
        image_report([0, 1], [0, 1], [0.1, 0.9])


def test_the_whole_report_of_four_images():
    report = image_report([0, 0, 1, 1], [0, 1, 1, 1], [0.1, 0.6, 0.4, 0.9])
    assert report == {
        "accuracy": 0.75,
        "balanced_accuracy": 0.75,
        "mcc": pytest.approx(2 / np.sqrt(12)),
        "sensitivity": 1.0,
        "specificity": 0.5,
        "per_class": {
            "benign": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
            "malignant": {"precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8), "support": 2},
        },
        "macro": pytest.approx({"precision": 5 / 6, "recall": 0.75, "f1": 11 / 15}),
        "weighted": pytest.approx({"precision": 5 / 6, "recall": 0.75, "f1": 11 / 15}),
        "confusion_matrix": [[1, 1], [0, 2]],
        "num_images": 4,
        "roc_auc": 0.75,
        "average_precision": pytest.approx((1 + 2 / 3) / 2),
        "brier": pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4),
    }
    assert class_scores(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])).items() <= report.items()


def test_a_class_of_all_images_or_none_has_no_area():
    """Of four classes only the second and the third have images on either side; the area is the mean of theirs."""
    probabilities = np.array([[0, 0.9, 0.1, 0], [0, 0.4, 0.6, 0], [0, 0.5, 0.5, 0], [0, 0.2, 0.8, 0]])
    scores = probability_scores(np.array([1, 1, 2, 2]), probabilities)
    assert scores["roc_auc"] == 0.75
    assert scores["average_precision"] == pytest.approx((5 / 6 + 5 / 6) / 2)
    assert scores["brier"] == pytest.approx((2 * 0.01 + 2 * 0.36 + 2 * 0.25 + 2 * 0.04) / 4)
    alone = probability_scores(np.array([1, 1, 1, 1]), probabilities)
    assert (alone["roc_auc"], alone["average_precision"]) == (None, None)


def test_a_class_without_images_has_its_row_and_its_column():
    assert image_report([0, 2], [0, 0], classes="abc")["confusion_matrix"] == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_classes_that_evaluate_hands_on_as_floats_are_whole_again():
    assert as_classes([0.0, 1.0], "references", 2).dtype == int


def test_plain_values_are_pythons():
    value = plain({"a": np.float64(0.5), "b": [np.int64(2), np.nan], "c": np.array([[1.0, np.nan]]), "d": "nan"})
    assert value == {"a": 0.5, "b": [2, None], "c": [[1.0, None]], "d": "nan"}
    assert [type(item) for item in (value["a"], value["b"][0])] == [float, int]


FOLDED = ([0, 0, 1, 1, 0, 1], [0, 1, 0, 1, 0, 1], [3, 3, 3, 3, 7, 7], [0.1, 0.6, 0.4, 0.9, 0.2, 0.7])


def test_the_whole_of_two_folds():
    """Fold 3: half of each class right, area 3/4; fold 7: all right."""
    result = fold_aggregate(*FOLDED)
    assert list(result) == ["num_folds", "per_fold", "mean", "sd", "mean_confusion_matrix", "pooled", "roc"]
    assert result["num_folds"] == 2
    truth, predicted, _, score = (np.array(column) for column in FOLDED)
    assert result["per_fold"] == [
        {"fold": 3} | image_report(truth[:4], predicted[:4], score[:4]),
        {"fold": 7} | image_report(truth[4:], predicted[4:], score[4:]),
    ]
    assert result["mean_confusion_matrix"] == [[1.0, 0.5], [0.5, 1.0]]
    assert set(result["mean"]) == set(result["sd"]) == set(flat_scores(result["pooled"]))
    assert (result["mean"]["accuracy"], result["mean"]["roc_auc"]) == (0.75, 0.875)
    assert result["sd"]["roc_auc"] == pytest.approx(np.sqrt(2 * 0.125**2))
    assert result["pooled"] == image_report(truth, predicted, score)
    assert "roc" not in fold_aggregate(*FOLDED[:3])


def test_the_mean_curve_of_two_folds_worked_out_by_hand():
    """Fold 3 climbs to 1/2, goes right to 1/2 and climbs to 1; fold 7 climbs to 1 at once."""
    roc = fold_aggregate(*FOLDED)["roc"]
    grid = np.linspace(0, 1, 101)
    low = grid < 0.5
    assert roc["mean"]["fpr"] == [0, *grid]
    assert roc["mean"]["tpr"] == [0, *np.where(low, 0.75, 1)]
    assert roc["mean"]["sd"] == pytest.approx([0, *np.where(low, np.sqrt(2 * 0.25**2), 0)])
    assert roc["mean"]["auc"] == pytest.approx(
        (0.75 + 1) / 2
    )  # the mean of the folds, not the area under the mean curve
    assert roc["per_fold"] == [
        {"fold": 3, "fpr": [0, 0, 0.5, 0.5, 1], "tpr": [0, 0.5, 0.5, 1, 1], "auc": 0.75},
        {"fold": 7, "fpr": [0, 0, 1], "tpr": [0, 1, 1], "auc": 1.0},
    ]


def test_a_fold_without_a_curve_is_passed_over():
    truth, score, fold = np.array([1, 1, 0, 1, 0, 0]), np.array([0.5, 0.6, 0.2, 0.7, 0.1, 0.2]), [0, 0, 1, 1, 2, 2]
    roc = mean_roc(truth, np.stack([1 - score, score], 1), np.array(fold))
    assert [curve["fold"] for curve in roc["per_fold"]] == [1]
    assert roc["mean"]["sd"] is None
    rows = np.array(fold) != 1
    assert mean_roc(truth[rows], np.stack([1 - score, score], 1)[rows], np.array(fold)[rows]) == {
        "mean": None,
        "per_fold": [],
    }


def test_each_class_has_its_curve_against_the_rest():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.4, 0.3, 0.3], [0.1, 0.2, 0.7]])
    truth, folds = np.array([0, 1, 2, 2]), np.zeros(4, int)
    curves = mean_roc(truth, probabilities, folds, ("A", "F", "PT"))["one_vs_rest"]
    for k, name in enumerate(("A", "F", "PT")):
        against = np.stack([1 - probabilities[:, k], probabilities[:, k]], 1)
        assert curves[name] == mean_roc((truth == k).astype(int), against, folds)


def test_a_score_that_a_fold_leaves_undefined_has_no_mean():
    """The names of what is nested are joined by points, and what counts is no score."""
    report = {"fold": 0, "accuracy": 0.5, "per_class": {"benign": {"recall": 0.25, "support": 4}}, "num_images": 8}
    reports = [report | {"confusion_matrix": [[1]]}, report | {"accuracy": None, "confusion_matrix": [[4]]}]
    assert flat_scores(reports[0]) == {"accuracy": 0.5, "per_class.benign.recall": 0.25}
    assert mean_and_sd(reports) == {
        "mean": {"accuracy": None, "per_class.benign.recall": 0.25},
        "sd": {"accuracy": None, "per_class.benign.recall": 0.0},
        "mean_confusion_matrix": [[2.5]],
    }
    assert mean_and_sd(reports[:1])["sd"] == {"accuracy": None, "per_class.benign.recall": None}


def test_all_that_is_known_of_three_patients():
    """Patient a: 1 of 2 right; b has images of both classes; 10, a number, sorts as text."""
    found = patient_scores(
        references=[1, 0, 1, 0, 1], predictions=[1, 0, 0, 1, 1], patient_ids=["a", "b", "a", 10, "b"],
        probabilities=[0.9, 0.2, 0.3, 0.6, 0.8],
    )  # fmt: skip
    means = found.pop("mean_probabilities")
    np.testing.assert_allclose(means, [[0.4, 0.6], [0.4, 0.6], [0.5, 0.5]])
    assert {name: values.tolist() for name, values in found.items()} == {
        "ids": ["10", "a", "b"],
        "num_images": [1, 2, 2],
        "scores": [0, 0.5, 1],
        "labels": [0, 1, MIXED],
    }
    numbers = patient_scores([1, 0], [1, 1], [10, 9])
    assert (numbers["ids"].tolist(), numbers["mean_probabilities"]) == (["10", "9"], None)


@pytest.mark.parametrize(
    ("classes", "brier", "mcc"), [(("benign", "malignant"), 1, -1), (("A", "F", "PT"), 2, -0.5)], ids=["two", "three"]
)
def test_worst_and_best_are_the_ends_of_the_range(classes, brier, mcc):
    """As the page of the metric says; three classes that are each taken for the next have no -1."""
    truth = np.arange(6) % len(classes)
    for predicted, ends in ((truth, (0, 1)), ((truth + 1) % len(classes), (brier, mcc))):
        report = image_report(truth, predicted, np.eye(len(classes))[predicted], classes)
        assert (report["brier"], report["mcc"]) == pytest.approx(ends)
