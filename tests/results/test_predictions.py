"""Predictions read back as they were written, and a damaged file is refused in one line that says where."""

import pandas as pd
import pytest

from hf_breakhis.files import InputError, write_csv
from hf_breakhis.results.predictions import (
    classes_of,
    gather,
    logits_of,
    probabilities_of,
    read_parts,
    read_predictions,
)
from hf_breakhis.run import Run


@pytest.fixture
def run(write_run, tmp_path):
    return write_run(tmp_path / "c3")


def damage(run, column, value, row=4):
    """Change one value of fold 0's predictions and return the path."""
    path = run / "fold-0" / "predictions.csv"
    table = pd.read_csv(path, dtype=str)
    table.loc[row, column] = value
    table.to_csv(path, index=False)
    return path


def test_floats_read_back_equal(run, tmp_path):
    table = read_predictions(run / "fold-0" / "predictions.csv")
    write_csv(tmp_path / "again.csv", table)
    pd.testing.assert_frame_equal(read_predictions(tmp_path / "again.csv"), table, check_exact=True)


def test_types_are_those_of_the_contract(run):
    table = read_predictions(run / "fold-0" / "predictions.csv")
    kinds = {name: table[name].dtype.kind for name in ("label", "predicted", "fold", "seen_in_training")}
    assert kinds == {"label": "i", "predicted": "i", "fold": "i", "seen_in_training": "b"}
    assert classes_of(table) == ["benign", "malignant"]
    assert probabilities_of(table).shape == logits_of(table).shape == (len(table), 2)


def test_unknown_groups_stay_empty_text(write_run, cohort, tmp_path):
    run = write_run(tmp_path / "rcl", cohort.assign(patient_id="", specimen_id=""), split_by="image")
    assert set(read_predictions(run / "fold-0" / "predictions.csv")["patient_id"]) == {""}


def test_gather_writes_every_test_image_sorted(run, cohort):
    test = gather(Run(run))
    assert sorted(test["file_name"]) == sorted(cohort["file_name"])
    assert test[["fold", "file_name"]].apply(tuple, axis=1).is_monotonic_increasing
    pd.testing.assert_frame_equal(read_predictions(run / "predictions.csv"), test, check_exact=True)


def test_other_parts_stay_out_of_the_pool(run):
    damage(run, "part", "reserve")
    assert set(gather(Run(run))["part"]) == {"test"}
    assert len(read_parts(Run(run))["reserve"]) == 1


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", "2", r"row 5 \(SOB_.*`label` is outside 0..1 \(benign, malignant\)"),
        ("label", "0.5", "row 5, column label: '0.5' is not a whole number"),
        ("prob_malignant", "nan", "column prob_malignant: nan is not a finite number"),
        ("prob_malignant", "high", "column prob_malignant: could not convert string to float: 'high'"),
        ("prob_malignant", "0.123", "the probabilities do not sum to 1"),
        ("prob_malignant", "-0.2", r"a probability lies outside 0\.\.1"),
        ("logit_malignant", "9.5", "not those of the logits"),
        ("predicted", "swap", "`predicted` is not the class of the highest probability"),
        ("part", "training", "`part` is none of test, validation, reserve"),
        ("seen_in_training", "maybe", "'maybe' is neither True nor False"),
        ("file_name", "twice", "this image stands twice"),
    ],
)
def test_a_value_that_cannot_be_is_named(run, column, value, message):
    table = pd.read_csv(run / "fold-0" / "predictions.csv", dtype=str)
    value = {"swap": str(1 - int(table["predicted"][4])), "twice": table["file_name"][3]}.get(value, value)
    path = damage(run, column, value)
    with pytest.raises(InputError, match=message) as error:
        read_predictions(path)
    assert "\n" not in str(error.value)


def test_a_missing_column_is_named(run):
    path = run / "fold-0" / "predictions.csv"
    pd.read_csv(path).drop(columns=["specimen_id", "logit_benign"]).to_csv(path, index=False)
    with pytest.raises(InputError, match="has no column specimen_id"):
        read_predictions(path)


@pytest.mark.parametrize(("text", "message"), [("", "is not a CSV"), ("a,b\n1,2,3\n4,5,6,7\n", "is not a CSV")])
def test_what_is_no_table_is_refused(tmp_path, text, message):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_predictions(path)


def test_a_run_without_a_finished_fold_says_so(tmp_path):
    with pytest.raises(InputError, match=r"No fold of .* has finished\. Train it first"):
        gather(Run(tmp_path))


def test_rows_of_another_fold_are_refused(run):
    (run / "fold-0" / "predictions.csv").write_text((run / "fold-1" / "predictions.csv").read_text())
    with pytest.raises(InputError, match="holds rows of another fold"):
        gather(Run(run))
