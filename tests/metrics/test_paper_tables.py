"""Tables II to VI of "Pixels to Prognosis" come out of our metrics, digit for digit.

The paper prints no confusion matrices as numbers. The search below finds every integer matrix that fits a printed row,
by arithmetic on counts alone; the metrics are then asked about matrices found by it.
"""

import itertools

import numpy as np
import pytest

from hf_breakhis.metrics.functions.fold_aggregate import fold_aggregate
from hf_breakhis.metrics.functions.image_report import image_report

# Per class precision, recall, F1 in hundredths; accuracy; supports.
TABLES = {
    "II": [((85, 97, 91), (96, 82, 88), 90, (492, 465))],
    "III": [
        ((93, 64, 75), (73, 95, 82), 79, (1055, 1070)),
        ((91, 97, 94), (97, 90, 93), 93, (1053, 1072)),
        ((90, 97, 93), (96, 90, 93), 93, (1060, 1065)),
    ],
    "V": [
        ((86, 69, 76), (74, 89, 81), 79, (1063, 1062)),
        ((99, 87, 93), (88, 99, 93), 93, (1061, 1064)),
        ((96, 99, 97), (99, 96, 97), 97, (1044, 1081)),
    ],
}
TABLE_II_AVERAGES = {"macro": (91, 89, 89), "weighted": (90, 90, 89)}
# Average precision, recall, F1 and accuracy over the folds of Tables III and V.
AVERAGES = {"IV": ("III", (90, 89, 88, 89)), "VI": ("V", (90, 90, 90, 90))}
# (benign right, malignant right) of one matrix that fits each row; those of a table fit its averages too.
FITTING = {
    "II": [(478, 379)],
    "III": [(671, 1017), (1019, 966), (1024, 955)],
    "V": [(731, 943), (922, 1055), (1032, 1036)],
}
NUM_FITTING = {"II": [3], "III": [8, 8, 12], "V": [27, 16, 55]}


def search(row):
    """Return all (benign right, malignant right) whose scores round to the printed row, (n, 2)."""
    benign, malignant, accuracy, (n0, n1) = row
    right0, right1 = np.arange(n0 + 1)[:, None], np.arange(n1 + 1)[None]
    drawn0, drawn1 = right0 + n1 - right1, right1 + n0 - right0
    shares = [
        *zip((right0, right0, 2 * right0), (drawn0, n0, n0 + drawn0), benign, strict=True),
        *zip((right1, right1, 2 * right1), (drawn1, n1, n1 + drawn1), malignant, strict=True),
        (right0 + right1, n0 + n1, accuracy),
    ]
    fits = np.ones((n0 + 1, n1 + 1), bool)
    for part, whole, printed in shares:
        # |part / whole - printed / 100| < 1 / 200 in whole numbers; strict, so that no tie has to be broken.
        fits &= np.abs(200 * part - 2 * printed * whole) < whole
    return np.argwhere(fits)


def images_of(pair, row):
    """Return references and predictions of the images that a matrix counts."""
    (n0, n1), (right0, right1) = row[3], pair
    return (
        np.repeat([0, 0, 1, 1], [right0, n0 - right0, n1 - right1, right1]),
        np.repeat([0, 1, 0, 1], [right0, n0 - right0, n1 - right1, right1]),
    )


def hundredths(*values):
    return tuple(round(100 * value) for value in values)


def printed_scores(scores):
    return hundredths(*(scores[name] for name in ("precision", "recall", "f1")))


def average_scores(pair, row):
    """Return macro precision, recall, F1, accuracy, and precision, recall, F1 of class 1 alone, from counts."""
    (n0, n1), (right0, right1) = row[3], pair
    drawn0, drawn1 = right0 + n1 - right1, right1 + n0 - right0
    benign = np.array([right0 / drawn0, right0 / n0, 2 * right0 / (n0 + drawn0)])
    malignant = np.array([right1 / drawn1, right1 / n1, 2 * right1 / (n1 + drawn1)])
    return np.array([*(benign + malignant) / 2, (right0 + right1) / (n0 + n1), *malignant])


