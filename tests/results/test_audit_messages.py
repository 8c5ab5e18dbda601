"""An audit is told word for word, and each of its numbers is the one that was planted."""

import shutil
import textwrap

import pandas as pd
import pytest

from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.integrity.duplicates import LIMITS, find_image_copies
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError
from hf_breakhis.results.audit import KINDS, audit_folds, audit_table, official_leaks


def folds_of(*rows):
    return pd.DataFrame(rows, columns=["file_name", "patient_id", "specimen_id", "fold", "part"])


# In fold 0 two train and two are tested, in fold 1 the other way round; every image of a woman of her own.
SWAPPED = folds_of(
    *((name, name, name, 0, part) for name, part in zip("abcd", ["train", "train", "test", "test"], strict=True)),
    *((name, name, name, 1, part) for name, part in zip("abcd", ["test", "test", "train", "train"], strict=True)),
)


def copies(*rows):
    return pd.DataFrame(rows, columns=["a", "b", "kind"])


def test_the_whole_text_of_an_audit():
    kinds = ("exact_copy", "near_copy", "overlapping_field", "same_patient", "same_specimen", "seen_in_training")
    audit = {
        "per_fold": [
            {"fold": 0, "test_images": 1582} | dict(zip(kinds, (1, None, 30, 1234, 0, 20), strict=True)),
            {"fold": 10, "test_images": 7} | dict(zip(kinds, (0, None, 0, 7, 1, 0), strict=True)),
        ],
        "shares": dict(zip(kinds, (0.00063, None, 0.0189, 0.78099, 1.0, 0.0126), strict=True)),
        "unknown": ["Whether it rains.", "Copies: the disk is gone."],
        "not_seen": "The search sees no ghosts.",
        "official": [
            {"fold": 1, "slides": ["14-1", "14-2"], "specimens": ["14-1", "14-2", "14-3"]},
            {"fold": 2, "slides": [], "specimens": ["14-4", "14-5"]},
        ],
    }
    assert audit_table(audit).splitlines() == [
        "Fold   Test images  Exact copy  Near copy  Overlapping  Same patient  Same specimen  Seen by model",
        "-" * 98,
        "0            1,582           1          -           30         1,234              0             20",
        "10               7           0          -            0             7              1              0",
        "share                    0.1 %          -        1.9 %        78.1 %        100.0 %          1.3 %",
        "Not known: Whether it rains.",
        "Not known: Copies: the disk is gone.",
        "The search sees no ghosts.",
        "Official fold 1: 3 specimens on both sides, slide 14-1, 14-2 under two types.",
        "Official fold 2: 2 specimens on both sides.",
    ]


@pytest.mark.parametrize("official", [{}, {"official": None}])
def test_an_audit_of_other_folds_says_nothing_of_the_official_ones(official):
    text = audit_table(audit_folds(SWAPPED, "none", copies()) | official)
    assert text.splitlines()[5:] == textwrap.wrap(LIMITS, 88, subsequent_indent="  ")


def test_the_whole_of_what_an_audit_writes():
    kinds = dict.fromkeys(KINDS, 0)
    assert audit_folds(SWAPPED, "none", copies(), "not asked for") == {
        "format": 2,
        "per_fold": [{"fold": fold, "test_images": 2} | kinds for fold in (0, 1)],
        "shares": kinds,
        "unknown": [],
        "not_seen": LIMITS,
    }


@pytest.mark.parametrize(("without", "unknown"), [(None, []), ("Copies: no disk.", ["Copies: no disk."])])
def test_why_there_are_no_copies_is_told_if_it_is_known(without, unknown):
    found = audit_folds(SWAPPED, "none", None, without)
    assert found["unknown"] == unknown
    assert [(row["exact_copy"], row["near_copy"]) for row in found["per_fold"]] == [(None, None)] * 2


def test_unknown_groups_are_told_word_for_word():
    found = audit_folds(SWAPPED.assign(patient_id="", specimen_id=""), "none", copies())
    assert found["unknown"] == [
        "Whether a patient is on both sides: the source names no patients.",
        "Whether a specimen is on both sides: the source names no specimens.",
    ]


@pytest.mark.parametrize("nameless", ["train", "test"])
def test_groups_unknown_on_one_side_leave_no_number_in_that_fold(nameless):
    """Two unknown patients are not the same one."""
    blank = (SWAPPED["fold"] == 1) & (SWAPPED["part"] == nameless)
    found = audit_folds(SWAPPED.assign(patient_id=SWAPPED["patient_id"].mask(blank, "")), "none", copies())
    assert [row["same_patient"] for row in found["per_fold"]] == [0, None]
    assert [row["same_specimen"] for row in found["per_fold"]] == [0, 0]
    assert (found["shares"]["same_patient"], found["shares"]["same_specimen"]) == (None, 0)


@pytest.mark.parametrize(
    ("kind", "column"),
    [("same pixels", "exact_copy"), ("near copy", "near_copy"), ("overlapping field", "overlapping_field")],
)
def test_a_copy_counts_from_whichever_side_it_is_tested(kind, column):
    found = audit_folds(SWAPPED, "none", copies(("a", "c", kind), ("d", "b", kind)))
    assert [row[column] for row in found["per_fold"]] == [2, 2]
    assert found["shares"][column] == 1


def test_a_model_that_is_carried_has_seen_all_earlier_folds():
    folds = folds_of(
        *((name, name, name, 0, part) for name, part in zip("abc", ["train", "test", "reserve"], strict=True)),
        *((name, name, name, 1, part) for name, part in zip("abc", ["reserve", "train", "test"], strict=True)),
        *((name, name, name, 2, part) for name, part in zip("abc", ["test", "reserve", "train"], strict=True)),
    )
    found = audit_folds(folds, "model", copies())
    assert [row["seen_in_training"] for row in found["per_fold"]] == [0, 0, 1]  # of two folds before, a trained in one


def test_copies_that_are_not_of_the_folds_are_refused(monkeypatch):
    across = copies(("x", "a", "same file")).assign(fold=0, part_a="test", part_b="train")
    monkeypatch.setattr("hf_breakhis.results.audit.copies_across_parts", lambda pairs, folds: across)
    with pytest.raises(InputError) as refused:
        audit_folds(SWAPPED, "none", copies())
    assert str(refused.value) == "The copies of fold 0 are not of its test set; train the run again with --restart."


def test_official_folds_are_counted_from_one():
    assert [row["fold"] for row in official_leaks()] == [1, 2, 3, 4, 5]


def test_a_planted_copy_is_found_among_the_images(small_breakhis, data_args):
    one, *_, other = sorted(small_breakhis.rglob("*.png"))
    shutil.copy(one, other)
    images = load_images(data_args(small_breakhis))
    found = find_image_copies(images, check_images(images).files)
    exact = found[found["kind"] == "same file"]
    assert exact[["a", "b"]].to_numpy().tolist() == [[one.name, other.name]]
    assert exact[["distance", "turn", "same_specimen", "same_label"]].to_numpy().tolist() == [
        [0, "as it is", False, False]
    ]


def test_another_way_to_carry_a_model_over_is_refused():
    with pytest.raises(InputError, match=r"^`carry_over` is 'no', but has to be one of none, model, all\.$"):
        audit_folds(SWAPPED, "no", None)
