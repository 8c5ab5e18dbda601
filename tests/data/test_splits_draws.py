"""A split without strata or groups is that of scikit-learn, and one that lacks a class is drawn again."""

import warnings
from itertools import count

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, ShuffleSplit, StratifiedKFold, train_test_split

from hf_breakhis.data import splits
from hf_breakhis.data.splits import PARTS, make_folds

THREE = np.repeat([0, 1], [5, 3])  # benign images, malignant images, each of a specimen of its own
SINGLE = {"specimen_id": list("abcdefgh")}


def names_of(*counts, prefix=""):
    """One name for each group, as often as it has images."""
    return [f"{prefix}{group}" for group, number in enumerate(counts) for _ in range(number)]


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_first_and_the_last_seed_are_seeds(seed):
    assert len(make_folds(THREE, SINGLE, num_folds=3, seed=seed)) == 3


def test_folds_that_lack_a_class_are_drawn_again_with_derived_seeds():
    labels = np.repeat([0, 1], [30, 3])
    groups = np.arange(33)
    columns = {"specimen_id": [f"{group:02d}" for group in groups]}
    for draw in count():
        seed = 5 if draw == 0 else int(np.random.SeedSequence([5, draw]).generate_state(1)[0])
        tests = [test for _, test in GroupKFold(3, shuffle=True, random_state=seed).split(groups, labels, groups)]
        if all(labels[test].any() for test in tests):
            break
    assert draw > 1
    found = make_folds(labels, columns, num_folds=3, stratify=False, seed=5)
    assert [fold.test.tolist() for fold in found] == [test.tolist() for test in tests]


def test_a_draw_that_leaves_one_image_of_a_class_is_drawn_again(monkeypatch):
    """The reserve takes 2 of 10 images, of a class one or two as it falls; validation then needs two of each."""
    reasons = []
    brief = splits._brief
    monkeypatch.setattr(splits, "_brief", lambda error: reasons.append(str(error)) or brief(error))
    asked = {"split_by": "image", "num_folds": 1, "test_size": 0.4, "reserve_size": 0.2, "validation_size": 0.3}
    (fold,) = make_folds(np.repeat([0, 1], [4, 6]), {}, seed=0, **asked)
    assert [len(getattr(fold, part)) for part in PARTS] == [2, 2, 4, 2]
    assert reasons, "no draw was refused, so this test tells nothing"


def test_a_hold_out_without_strata_is_the_first_draw():
    labels, specimens = np.arange(40) % 2, names_of(*[1] * 40)
    (fold,) = make_folds(labels, {"specimen_id": specimens}, num_folds=1, test_size=0.3, stratify=False, seed=8)
    _, chosen = next(ShuffleSplit(1, test_size=0.3, random_state=8).split(range(40)))
    assert sorted(specimens[row] for row in fold.test) == sorted(np.unique(specimens)[chosen])


def test_a_hold_out_is_a_fifth_unless_told_otherwise():
    labels = np.arange(50) % 2
    (fold,) = make_folds(labels, {}, split_by="image", num_folds=1)
    assert [len(getattr(fold, part)) for part in PARTS] == [40, 0, 10, 0]


def test_a_hold_out_has_the_share_of_every_class():
    sizes = np.random.default_rng(0).integers(1, 9, size=30)
    labels, group = np.repeat(np.arange(30) % 3, sizes), np.repeat(np.arange(30), sizes)
    columns = {"specimen_id": [f"{number:02d}" for number in group]}
    (fold,) = make_folds(labels, columns, num_folds=1, test_size=0.25, seed=8, classes="abc")
    for label in range(3):
        assert (labels[fold.test] == label).mean() == pytest.approx((labels == label).mean(), abs=0.02)
        assert np.isin(np.flatnonzero(labels == label), fold.test).mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    ("labels", "specimens", "share"),
    [
        # Two images of the rare class: without them the numbers of the other class would be nearer to a tenth.
        (np.repeat([0, 1], [180, 2]), names_of(*[10] * 18, 1, 1), 0.1),
        # Only the first specimen has every class, but it is nearly everything.
        ([0] * 95 + [1, 2] + [0, 1] + [0, 2] + [0, 0, 0], names_of(97, 2, 2, 1, 1, 1), 0.15),
    ],
)
def test_a_class_on_both_sides_counts_more_than_a_share(labels, specimens, share):
    labels = np.array(labels)
    (fold,) = make_folds(labels, {"specimen_id": specimens}, num_folds=1, test_size=share, classes="abc")
    assert set(labels[fold.train]) == set(labels[fold.test]) == set(labels)


class Doubling(StratifiedKFold):
    """A splitter that tests the same images in every fold."""

    def split(self, *arguments):
        return [next(super().split(*arguments))] * self.n_splits


def test_a_splitter_that_tests_images_twice_is_noticed(monkeypatch):
    monkeypatch.setattr(splits, "StratifiedKFold", Doubling)
    with pytest.raises(ValueError, match=r"^The test sets are no partition\.$"):
        make_folds(THREE, {}, "image", num_folds=2)


class Changing(StratifiedKFold):
    """A splitter that will change."""

    def split(self, *arguments):
        warnings.warn("few images", UserWarning, stacklevel=1)
        warnings.warn("will change", FutureWarning, stacklevel=1)
        return super().split(*arguments)


def test_only_what_is_checked_afterwards_is_kept_quiet(monkeypatch):
    monkeypatch.setattr(splits, "StratifiedKFold", Changing)
    with pytest.warns(FutureWarning, match="will change") as caught:
        make_folds(THREE, {}, "image", num_folds=2)
    assert [str(warning.message) for warning in caught] == ["will change"]


def test_an_image_split_is_that_of_train_test_split():
    labels = np.arange(50) % 2
    (fold,) = make_folds(labels, {}, split_by="image", num_folds=1, test_size=0.3, seed=9)
    _, test = train_test_split(np.arange(50), test_size=0.3, stratify=labels, random_state=9)
    assert fold.test.tolist() == sorted(test)
