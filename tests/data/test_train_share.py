"""A share of the training groups: nested, of every class, and the test sets stay the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.splits import check_folds, make_folds, with_share
from hf_breakhis.files import InputError

FOLDERS = [folder for folder in INVENTORY for _ in range(3)]
LABELS = np.array([folder.label for folder in FOLDERS])
GROUPS = np.array([folder.specimen_id for folder in FOLDERS])
FOLDS = make_folds(LABELS, {"specimen_id": list(GROUPS), "patient_id": [f.patient_id for f in FOLDERS]}, num_folds=3)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=2).map(sorted), st.integers(0, 1000))
def test_smaller_shares_are_part_of_larger_ones_and_no_specimen_is_divided(shares, seed):
    for fold in FOLDS:
        small, large = (with_share(fold, LABELS, GROUPS, share, seed) for share in shares)
        assert set(small.train) <= set(large.train) <= set(fold.train)
        check_folds([small, large], GROUPS)
        for part in (small, large):
            used = np.concatenate([part.train, part.validation, part.test, part.reserve])
            assert not set(GROUPS[part.unused]) & set(GROUPS[used])
        for part in (small, large):
            assert set(LABELS[part.train]) == {0, 1}
            assert np.array_equal(part.test, fold.test)
        for label in (0, 1):
            of_class = [len(np.unique(GROUPS[rows][LABELS[rows] == label])) for rows in (small.train, fold.train)]
            assert of_class[0] == np.ceil(round(shares[0] * of_class[1], 6))


def test_another_seed_chooses_other_specimens():
    one, other = (with_share(FOLDS[0], LABELS, GROUPS, 0.3, seed) for seed in (1, 2))
    assert set(one.train) != set(other.train)


def test_the_whole_share_is_the_fold():
    whole = with_share(FOLDS[1], LABELS, GROUPS, 1.0, 5)
    assert np.array_equal(whole.train, FOLDS[1].train)
    assert len(whole.unused) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train_share": 0.0}, "above 0 and at most 1"),
        ({"train_share": 1.5}, "above 0 and at most 1"),
        ({"train_share": 0.5, "fold": "refit"}, "trains on all images"),
    ],
)
def test_shares_that_cannot_be_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        DataArguments(**fields)
