"""Cross-fitting keeps patients together, and a difference has an interval from those of both scores."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_breakhis.results.evaluated import PARTS, cross_fitting_parts, difference
from hf_breakhis.results.scores.intervals import intervals


def table(groups, labels):
    ids = [f"p{group}" for group in groups]
    names = [f"{k}.png" for k in range(len(ids))]
    return pd.DataFrame({"file_name": names, "patient_id": ids, "specimen_id": ids, "label": labels, "fold": 0})


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 20), st.integers(1, 6), st.integers(0, 10_000))
def test_no_patient_is_in_two_parts_and_each_rest_has_both_classes(num_patients, images, seed):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(2 * num_patients), images)
    shuffled = rng.permutation(len(groups))
    parts, level = cross_fitting_parts(table(groups[shuffled], (groups % 2)[shuffled]))
    assert level == "patient"
    assert (parts.groupby("patient_id")["fold"].nunique() == 1).all()
    assert parts["fold"].nunique() == min(PARTS, num_patients)
    for part in parts["fold"].unique():
        assert parts[parts["fold"] != part]["label"].nunique() == 2


def test_too_few_patients_are_one_part():
    parts, _ = cross_fitting_parts(table([0, 0, 1, 2, 3], [0, 0, 1, 1, 1]))
    assert set(parts["fold"]) == {0}


def test_the_interval_of_a_difference_is_that_of_normal_errors():
    """For symmetric intervals the method is the usual one: the half widths add up in squares."""
    one, other = ({"value": v, "low": v - h, "high": v + h} for v, h in ((0.7, 0.03), (0.8, 0.04)))
    found = difference(one, other)
    assert found["value"] == pytest.approx(-0.1)
    assert (found["low"], found["high"]) == (pytest.approx(-0.15), pytest.approx(-0.05))
    assert difference(one, {"value": 0.8, "low": None, "high": None})["low"] is None
    assert difference(one, {"value": None, "low": None, "high": None})["value"] is None


def test_the_interval_of_a_difference_holds_in_a_simulation():
    """Two independent sets of specimens with effects of their own; nominal 95 %."""
    rng, truth, held = np.random.default_rng(3), 0.65 - 0.85, []
    for _ in range(300):
        sides = []
        for mean, number in ((0.65, 40), (0.85, 60)):
            sizes = rng.integers(10, 40, number)
            right = rng.binomial(sizes, rng.beta(6 * mean, 6 * (1 - mean), number))
            scores = lambda weights, right=right, sizes=sizes: {"accuracy": weights @ right / (weights @ sizes)}  # noqa: E731
            sides.append(intervals(scores, number, resamples=200)["accuracy"])
        found = difference(*sides)
        held.append(found["low"] <= truth <= found["high"])
    assert 0.91 <= np.mean(held) <= 0.985
