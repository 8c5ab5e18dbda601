"""What is planted in folds is found, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.results.audit import KINDS, audit_folds, audit_table, official_leaks
from hf_breakhis.run import Run

FOLDS = pd.DataFrame(
    [
        ("a", "p1", "s1", 0, "train"), ("b", "p1", "s1", 0, "test"), ("c", "p2", "s2", 0, "train"),
        ("d", "p3", "s2", 0, "test"), ("e", "p4", "s4", 0, "test"), ("f", "p5", "s5", 0, "reserve"),
        ("a", "p1", "s1", 1, "test"), ("b", "p1", "s1", 1, "train"), ("c", "p2", "s2", 1, "test"),
        ("d", "p3", "s2", 1, "train"), ("e", "p4", "s4", 1, "train"), ("f", "p5", "s5", 1, "reserve"),
    ],
    columns=["file_name", "patient_id", "specimen_id", "fold", "part"],
)  # fmt: skip


def pairs(*rows):
    return pd.DataFrame(rows, columns=["a", "b", "kind"])


def counts(audit, kind):
    return [row[kind] for row in audit["per_fold"]]


def test_patients_and_specimens_on_both_sides_are_counted():
    found = audit_folds(FOLDS, "none", pairs())
    assert counts(found, "same_patient") == [1, 1]  # b beside a; a beside b
    assert counts(found, "same_specimen") == [2, 2]  # d beside c of another slide folder
    assert found["shares"]["same_patient"] == pytest.approx(2 / 5)
    assert counts(found, "exact_copy") == counts(found, "near_copy") == counts(found, "seen_in_training") == [0, 0]


def test_a_copy_counts_where_its_other_half_trains():
    planted = pairs(("a", "e", "same file"), ("d", "e", "near copy"), ("b", "f", "same pixels"))
    found = audit_folds(FOLDS, "none", planted)
    assert counts(found, "exact_copy") == [1, 1]  # e beside a; a beside e; nothing trains on the reserve
    assert counts(found, "near_copy") == [0, 0]  # d and e are on one side in both folds


def test_an_image_with_an_exact_copy_counts_once():
    planted = pairs(
        ("a", "e", "same pixels"), ("c", "e", "near copy"), ("a", "e", "same file"), ("a", "e", "overlapping field"),
        ("a", "d", "near copy"), ("c", "d", "overlapping field"), ("a", "b", "overlapping field"),
    )  # fmt: skip
    found = audit_folds(FOLDS, "none", planted)
    assert [counts(found, kind)[0] for kind in ("exact_copy", "near_copy", "overlapping_field")] == [1, 1, 1]


def test_a_carried_model_has_seen_what_earlier_folds_trained_on():
    assert counts(audit_folds(FOLDS, "model", pairs()), "seen_in_training") == [0, 2]  # a and c


def test_without_groups_or_images_the_audit_says_which_half_is_missing():
    nameless = FOLDS.assign(patient_id="", specimen_id="")
    found = audit_folds(nameless, "none", None, "Copies: the disk is gone.")
    assert found["shares"] == dict.fromkeys(KINDS, None) | {"seen_in_training": 0}
    assert len(found["unknown"]) == 3
    text = audit_table(found)
    assert "Not known: Copies: the disk is gone." in text
    assert "names no specimens" in text
    assert max(map(len, text.splitlines())) <= 100


def test_numbers_of_patients_agree_with_a_loop(write_run, tmp_path):
    folds = Run(write_run(tmp_path / "run", split_by="image")).read_folds()
    for row in audit_folds(folds, "none", pairs())["per_fold"]:
        own = folds[folds["fold"] == row["fold"]]
        trained = set(own["patient_id"][own["part"] == "train"])
        assert row["same_patient"] == sum(p in trained for p in own["patient_id"][own["part"] == "test"]) > 0


def test_the_official_folds_divide_what_they_are_known_to_divide():
    found = official_leaks()
    assert [row["slides"] for row in found] == [["14-13412"], [], ["14-13412"], [], ["14-13412"]]
    assert all(6 <= len(row["specimens"]) <= 8 for row in found)
    assert np.all(["14-13412" in row["specimens"] for row in found[::2]])
