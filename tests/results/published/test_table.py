"""A table keeps the digits that were printed; what cannot be read ends in one line."""

from fractions import Fraction

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hf_breakhis.files import InputError
from hf_breakhis.results.published.table import read_number, read_paper
from hf_breakhis.yaml_files import packed_files

GOOD = {
    "title": "A paper",
    "tables": {
        "ours": {
            "folds": {
                1: {
                    "benign": {"precision": 0.8, "recall": 0.9, "support": 50},
                    "malignant": {"recall": 0.91, "support": "1,200"},
                    "accuracy": "91%",
                }
            },
            "averages": {"precision": 0.8, "malignant": {"recall": 0.91}, "accuracy": 0.91},
        }
    },
}


def write(tmp_path, values):
    path = tmp_path / "t.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "unit", "low", "high"),
    [
        ("0.90", 1, "0.895", "0.905"),
        ("0.9", 1, "0.85", "0.95"),
        (".9", 1, "0.85", "0.95"),
        ("1.00", 1, "0.995", "1"),
        ("0", 1, "0", "0.5"),
        ("89.5", 100, "0.8945", "0.8955"),
        ("89.5%", 1, "0.8945", "0.8955"),
        ("90 %", 100, "0.895", "0.905"),
    ],
)
def test_the_digits_say_what_a_number_was_rounded_from(text, unit, low, high):
    printed = read_number(text, unit, "here")
    assert (printed.low, printed.high) == (Fraction(low), Fraction(high))


@given(st.integers(0, 10_000), st.integers(1, 10_000), st.integers(1, 8))
def test_a_share_lies_between_the_bounds_of_its_print(part, whole, digits):
    share = Fraction(min(part, whole), whole)
    printed = read_number(f"{float(share):.{digits}f}", 1, "here")
    assert printed.low - Fraction(1, 10**15) <= share <= printed.high + Fraction(1, 10**15)


def test_trailing_zeros_of_a_file_are_kept(tmp_path):
    path = write(tmp_path, "tables: {t: {folds: {1: {a: {recall: 0.90}, b: {recall: .9}}}}}")
    fold = read_paper(path).tables[0].folds[0]
    assert [row["recall"].text for row in fold.classes.values()] == ["0.90", ".9"]


def test_what_is_read(tmp_path):
    (table,) = read_paper(write(tmp_path, GOOD)).tables
    (fold,) = table.folds
    assert (table.name, table.classes, fold.name) == ("ours", ("benign", "malignant"), "1")
    assert fold.supports == {"benign": 50, "malignant": 1200}
    assert fold.scores["accuracy"].value == 0.91
    assert table.averages.means["mean"]["precision"].text == "0.8"
    assert table.averages.classes["malignant"]["recall"].text == "0.91"


@pytest.mark.parametrize("name", packed_files("papers"))
def test_the_tables_of_the_package_are_read(name):
    assert read_paper(packed_files("papers")[name]).tables


def changed(path, value):
    """Return GOOD with one value changed, deleted where it is None."""
    whole = yaml.safe_load(yaml.safe_dump(GOOD, sort_keys=False))
    place = whole
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return whole


