"""What is asked of a split arrives there, and a refusal is told word for word."""

import re

import datasets
import numpy as np
import pytest
from sklearn.model_selection import KFold, ShuffleSplit

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.splits import (
    PARTS,
    Fold,
    check_folds,
    find_missing_class,
    folds_table,
    make_folds,
    split_images,
)
from hf_breakhis.files import InputError


def rows_of(folds):
    return [[fold.index, *(getattr(fold, part).tolist() for part in PARTS)] for fold in folds]


def reason(splitter, *arguments):
    """Return the first sentence of what scikit-learn says against it."""
    with pytest.raises(ValueError, match=r"number of|n_samples") as caught:
        list(splitter.split(*arguments))
    return str(caught.value).split(". ")[0].removesuffix(".")


# 64 images of two classes: 16 specimens of two slide folders of two images.
COHORT = {
    "file_name": [f"{image:02d}.png" for image in range(64)],
    "label": [image // 4 % 2 for image in range(64)],
    "patient_id": [f"p{image // 2:02d}" for image in range(64)],
    "specimen_id": [f"s{image // 4:02d}" for image in range(64)],
}
FIELDS = {
    "split_by": "specimen",
    "num_folds": 5,
    "test_size": 0.2,
    "reserve_size": 0.0,
    "validation_size": 0.0,
    "stratify": True,
    "split_seed": 42,
    "test_patients": [],
}


@pytest.fixture
def cohort():
    names = datasets.ClassLabel(names=["no", "yes"])
    return datasets.Dataset.from_dict(COHORT).cast_column("label", names)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"split_by": "patient", "num_folds": 3, "reserve_size": 0.2, "validation_size": 0.3, "split_seed": 7},
        {"stratify": False, "num_folds": 4},
        {"num_folds": 1, "test_size": 0.4},
        {"num_folds": 1, "split_by": "patient", "test_patients": ["p00", "p02", "p05"]},
    ],
    ids=str,
)
def test_every_field_of_a_recipe_reaches_the_split(cohort, asked):
    fields = FIELDS | asked
    wanted = {name: value for name, value in fields.items() if name != "split_seed"}
    expected = make_folds(np.array(COHORT["label"]), COHORT, seed=fields["split_seed"], **wanted)
    assert rows_of(split_images(cohort, DataArguments(**fields))) == rows_of(expected)
    again = make_folds(np.array(COHORT["label"]), COHORT, seed=0, **wanted)
    assert rows_of(split_images(cohort, DataArguments(**fields), split_seed=0)) == rows_of(again)


def test_a_refusal_names_the_classes_of_the_data_set(cohort):
    positive = cohort.filter(lambda row: row["label"] == 1)
    with pytest.raises(InputError) as refused:
        split_images(positive, DataArguments(**FIELDS))
    assert str(refused.value) == "All 32 images are of class yes; give images of two classes or more."


def test_the_table_of_all_folds_is_numbered_through(cohort):
    table = folds_table(split_images(cohort, DataArguments(**FIELDS)), cohort)
    assert list(table.index) == list(range(5 * 64))


