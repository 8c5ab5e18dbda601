"""Another seed gives another split, and a split is balanced: stated here on all 7,909 names of BreakHis."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import StratifiedGroupKFold

from hf_breakhis.data.dealing import MIN_GROUPS, count_by_group, deal_folds, deal_part, imbalance
from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.splits import PARTS, make_folds, thin_parts

NAMES = [name for folder in INVENTORY for name in folder.names()]
LABELS = np.array([name.label for name in NAMES])
COLUMNS = {column: [getattr(name, column) for name in NAMES] for column in ("patient_id", "specimen_id")}
LARGEST = "14-21998"  # 493 of the 2,480 benign images


def fold_of_groups(tests, numbers):
    """Return the fold that tests each group."""
    folds = np.empty(numbers.max() + 1, dtype=int)
    for fold, rows in enumerate(tests):
        folds[numbers[rows]] = fold
    return folds


def ours(seed, num_folds, split_by="specimen"):
    return [fold.test for fold in make_folds(LABELS, COLUMNS, split_by, num_folds, seed=seed)]


def theirs(seed, num_folds, split_by="specimen"):
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    return [test for _, test in splitter.split(LABELS, LABELS, COLUMNS[f"{split_by}_id"])]


def mean_agreement(split, num_folds):
    numbers, _ = count_by_group(np.array(COLUMNS["specimen_id"]), LABELS)
    found = [fold_of_groups(split(seed, num_folds), numbers) for seed in range(6)]
    return np.mean([adjusted_rand_score(*pair) for pair in combinations(found, 2)])


@pytest.mark.parametrize("num_folds", [3, 5])
def test_splits_of_two_seeds_have_no_more_in_common_than_by_chance(num_folds):
    assert mean_agreement(ours, num_folds) < 0.1


def test_the_agreement_sees_splits_that_are_nearly_equal():
    assert mean_agreement(theirs, 5) > 0.4


@pytest.mark.parametrize("split_by", ["patient", "specimen"])
@pytest.mark.parametrize("num_folds", [3, 5])
def test_the_balance_is_no_worse_than_that_of_scikit_learn(num_folds, split_by):
    numbers, counts = count_by_group(np.array(COLUMNS[f"{split_by}_id"]), LABELS)
    shares = np.full(num_folds, 1 / num_folds)
    for seed in range(5):
        both = np.stack([fold_of_groups(split(seed, num_folds, split_by), numbers) for split in (ours, theirs)])
        found = imbalance(both, counts, shares)
        assert found[0] <= found[1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "asked",
    [
        {"num_folds": 5, "validation_size": 0.15},
        {"num_folds": 3, "validation_size": 0.15},
        {"num_folds": 4, "reserve_size": 0.15},
        {"num_folds": 1, "test_size": 0.1, "validation_size": 0.1},
    ],
    ids=str,
)
def test_every_part_has_three_specimens_of_each_class(asked, seed):
    folds = make_folds(LABELS, COLUMNS, seed=seed, **asked)
    specimens = np.array(COLUMNS["specimen_id"])
    for fold in folds:
        parts = [getattr(fold, part) for part in PARTS]
        for rows in filter(len, parts):
            assert min(len(set(specimens[rows][LABELS[rows] == label])) for label in (0, 1)) >= MIN_GROUPS
    assert thin_parts(folds, LABELS, specimens, ("benign", "malignant")) == []


def test_the_largest_specimen_is_not_tested_without_others():
    specimens = np.array(COLUMNS["specimen_id"])
    for seed in range(5):
        (test,) = [rows for rows in ours(seed, 5) if LARGEST in specimens[rows]]
        assert len(set(specimens[test][LABELS[test] == 0])) >= MIN_GROUPS


def test_parts_with_few_groups_are_named():
    labels, groups = np.repeat([0, 1], [5, 6]), np.arange(11)
    folds = make_folds(labels, {"specimen_id": [f"{group:02d}" for group in groups]}, num_folds=2)
    small = min(folds, key=lambda fold: (labels[fold.test] == 0).sum())
    large = max(folds, key=lambda fold: (labels[fold.test] == 0).sum())
    expected = {f"fold {small.index} test: 2 benign", f"fold {large.index} train: 2 benign"}
    assert set(thin_parts(folds, labels, groups, ("benign", "malignant"))) == expected


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), min_size=6, max_size=40),
    st.integers(2, 5),
    st.integers(0, 2**32 - 1),
)
def test_each_fold_has_the_same_number_of_groups_of_a_class_or_one_more(groups, num_folds, seed):
    counts = np.array([np.eye(3, dtype=int)[kind] * size for kind, size in groups])
    folds = deal_folds(counts, num_folds, seed)
    for kind in range(3):
        per_fold = np.bincount(folds[counts.argmax(1) == kind], minlength=num_folds)[:num_folds]
        if counts[:, kind].any():
            assert np.ptp(per_fold) <= 1
    np.testing.assert_array_equal(folds, deal_folds(counts, num_folds, seed))


@pytest.mark.parametrize(
    ("total", "share", "leave", "expected"),
    [(13, 0.15, 1, 3), (30, 0.2, 1, 6), (8, 0.1, 1, 2), (4, 0.1, 1, 1), (6, 0.3, 5, 1), (3, 0.9, 2, 1)],
)
def test_a_part_takes_the_share_but_at_least_three_or_a_third(total, share, leave, expected):
    assert deal_part(np.full((total, 1), 5), share, leave, seed=0).sum() == expected


def test_a_group_of_two_classes_belongs_to_that_of_most_of_its_images():
    """Four groups are mostly benign and four mostly malignant; each fold gets two of either."""
    counts = np.array([[9, 1]] * 4 + [[2, 8]] * 4)
    for seed in range(5):
        folds = deal_folds(counts, 2, seed)
        assert folds[:4].sum() == folds[4:].sum() == 2


def test_the_imbalance_by_hand():
    """Benign: 6 of 8 images and 1 of 2 groups; malignant: 4 of 8 images and 1 of 4 groups."""
    counts = np.array([[6, 0], [2, 0], [0, 4], [0, 2], [0, 1], [0, 1]])
    halves = np.array([0.5, 0.5])
    assert imbalance(np.array([[0, 1, 0, 1, 1, 1]]), counts, halves) == pytest.approx([0.25 / 2 + 0.25 / 2])
    without_benign = np.array([[0, 0, 0, 1, 1, 1]])
    assert imbalance(without_benign, counts, halves) == pytest.approx([0.5 / 2 + (0.5 + 0.25) / 2 + 1])