ROWS = [(table, i) for table, rows in TABLES.items() for i in range(len(rows))]


@pytest.mark.parametrize(("table", "i"), ROWS)
def test_every_printed_row_fits_an_integer_matrix(table, i):
    found = search(TABLES[table][i])
    assert len(found) == NUM_FITTING[table][i]
    assert FITTING[table][i] in set(map(tuple, found.tolist()))


def test_a_row_with_a_wrong_digit_fits_none():
    """If every row were to fit some matrix, the search would prove nothing."""
    (benign, malignant, accuracy, supports) = TABLES["II"][0]
    assert not len(search(((86, *benign[1:]), malignant, accuracy, supports)))
    assert not len(search((benign, malignant, accuracy + 1, supports)))


@pytest.mark.parametrize(("table", "i"), ROWS)
def test_image_report_prints_the_row(table, i):
    benign, malignant, accuracy, supports = TABLES[table][i]
    report = image_report(*images_of(FITTING[table][i], TABLES[table][i]))
    assert printed_scores(report["per_class"]["benign"]) == benign
    assert printed_scores(report["per_class"]["malignant"]) == malignant
    assert hundredths(report["accuracy"]) == (accuracy,)
    assert tuple(report["per_class"][name]["support"] for name in ("benign", "malignant")) == supports
    assert report["num_images"] == sum(supports)


def test_image_report_prints_the_averages_of_table_ii():
    report = image_report(*images_of(FITTING["II"][0], TABLES["II"][0]))
    assert {name: printed_scores(report[name]) for name in TABLE_II_AVERAGES} == TABLE_II_AVERAGES


def test_table_ii_fixes_the_accuracy_of_classifier_1():
    """Both matrices that also fit the averages have 857 of 957 right: .8955, printed as .90."""
    found = search(TABLES["II"][0]).tolist()
    reports = [image_report(*images_of(pair, TABLES["II"][0])) for pair in found]
    fitting = [
        pair
        for pair, report in zip(found, reports, strict=True)
        if all(printed_scores(report[name]) == printed for name, printed in TABLE_II_AVERAGES.items())
    ]
    assert fitting == [[477, 380], [478, 379]]


@pytest.mark.parametrize("average", AVERAGES)
def test_fold_aggregate_prints_the_averages_over_folds(average):
    table, printed = AVERAGES[average]
    folds = [images_of(pair, row) for pair, row in zip(FITTING[table], TABLES[table], strict=True)]
    references, predictions = (np.concatenate(column) for column in zip(*folds, strict=True))
    number = np.repeat([1, 2, 3], [len(truth) for truth, _ in folds])
    result = fold_aggregate(references, predictions, number)
    for mean in ("macro", "weighted"):
        names = [f"{mean}.precision", f"{mean}.recall", f"{mean}.f1", "accuracy"]
        assert hundredths(*(result["mean"][name] for name in names)) == printed
    # The folds have 2,125 images each, so here the mean of the folds is the pooled accuracy.
    assert result["mean"]["accuracy"] == pytest.approx(result["pooled"]["accuracy"], abs=1e-12)


@pytest.mark.parametrize(
    ("average", "mean_accuracy", "num_fitting"), [("IV", (0.8858, 0.8874), 615), ("VI", (0.8954, 0.8982), 23_548)]
)
def test_averages_are_means_of_both_classes_and_not_of_class_1(average, mean_accuracy, num_fitting):
    table, printed = AVERAGES[average]
    per_fold = [np.array([average_scores(pair, row) for pair in search(row)]) for row in TABLES[table]]
    means = np.array([np.mean(choice, axis=0) for choice in itertools.product(*per_fold)])
    fits = np.abs(means[:, :4] - np.array(printed) / 100) < 0.005
    assert fits.all(1).sum() == num_fitting
    assert (means[:, 3].min().round(4), means[:, 3].max().round(4)) == mean_accuracy
    class_1 = np.abs(means[:, [4, 5, 6, 3]] - np.array(printed) / 100) < 0.005
    assert not class_1.all(1).any()