THREE = np.repeat([0, 1], [5, 3])  # benign images, malignant images, each of a specimen of its own
SINGLE = {"specimen_id": list("abcdefgh")}
FOLDERS = {"patient_id": ["p1A", "p2A", "p2B", "p3A", "p4A", "p4B"], "specimen_id": ["1", "2", "2", "3", "4", "4"]}
BOTH = np.array([0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("labels", "columns", "asked", "message"),
    [
        (
            THREE, {}, {},
            "split_by=specimen needs the column specimen_id, which these images do not have; use split_by=image, "
            "which may put one patient on both sides.",
        ),
        ([], {}, {"split_by": "image"}, "All 0 images have no class; give images of two classes or more."),
        (THREE, SINGLE, {"seed": -1}, "`split_seed` is -1, but has to be from 0 to 4294967295."),
        (
            BOTH, FOLDERS, {"split_by": "official", "num_folds": 2},
            "split_by=official is 5 folds without a reserve; change num_folds or it.",
        ),
        (
            BOTH, FOLDERS, {"split_by": "official"},
            "split_by=official knows the 82 slide folders of BreakHis, but not p1A; use split_by=specimen.",
        ),
        (
            THREE, SINGLE, {"num_folds": 3, "reserve_size": 0.1, "validation_size": 0.1},
            "Class malignant has 3 specimens, too few for num_folds=3 with a reserve and a validation part; do "
            "without the extra part, or give more data.",
        ),
        (
            THREE, SINGLE, {"num_folds": 3, "reserve_size": 0.1},
            "Class malignant has 3 specimens, too few for num_folds=3 with a reserve; at most 2 are possible: set "
            "num_folds=2.",
        ),
        (
            [0, 0, 1], {}, {"split_by": "image", "num_folds": 2},
            "Class malignant has 1 image, too few for num_folds=2; give more data.",
        ),
        (
            [0, 0, 1], {"patient_id": list("abc")}, {"split_by": "patient", "num_folds": 2},
            "Class malignant has 1 patient, too few for num_folds=2; give more data, or split_by=image, which leaks.",
        ),
        (
            BOTH, FOLDERS, {"num_folds": 1, "test_patients": ["nobody"]},
            "`test_patients` has nobody, of whom there is no image here.",
        ),
        (
            BOTH, FOLDERS, {"num_folds": 1, "test_patients": ["p2C"]},
            "`test_patients` has p2C, of whom there is no image here. Did you mean `p2B`?",
        ),
        (
            BOTH, FOLDERS, {"num_folds": 1, "test_patients": ["p2B", "p3A"]},
            "`test_patients` divides a specimen: p2A belongs to one that is named; name it too, or give "
            "split_by=patient, which leaks.",
        ),
        (
            BOTH, FOLDERS, {"num_folds": 1, "split_by": "patient", "test_patients": ["p1A", "p2B"]},
            "No split by patient fits: Fold 0 has no malignant image in its test set; name other patients in "
            "test_patients.",
        ),
        (
            [0, 1], {"patient_id": ["SOB_B_F-14-14134", "SOB_M_DC-14-2523"]}, {"split_by": "official"},
            "No split by official fits: Fold 0 has no malignant image in its training set; give all of BreakHis, or "
            "use split_by=specimen.",
        ),
        (
            THREE, SINGLE, {"num_folds": 1, "reserve_size": 0.99},
            "No split by specimen fits: `reserve_size` is 0.99, too much or little for 8 images "
            f"({reason(ShuffleSplit(1, test_size=0.99), range(8))}); set fewer folds or other shares.",
        ),
        (
            THREE, SINGLE, {"num_folds": 1, "test_size": 0.25, "validation_size": 0.99},
            "No split by specimen fits: `validation_size` is 0.99, too much or little for 6 images "
            f"({reason(ShuffleSplit(1, test_size=0.99), range(6))}); set fewer folds or other shares.",
        ),
        (
            np.arange(1200) % 2, {}, {"split_by": "image", "stratify": False, "num_folds": 19, "reserve_size": 0.99},
            "No split by image fits: 12 images do not allow num_folds=19 "
            f"({reason(KFold(19), range(12))}); set fewer folds or other shares.",
        ),
    ],
)  # fmt: skip
def test_a_refusal_is_told_word_for_word(labels, columns, asked, message):
    with pytest.raises(InputError) as refused:
        make_folds(np.array(labels), columns, **asked)
    assert str(refused.value) == message


@pytest.mark.parametrize("part", PARTS)
def test_a_part_without_a_class_is_named(part):
    name = "training" if part == "train" else part
    labels = np.array([0, 1] * 4)
    rows = {one: np.array([2 * k, 2 * k + 1]) for k, one in enumerate(PARTS)}
    assert find_missing_class([Fold(0, **rows)], labels, ["no", "yes"]) == ""
    whole, lame = Fold(0, **rows), Fold(1, **rows | {part: rows[part][:1]})
    assert find_missing_class([whole, lame], labels, ["no", "yes"]) == f"Fold 1 has no yes image in its {name} set"
    empty = Fold(1, **rows | {part: np.array([], int)})
    message = f"Fold 1 has no no image in its {name} set" if part in ("train", "test") else ""
    assert find_missing_class([whole, empty], labels, ["no", "yes"]) == message


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        (Fold(3, np.array([0, 1]), np.array([2])), "Fold 3 loses or doubles rows."),
        (Fold(3, np.array([0, 2]), np.array([1, 3])), "Fold 3 has one group in two parts."),
        (Fold(3, np.array([0, 1]), np.array([2, 3])), "The test sets are no partition."),
    ],
)
def test_what_is_wrong_with_a_fold_is_told_word_for_word(fold, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_folds([fold], np.array([0, 0, 1, 1]), covers=True)


def test_a_reserve_is_not_to_be_tested():
    reserve = np.array([4])
    folds = [Fold(0, np.array([0, 1]), np.array([2, 3]), reserve=reserve)]
    folds.append(Fold(1, np.array([2, 3]), np.array([0, 1]), reserve=reserve))
    check_folds(folds, np.array([0, 0, 1, 1, 2]), covers=True)


IDS = {name: COHORT[name] for name in ("patient_id", "specimen_id")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split_by": "woman"}, "`split_by` is 'woman', but has to be one of image, patient, specimen, official,"),
        ({"num_folds": 0}, "`num_folds` is 0, but has to be a whole number of at least 1."),
        ({"num_folds": 2.5}, "`num_folds` is 2.5, but has to be a whole number of at least 1."),
        ({"num_folds": True}, "`num_folds` is True, but has to be a whole number of at least 1."),
        ({"test_size": 1.5}, "`test_size` is 1.5, but a share is at least 0 and below 1."),
        ({"reserve_size": -0.1}, "`reserve_size` is -0.1, but a share is at least 0 and below 1."),
        ({"validation_size": float("nan")}, "`validation_size` is nan, but a share is at least 0 and below 1."),
        ({"labels": ["no", "yes"] * 32}, "`labels` has the shape (64,), the type <U3 and the values no, yes; give"),
        ({"labels": [0.5, 1] * 32}, "`labels` has the shape (64,), the type float64 and the values 0.5, 1.0; give"),
        ({"labels": [[0, 1]] * 32}, "`labels` has the shape (32, 2), the type int64 and the values 0, 1; give"),
        ({"labels": [-1, 1] * 32}, "`labels` has the shape (64,), the type int64 and the values -1, 1; give a"),
        ({"labels": [None, 1] * 32}, "the type object and the values 1, None; give a whole number from 0 on for each"),
        ({"labels": [0, 1] * 31}, "`columns` has 64 values of patient_id for 62 labels; give one for each image."),
    ],
)
def test_arguments_that_no_recipe_could_have_are_named(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make_folds(**{"labels": COHORT["label"], "columns": IDS, "num_folds": 2} | changes)


def test_labels_may_be_a_list_or_whole_numbers_of_numpy():
    as_list = make_folds(COHORT["label"], IDS, num_folds=np.int64(2))
    assert rows_of(as_list) == rows_of(make_folds(np.array(COHORT["label"], dtype=np.uint8), IDS, num_folds=2))


def test_classes_without_names_are_told_by_their_numbers():
    with pytest.raises(InputError, match=r"^Class 2 has 1 image, too few for num_folds=2; give more data\.$"):
        make_folds([0, 0, 1, 1, 2], {}, split_by="image", num_folds=2)
    assert len(make_folds([0, 0, 1, 1, 2, 2], {}, split_by="image", num_folds=2)) == 2