FOLD = ("tables", "ours", "folds", 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("tables: [", "is not YAML"),
        ("- a", "contains no `key: value` lines; a table is YAML like papers/pixels-to-prognosis.yaml."),
        ("title: a\ntitle: b", "key `title` is given twice"),
        ("title: &a b\nsource: *a", "aliases are not supported"),
        ("title: a", "has no `tables:` with names below it"),
        ("tables: 3", "has no `tables:` with names below it"),
        ("tables: {a: 3}", "a holds no fields; give printed_in, folds, averages."),
        ("tables: {a: {folds: {1: 0.9}}}", "a, fold 1 holds no rows"),
        ("tables: {a: {folds: {1: {x: {recall: 1.0}}}}}", "fold 1 has one class, x; give a row for each, two or"),
        ("title: [a]\ntables: {}", "has no `tables:`"),
        (changed(["unit"], "permille"), "`unit` is 'permille', but has to be one of share, percent."),
        (changed(["titel"], "x"), "allowed are title, source, unit, tables. Did you mean `title`?"),
        (changed([*FOLD, "acuracy"], 0.9), "fold 1: unknown field `acuracy`; allowed are accuracy,"),
        (changed([*FOLD, "specificity"], 0.9), "fold 1: write `specificity` as the `recall` of the negative class."),
        (changed([*FOLD, "benign", "PPV"], 0.9), "benign: write `PPV` as the `precision` of the positive class."),
        (changed([*FOLD, "benign", "recal"], 0.9), "benign: unknown field `recal`; allowed are precision, recall,"),
        (changed([*FOLD, "benign", "recall"], 90), "recall of benign is 90, but has to be from 0 to 1. Set `unit:"),
        (changed([*FOLD, "benign", "recall"], "0,9"), "such as 0.90 or 89.5%. Write 0.9."),
        (changed([*FOLD, "benign", "recall"], -0.5), "recall of benign is '-0.5', but has to be a number as printed"),
        (changed([*FOLD, "benign", "recall"], [1]), "recall of benign is ['1'], but has to be a number as printed"),
        (changed([*FOLD, "accuracy"], "."), "accuracy is '.', but has to be a number as printed"),
        (changed([*FOLD, "benign", "support"], 0), "support of benign is '0', but has to be a whole number from 1 to"),
        (changed([*FOLD, "benign", "support"], -4), "support of benign is '-4', but has to be a whole number"),
        (changed([*FOLD, "benign", "support"], 12.5), "support of benign is '12.5', but has to be a whole number"),
        (changed([*FOLD, "benign", "support"], 10**7), "support of benign is '10000000', but has to be"),
        (changed([*FOLD, "benign", "support"], None), "fold 1 has no support of benign; give it for every class, or"),
        (changed([*FOLD[:-1], 2], {"a": {}, "malignant": {}}), "fold 2 has the classes a, malignant, but the first"),
        (changed(["tables", "ours", "averages"], {"malign": {"recall": 1}}), "averages: unknown field `malign`"),
        (changed(["tables", "ours", "averages"], "0.9"), "averages holds no rows"),
        ("tables: {a: {folds: {1: {x: {recall: 0,85}, y: {recall: 0.8}}}}}", "x has a decimal comma before 85. Write"),
        (changed(["unit"], "percent"), "is 0.8 in a table with `unit: percent`, that is 0.8 %. Set `unit: share`"),
        ("tables: {a: {folds: {1: {accuracy: 0.9}}}}", "fold 1 has no classes and no number of test images. Add"),
        (changed([*FOLD, "images"], 1249), "fold 1 has 1,249 images, but supports that sum to 1,250. Leave one out."),
        (changed([*FOLD, "images"], "many"), "images is 'many', but has to be a whole number"),
        (changed(["tables", "ours", "averages", "images"], 9), "averages: unknown field `images`"),
        (changed([*FOLD[:-1], 2], {"images": 9, "accuracy": 1}), "fold 2 has the classes none, but the first"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_ends_in_one_line(tmp_path, values, message):
    with pytest.raises(InputError) as refused:
        read_paper(write(tmp_path, values))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_percent_below_one_is_written_with_its_sign():
    assert read_number("0.8%", 100, "here").value == pytest.approx(0.008)
    assert read_number("0", 100, "here").value == 0
    assert read_number("1.5", 100, "here").value == pytest.approx(0.015)
    with pytest.raises(InputError, match="or write 1%"):
        read_number("1", 100, "here")


def test_the_number_of_images_may_be_given_for_a_fold(tmp_path):
    (table,) = read_paper(write(tmp_path, changed([*FOLD, "images"], "1,250"))).tables
    assert table.folds[0].total == 1250
    (alone,) = read_paper(write(tmp_path, "tables: {a: {folds: {1: {accuracy: 0.9, images: 50}}}}")).tables
    assert (alone.folds[0].total, alone.classes) == (50, ())
