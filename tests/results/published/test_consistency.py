"""What can come from whole numbers fits, always; what cannot does not, and the number that explains it is named."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import classification_report, roc_auc_score

from hf_breakhis.results.published.averages import check_averages
from hf_breakhis.results.published.candidates import check_supports
from hf_breakhis.results.published.check import check_paper
from hf_breakhis.results.published.consistency import check_fold
from hf_breakhis.results.published.matrices import matrices
from hf_breakhis.results.published.table import PublishedFold, Table, read_number, read_paper
from hf_breakhis.results.published.trend import climb, spread_of_folds
from hf_breakhis.yaml_files import packed_files
from tests.metrics.test_paper_tables import NUM_FITTING, TABLES, search

PAPER = read_paper(packed_files("papers")["pixels-to-prognosis"])
FOLDS = [fold for table in PAPER.tables for fold in table.folds]


def number(value):
    return read_number(value, 1, "here")


def fold_of(matrix, digits, name="1", scores=None):
    """Print the scores of a confusion matrix as scikit-learn does."""
    names = [f"class {i}" for i in range(len(matrix))]
    truth = np.repeat(np.arange(len(matrix)), np.sum(matrix, axis=1))
    predicted = np.concatenate([np.repeat(np.arange(len(matrix)), row) for row in matrix])
    report = classification_report(truth, predicted, target_names=names, output_dict=True, zero_division=0)

    def row(key):
        return {s: number(f"{report[key][k]:.{digits}f}") for s, k in
                {"precision": "precision", "recall": "recall", "f1": "f1-score"}.items()}  # fmt: skip

    return PublishedFold(
        name,
        {key: row(key) for key in names},
        {key: int(report[key]["support"]) for key in names},
        {"macro": row("macro avg"), "weighted": row("weighted avg")},
        {"accuracy": number(f"{report['accuracy']:.{digits}f}")} | (scores or {}),
    )


def square(size, most):
    row = st.lists(st.integers(0, most), min_size=size, max_size=size).filter(any)
    return st.lists(row, min_size=size, max_size=size)


@settings(max_examples=60, deadline=None)
@given(st.lists(square(2, 60), min_size=1, max_size=3), st.integers(1, 4))
def test_what_was_computed_from_whole_numbers_always_fits(folds, digits):
    printed = tuple(fold_of(matrix, digits, str(i)) for i, matrix in enumerate(folds))
    assert [check_fold(fold)["verdict"] for fold in printed] == ["fits"] * len(folds)
    means = [np.trace(matrix) / np.sum(matrix) for matrix in folds]
    averages = PublishedFold("averages", scores={"accuracy": number(f"{np.mean(means):.{digits}f}")})
    table = Table("t", "", tuple(printed[0].classes), printed, averages)
    assert check_averages(table)["verdict"] != "does not fit"


@settings(max_examples=30, deadline=None)
@given(square(3, 40), st.integers(1, 4))
def test_nor_is_a_table_of_three_classes_excluded(matrix, digits):
    found = check_fold(fold_of(matrix, digits))
    assert (found["verdict"], found["how"]) == ("not excluded", "bounds")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=4, max_size=60), st.floats(0.1, 0.9))
def test_an_area_computed_from_the_scores_of_the_same_predictions_fits(rows, threshold):
    labels, scores = np.array([label for label, _ in rows]), np.array([score for _, score in rows])
    if len(set(labels)) < 2:
        return
    predicted = scores >= threshold
    matrix = [[int(((labels == i) & (predicted == j)).sum()) for j in (0, 1)] for i in (0, 1)]
    area = {"auc": number(f"{roc_auc_score(labels, scores):.2f}")}
    assert check_fold(fold_of(matrix, 2, scores=area))["verdict"] == "fits"


def test_an_area_that_no_curve_through_the_matrix_has_does_not_fit():
    """Sensitivity and specificity are .9, so the area is from .81 to .99."""
    for area, verdict in (("0.99", "fits"), ("0.81", "fits"), ("0.80", "does not fit"), ("1.00", "does not fit")):
        fold = fold_of([[90, 10], [10, 90]], 3, scores={"auc": number(area)})
        assert check_fold(fold)["verdict"] == verdict, area


@pytest.mark.parametrize(("table", "i"), [(name, i) for name in TABLES for i in range(len(TABLES[name]))])
def test_as_many_matrices_fit_as_another_search_finds(table, i):
    """That search looks at every pair of numbers, and leaves ties out, of which these tables have none."""
    fold = replace(PAPER.tables[list(TABLES).index(table)].folds[i], means={})
    found = matrices(fold)
    assert found.count == NUM_FITTING[table][i]
    assert found.pairs.tolist() == search(TABLES[table][i]).tolist()


def test_the_paper_is_found_to_be_what_was_found_by_hand():
    check = check_paper(PAPER)
    assert check["fits"]
    assert [row["verdict"] for table in check["tables"] for row in table["folds"]] == ["fits"] * 7
    assert check["in_common"] == ["RCL-7500, 15% set aside (6,375 images left)"]
    second = check["tables"][1]
    assert second["supports"]["data_sets"][0]["reasons"][:2] == [
        "it has 2,480 benign images, and the folds test 3,168",
        "3 folds of it have 2,636 or 2,637 images, those of the table 2,125",
    ]
    for table in check["tables"][1:]:
        assert table["averages"]["rows"][0]["ways"][0] == "mean of classes, mean over folds"
        assert not any("malignant" in way for way in table["averages"]["rows"][0]["ways"])
        assert table["climb"]["climbs"]
        assert table["spread"]["more_than_sampling"]


def changed(text):
    """Yield a printed score with one digit after the point changed."""
    for place, digit in enumerate(text):
        if place > text.index("."):
            yield from (text[:place] + other + text[place + 1 :] for other in "0123456789" if other != digit)


def cells(fold):
    for name, row in fold.classes.items():
        for score, printed in row.items():
            for text in changed(printed.text):
                yield replace(fold, classes=fold.classes | {name: row | {score: number(text)}})
    for text in changed(fold.scores["accuracy"].text):
        yield replace(fold, scores={"accuracy": number(text)})


def test_one_changed_digit_of_a_row_is_found():
    """Of 49 printed scores, each of the two digits changed to each other one."""
    found = [matrices(replace(fold, means={})).count == 0 for one in FOLDS for fold in cells(one)]
    assert len(found) == 49 * 18
    assert sum(found) == 863


def test_one_changed_digit_of_an_average_is_found():
    table = PAPER.tables[1]
    means, scores = table.averages.means["mean"], table.averages.scores
    rows = [({"mean": means | {key: number(text)}}, scores) for key in means for text in changed(means[key].text)]
    rows += [({"mean": means}, {"accuracy": number(text)}) for text in changed(scores["accuracy"].text)]
    tables = [replace(table, averages=PublishedFold("averages", {}, {}, *row)) for row in rows]
    found = [check_averages(one)["verdict"] == "does not fit" for one in tables]
    assert (sum(found), len(found)) == (70, 4 * 18)


def test_one_changed_digit_of_a_support_is_found():
    """The scores alone would find few of them; the sizes of folds of one data set find the rest."""
    found = []
    for table in PAPER.tables:
        for i, fold in enumerate(table.folds):
            for name, support in fold.supports.items():
                for text in (t for t in changed(f".{support}") if t[1] != "0"):
                    supports = fold.supports | {name: int(text[1:])}
                    folds = (*table.folds[:i], replace(fold, supports=supports), *table.folds[i + 1 :])
                    changed_table = replace(table, folds=folds)
                    found.append(
                        matrices(folds[i]).count == 0 or check_supports(changed_table)["verdict"] == "does not fit"
                    )
    assert (sum(found), len(found)) == (471, 472)


def test_the_number_fits_without_is_named_with_what_the_others_leave_for_it():
    (benign, malignant), fold = FOLDS[0].classes, FOLDS[0]
    wrong = replace(fold, classes=fold.classes | {benign: fold.classes[benign] | {"precision": number("0.58")}})
    found = check_fold(wrong)
    assert found["verdict"] == "does not fit"
    (way,) = found["fits_without"]
    assert (way["number"], way["printed"]) == ("benign precision", "0.58")
    assert 0.845 <= way["allowed"][0] <= way["allowed"][1] <= 0.855
    assert malignant == "malignant"


def test_averages_that_do_not_follow_from_the_rows_do_not_fit():
    table = PAPER.tables[1]
    for score, text in (("precision", "0.93"), ("recall", "0.90")):
        means = {"mean": table.averages.means["mean"] | {score: number(text)}}
        (row,) = check_averages(replace(table, averages=replace(table.averages, means=means)))["rows"]
        assert (row["ways"], row["fits_without"]) == ([], [score])


def test_averages_of_printed_digits_fit_though_those_of_the_matrices_do_not():
    """The mean of .79, .93 and .93 is .883; the accuracies that they were rounded from have one of .886 or more."""
    table = PAPER.tables[1]
    averages = PublishedFold("averages", scores={"accuracy": number("0.88")})
    (row,) = check_averages(replace(table, averages=averages))["rows"]
    assert row["ways"] == ["mean over folds of the printed digits"]


def table_of(accuracies, n=2000):
    supports = {"benign": n // 2, "malignant": n - n // 2}
    folds = tuple(
        PublishedFold(str(i), {"benign": {}, "malignant": {}}, supports, {}, {"accuracy": number(f"{a:.2f}")})
        for i, a in enumerate(accuracies)
    )
    return Table("t", "", ("benign", "malignant"), folds, None)


@pytest.mark.parametrize(
    ("accuracies", "varies", "climbs"),
    [
        ((0.79, 0.93, 0.97), True, True),
        ((0.79, 0.93, 0.93), True, True),
        ((0.93, 0.79, 0.97), True, False),
        ((0.97, 0.93, 0.79), True, False),
        ((0.90, 0.90, 0.91), False, False),
        ((0.80, 0.85, 0.85, 0.90, 0.92), True, True),
    ],
)
def test_folds_that_vary_and_that_climb(accuracies, varies, climbs):
    table = table_of(accuracies)
    assert spread_of_folds(table)["more_than_sampling"] is varies
    assert climb(table)["climbs"] is climbs


def test_folds_of_one_accuracy_seldom_vary_more_than_sampling():
    """One in a thousand is the limit; with the benefit of rounding it is fewer."""
    rng = np.random.default_rng(0)
    drawn = rng.binomial(300, 0.9, size=(300, 3)) / 300
    assert not any(spread_of_folds(table_of(row, 300))["more_than_sampling"] for row in drawn)
    assert not any(climb(table_of(row, 300))["climbs"] for row in drawn)


def test_two_folds_neither_climb_nor_fail_to():
    assert climb(table_of((0.7, 0.9))) is None
