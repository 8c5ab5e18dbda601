"""A leak that is there is counted, and none is counted where there is none."""

import pandas as pd
import pytest

from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.leakage import leakage
from hf_breakhis.run import Run


def measure(run):
    return leakage(Run(run).read_folds(), gather(Run(run)))


def test_a_split_by_specimen_leaks_nothing(write_run, tmp_path):
    found = measure(write_run(tmp_path / "run", split_by="specimen"))
    assert (found["share_same_patient"], found["share_same_specimen"], found["share_seen"]) == (0, 0, 0)


def test_a_split_by_image_leaks_nearly_everything(write_run, tmp_path, cohort):
    """The positive control: if this finds nothing, the zero above proves nothing."""
    found = measure(write_run(tmp_path / "run", split_by="image"))
    assert found["share_same_patient"] > 0.99
    assert sum(row["test_images"] for row in found["per_fold"]) == len(cohort)


def test_counts_are_those_of_a_loop_over_images(write_run, tmp_path):
    run = write_run(tmp_path / "run", split_by="patient", split_seed=5)
    folds = pd.read_csv(run / "folds.csv", dtype=str)
    for row in measure(run)["per_fold"]:
        one = folds[folds["fold"] == str(row["fold"])]
        train, test = one[one["part"] == "train"], one[one["part"] == "test"]
        assert row["same_patient"] == 0
        assert row["same_specimen"] == sum(specimen in set(train["specimen_id"]) for specimen in test["specimen_id"])


def test_a_specimen_of_two_patients_leaks_under_a_split_by_patient(write_run, tmp_path):
    # With this seed the two patients of one specimen are on two sides.
    found = measure(write_run(tmp_path / "run", split_by="patient", split_seed=1))
    assert found["share_same_patient"] == 0
    assert found["share_same_specimen"] > 0


def test_unknown_groups_are_unknown_and_not_zero(write_run, tmp_path, cohort):
    run = write_run(tmp_path / "run", cohort.assign(patient_id="", specimen_id=""), split_by="image")
    found = measure(run)
    assert (found["share_same_patient"], found["share_same_specimen"]) == (None, None)
    assert found["share_seen"] == 0


def test_a_carried_model_has_seen_the_later_folds(write_run, tmp_path):
    found = measure(write_run(tmp_path / "run", carry_over="model"))
    assert [row["seen_in_training"] == row["test_images"] for row in found["per_fold"]] == [False, True, True]


def test_predictions_that_are_not_the_test_part_are_refused(write_run, tmp_path):
    run = write_run(tmp_path / "run")
    path = run / "fold-1" / "predictions.csv"
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    with pytest.raises(InputError, match=r"Fold 1 has \d+ test images in folds.csv and \d+ in its predictions.csv"):
        measure(run)


def test_a_part_that_is_none_is_refused(write_run, tmp_path):
    run = write_run(tmp_path / "run")
    pd.read_csv(run / "folds.csv").assign(part="tset").to_csv(run / "folds.csv", index=False)
    with pytest.raises(InputError, match="`part` is 'tset'; allowed are train, validation, test, reserve"):
        Run(run).read_folds()
