"""Folds never divide a group, test every image once, and hold every class; else they are refused with the reason."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, train_test_split

from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import PARTS, Fold, check_folds, folds_table, leaks, make_folds, split_images
from hf_breakhis.files import InputError

LEVELS = {"patient": "patient_id", "specimen": "specimen_id"}


@pytest.fixture(scope="module")
def breakhis():
    """Labels and group columns of all 7,909 images."""
    names = [name for folder in INVENTORY for name in folder.names()]
    labels = np.array([name.label for name in names])
    return labels, {column: [getattr(name, column) for name in names] for column in LEVELS.values()}


@st.composite
def cohorts(draw):
    """4 to 14 specimens of both classes, each of 1 to 3 slide folders of 1 to 6 images."""
    labels, patients, specimens = [], [], []
    for specimen in range(draw(st.integers(4, 14))):
        for letter in "ABC"[: draw(st.integers(1, 3))]:
            count = draw(st.integers(1, 6))
            labels += [specimen % 2] * count
            patients += [f"{specimen}{letter}"] * count
            specimens += [str(specimen)] * count
    order = draw(st.permutations(range(len(labels))))
    columns = {"patient_id": [patients[i] for i in order], "specimen_id": [specimens[i] for i in order]}
    return np.array(labels)[list(order)], columns


def refusal(*args, **kwargs):
    with pytest.raises(InputError) as caught:
        make_folds(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@settings(max_examples=40, deadline=None)
@given(
    cohorts(),
    st.sampled_from(["image", "patient", "specimen"]),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([0.0, 0.2]),
    st.sampled_from([0.0, 0.3]),
    st.integers(0, 2**32 - 1),
)
def test_whatever_is_returned_keeps_its_promises(cohort, split_by, num_folds, stratify, reserve, validation, seed):
    labels, columns = cohort
    request = {
        "split_by": split_by,
        "num_folds": num_folds,
        "stratify": stratify,
        "reserve_size": reserve,
        "validation_size": validation,
        "seed": seed,
    }
    try:
        folds = make_folds(labels, columns, **request)
    except InputError:
        assume(False)
    assert len(folds) == num_folds
    for fold in folds:
        parts = [getattr(fold, part) for part in PARTS]
        assert sorted(np.concatenate(parts)) == list(range(len(labels)))
        assert all(set(labels[rows]) == {0, 1} for rows in parts if len(rows))
        assert [bool(len(rows)) for rows in parts] == [True, validation > 0, True, reserve > 0]
        if split_by in LEVELS:
            ids = np.array(columns[LEVELS[split_by]])
            groups = [set(ids[rows]) for rows in parts]
            assert sum(map(len, groups)) == len(set().union(*groups))
        np.testing.assert_array_equal(fold.reserve, folds[0].reserve)
    if num_folds > 1:
        assert sorted(np.concatenate([fold.test for fold in folds] + [folds[0].reserve])) == list(range(len(labels)))
    for fold, again in zip(folds, make_folds(labels, columns, **request), strict=True):
        assert all(np.array_equal(getattr(fold, part), getattr(again, part)) for part in PARTS)


def test_another_seed_gives_other_folds(breakhis):
    one, other = (make_folds(*breakhis, seed=seed)[0] for seed in (0, 1))
    assert not np.array_equal(one.test, other.test)


def test_image_split_does_leak(breakhis):
    """If this stops holding, the tests that nothing leaks prove nothing."""
    labels, columns = breakhis
    fold = make_folds(labels, columns, split_by="image")[0]
    assert leaks(fold, columns) == {"test_images": 1582, "same_patient": 1582, "same_specimen": 1582}


def test_patient_split_leaks_specimens_and_specimen_split_nothing(breakhis):
    labels, columns = breakhis
    by_patient = [leaks(fold, columns) for fold in make_folds(labels, columns, split_by="patient")]
    by_specimen = [leaks(fold, columns) for fold in make_folds(labels, columns, split_by="specimen")]
    assert {counts["same_patient"] for counts in by_patient} == {0}
    assert sum(counts["same_specimen"] for counts in by_patient) > 0
    assert {counts[key] for counts in by_specimen for key in ("same_patient", "same_specimen")} == {0}


def test_leaks_are_unknown_without_ids():
    fold = Fold(0, np.array([0, 1]), np.array([2, 3]))
    columns = {"patient_id": [None] * 4, "specimen_id": [None] * 4}
    assert leaks(fold, columns) == {"test_images": 2, "same_patient": None, "same_specimen": None}


def test_arithmetic_of_the_paper_is_possible():
    """7,500 images: 1,125 set aside, of the rest 957 held out, or three times 2,125 tested; no group, no strata."""
    labels = np.repeat([0, 1], 3750)
    paper = {"split_by": "image", "stratify": False, "reserve_size": 0.15}
    (fold,) = make_folds(labels, {}, num_folds=1, test_size=0.15, **paper)
    assert (len(fold.reserve), len(fold.test), len(fold.train)) == (1125, 957, 5418)
    folds = make_folds(labels, {}, num_folds=3, **paper)
    assert [len(fold.test) for fold in folds] == [2125, 2125, 2125]
    rest, reserve = train_test_split(np.arange(7500), test_size=0.15, random_state=42)
    np.testing.assert_array_equal(np.sort(reserve), folds[0].reserve)
    expected = KFold(3, shuffle=True, random_state=42).split(rest)
    for fold, (_, test) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(fold.test, np.sort(rest[test]))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.35])
def test_hold_out_by_specimen_is_near_to_the_share_of_each_class(breakhis, share):
    labels, columns = breakhis
    (fold,) = make_folds(labels, columns, num_folds=1, test_size=share)
    for label in (0, 1):
        assert np.mean(np.isin(np.flatnonzero(labels == label), fold.test)) == pytest.approx(share, abs=0.04)


def test_official_folds_are_the_published_ones(breakhis):
    labels, columns = breakhis
    folds = make_folds(labels, columns, split_by="official")
    assert [len(fold.test) for fold in folds] == [2904, 2403, 2577, 2698, 3083]
    assert all(leaks(fold, columns)["same_patient"] == 0 for fold in folds)
    assert all(leaks(fold, columns)["same_specimen"] > 0 for fold in folds)
    watched = make_folds(labels, columns, split_by="official", validation_size=0.2)
    for fold, with_validation in zip(folds, watched, strict=True):
        np.testing.assert_array_equal(fold.test, with_validation.test)
        np.testing.assert_array_equal(fold.train, np.union1d(with_validation.train, with_validation.validation))


@pytest.mark.parametrize("change", [{"num_folds": 3}, {"reserve_size": 0.1}])
def test_official_folds_refuse_to_be_others(breakhis, change):
    assert "split_by=official is 5 folds without a reserve" in refusal(*breakhis, split_by="official", **change)


def test_official_folds_know_their_patients():
    message = refusal(np.array([0, 1]), {"patient_id": ["p1", "p2"]}, split_by="official")
    assert "knows the 82 slide folders of BreakHis, but not p1" in message


def test_an_official_fold_without_a_class_is_refused(breakhis):
    labels, columns = breakhis
    ids = np.array(columns["patient_id"])
    few = np.isin(ids, ["SOB_B_F-14-14134", "SOB_M_DC-14-2523"])
    message = refusal(labels[few], {"patient_id": list(ids[few])}, split_by="official")
    assert "has no" in message
    assert "use split_by=specimen" in message


def test_too_few_groups_says_how_many_and_what_is_possible():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    columns = {"specimen_id": list("abcdeeff")}
    assert (
        refusal(labels, columns, num_folds=3)
        == "Class malignant has 2 specimens, too few for num_folds=3; at most 2 are possible: set num_folds=2."
    )
    assert len(make_folds(labels, columns, num_folds=2)) == 2
    message = refusal(labels, columns, num_folds=2, validation_size=0.3)
    assert "Class malignant has 2 specimens, too few for num_folds=2 with a validation part; do without" in message
    message = refusal(labels, {"specimen_id": list("abcdeeee")}, num_folds=1)
    assert "Class malignant has 1 specimen, too few for num_folds=1; give more data, or split_by=image" in message


def test_rare_tumor_types_are_named(breakhis):
    _, columns = breakhis
    names = [name for folder in INVENTORY for name in folder.names()]
    types = ["A", "F", "PT", "TA", "DC", "LC", "MC", "PC"]
    labels = np.array([types.index(name.tumor_type) for name in names])
    message = refusal(labels, columns, classes=types)
    assert message == "Class A has 2 specimens, too few for num_folds=5; at most 2 are possible: set num_folds=2."
    assert len(make_folds(labels, columns, num_folds=2, classes=types)) == 2


def test_a_fold_without_a_class_is_drawn_again():
    """With three specimens of a class in three folds, random folds mostly miss one; scikit-learn does not say so."""
    labels = np.repeat([0, 1], [30, 3])
    columns = {"specimen_id": [str(i) for i in range(33)]}
    for seed in range(5):
        for fold in make_folds(labels, columns, num_folds=3, stratify=False, seed=seed):
            assert labels[fold.test].sum() == 1


def test_what_no_draw_gives_is_refused():
    labels = np.repeat([0, 1], [400, 12])
    message = refusal(labels, {}, split_by="image", num_folds=12, stratify=False)
    assert message.startswith("No split by image fits: Fold ")
    assert "has no malignant image in its test set; set fewer folds" in message


def test_a_share_that_leaves_nothing_is_refused(breakhis):
    labels, columns = breakhis
    assert "`test_size` is 0.99, too much" in refusal(labels, columns, num_folds=1, test_size=0.99)
    assert "`test_size` is 0.0001, too much or little" in refusal(
        labels, columns, split_by="image", num_folds=1, test_size=0.0001
    )


def test_one_class_only_is_refused():
    message = refusal(np.zeros(30, int), {"specimen_id": ["a"] * 30})
    assert message == "All 30 images are of class benign; give images of two classes or more."


@pytest.mark.parametrize("split_by", ["patient", "specimen", "official"])
def test_absent_ids_are_refused_with_the_reason(split_by):
    columns = {"patient_id": [None, "a"], "specimen_id": [None, "a"]}
    message = refusal(np.array([0, 1]), columns, split_by=split_by)
    assert f"split_by={split_by} needs the column" in message
    assert "split_by=image" in message


def test_a_seed_out_of_range_is_refused(breakhis):
    assert "`split_seed` is 4294967296" in refusal(*breakhis, seed=2**32)


def test_the_check_sees_a_leak_a_lost_row_and_a_gap():
    groups = np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match="one group in two parts"):
        check_folds([Fold(0, np.array([0, 2]), np.array([1, 3]))], groups)
    with pytest.raises(ValueError, match="loses or doubles"):
        check_folds([Fold(0, np.array([0, 1]), np.array([2]))], groups)
    with pytest.raises(ValueError, match="no partition"):
        check_folds([Fold(0, np.array([0, 1]), np.array([2, 3]))], groups, covers=True)
    check_folds([Fold(0, np.array([0, 1]), np.array([2, 3]))], groups)


def test_table_names_part_of_every_image_and_fold(small_breakhis, data_args):
    args = data_args(small_breakhis, split_by="specimen", num_folds=2, test_size=0.2, reserve_size=0.0)
    args.validation_size, args.stratify, args.split_seed = 0.0, True, 3
    dataset = load_images(args).dataset
    folds = split_images(dataset, args)
    table = folds_table(folds, dataset)
    assert list(table.columns) == ["file_name", "patient_id", "specimen_id", "label", "fold", "part"]
    assert len(table) == 48
    for fold in folds:
        named = table[(table["fold"] == fold.index) & (table["part"] == "test")]["file_name"]
        assert list(named) == list(dataset.select(fold.test)["file_name"])
    other = split_images(dataset, args, split_seed=4)
    assert [list(fold.test) for fold in other] == [
        list(fold.test)
        for fold in make_folds(
            np.array(dataset["label"]), {"specimen_id": list(dataset["specimen_id"])}, num_folds=2, seed=4
        )
    ]


def folders_of(parts, labels=(0, 1, 0, 1, 0, 1)):
    return make_folds(np.array(labels), {"folder_part": parts}, split_by="folders", num_folds=1)


def test_the_folders_of_the_images_are_one_hold_out():
    (fold,) = folders_of(["train", "train", "test", "test", "validation", "validation"])
    assert [list(getattr(fold, part)) for part in PARTS] == [[0, 1], [4, 5], [2, 3], []]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([None] * 6, "do not lie in folders train/ and test/"),
        (["train"] * 6, "do not lie in folders train/ and test/"),
        (["train", "train", "test", "test", None, None], "2 of 6 images lie outside of train/, val/ and test/"),
        (["train", "train", "test", "train", "train", "train"], "Fold 0 has no malignant image in its test set"),
    ],
)
def test_folders_that_are_no_split_are_refused(parts, message):
    with pytest.raises(InputError, match=message):
        folders_of(parts)
