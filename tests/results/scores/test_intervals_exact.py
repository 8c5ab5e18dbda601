"""Every argument of an interval has its effect, limits lie where they are said to, small cases come out exactly."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import t

from hf_breakhis.results.scores.intervals import (
    TINY,
    Groups,
    Replicates,
    bootstrap_error,
    bounded,
    choose_groups,
    describe_intervals,
    draw_groups,
    groups_by_class,
    intervals,
    percentile,
    unbounded,
    weigh,
)

NOTHING = {"value": None, "low": None, "high": None}


def mean_of(values, *names):
    """Scores of each name: the mean of the groups' values, each as often as it is drawn."""
    return lambda weights: dict.fromkeys(names, weights @ values / weights.sum(1))


@pytest.fixture
def twelve():
    return np.random.default_rng(0).uniform(0.5, 0.9, 12)


@pytest.mark.parametrize(
    "asked",
    [{}, {"level": 0.8}, {"resamples": 300}, {"seed": 5}, {"shares": False}, {"method": "percentile"}],
    ids=str,
)
def test_an_interval_is_made_as_asked(twelve, asked):
    given = {"level": 0.95, "resamples": 2000, "seed": 0, "shares": True, "method": "bootstrap error"} | asked
    scores = draw_groups(12, given["resamples"], given["seed"]) @ twelve / 12
    there, back = (logit, expit) if given["shares"] else (np.positive, np.positive)
    half = t.ppf((1 + given["level"]) / 2, 11) * there(scores).std(ddof=1) * np.sqrt(12 / 11)
    ends = back(there(twelve.mean()) - half), back(there(twelve.mean()) + half)
    if given["method"] == "percentile":
        ends = np.quantile(scores, 0.025), np.quantile(scores, 0.975)
    found = intervals(mean_of(twelve, "accuracy"), 12, **asked)["accuracy"]
    assert list(found) == ["value", "low", "high"] + ([] if given["shares"] else ["p_value"])
    assert list(found.values())[:3] == pytest.approx([twelve.mean(), *ends], rel=1e-9)


def test_a_correlation_is_no_share(twelve):
    """It lies between -1 and 1, and so has no log odds."""
    found = intervals(mean_of(twelve, "mcc", "accuracy"), 12)
    difference = intervals(mean_of(twelve, "accuracy"), 12, shares=False)["accuracy"]
    assert found["mcc"] == {name: difference[name] for name in ("value", "low", "high")}
    assert found["mcc"] != found["accuracy"]


@pytest.mark.parametrize("name", ["mcc", "roc_auc", "roc_auc of DC", "macro.f1"])
@pytest.mark.parametrize("fewest", [9, 10])
def test_a_score_that_compares_classes_needs_ten_groups_of_each(name, fewest):
    classes = np.repeat([1, 3], [12, fewest])
    values = np.random.default_rng(0).uniform(0.5, 0.9, len(classes))
    found = intervals(mean_of(values, name, "accuracy"), len(classes), classes=classes, resamples=50)
    assert (found[name]["low"] is not None) == (fewest == 10)
    assert found[name]["value"] == found["accuracy"]["value"] == pytest.approx(values.mean())
    assert found["accuracy"]["low"] is not None


@pytest.mark.parametrize("fewest", [9, 10])
def test_a_score_of_one_class_needs_ten_groups_of_it(fewest):
    classes = np.repeat([0, 1], [12, fewest])
    values = np.random.default_rng(0).uniform(0.5, 0.9, len(classes))

    def specificity(weights):
        own = weights * (classes == 1)
        return {"specificity": own @ values / own.sum(1)}

    found = intervals(specificity, len(classes), classes=classes)["specificity"]
    assert (found["low"] is not None) == (fewest == 10)


def test_nine_groups_have_only_a_value(twelve):
    assert intervals(mean_of(twelve[:9], "accuracy"), 9)["accuracy"] == NOTHING | {
        "value": pytest.approx(twelve[:9].mean())
    }


@pytest.mark.parametrize(("num_groups", "asked"), [(2000, [1, 3, 2000]), (2001, [1, 3])])
def test_of_more_than_two_thousand_groups_none_is_left_out(num_groups, asked):
    values = np.random.default_rng(0).uniform(0.5, 0.9, num_groups)
    seen = []

    def scores(weights):
        seen.append(len(weights))
        return mean_of(values, "accuracy")(weights)

    found = intervals(scores, num_groups, resamples=3, shares=False)["accuracy"]
    assert seen == asked
    inflation = num_groups / (num_groups - 1) if len(asked) == 3 else 1
    spread = (draw_groups(num_groups, 3) @ values / num_groups).std(ddof=1) * np.sqrt(inflation)
    assert found["high"] - found["value"] == pytest.approx(t.ppf(0.975, num_groups - 1) * spread, rel=1e-9)


def test_scores_are_asked_of_all_groups_of_each_resample_and_without_each_group(twelve):
    seen = []
    intervals(lambda weights: seen.append(weights) or mean_of(twelve, "accuracy")(weights), 12, resamples=3)
    for weights, expected in zip(seen, (np.ones((1, 12)), draw_groups(12, 3), 1 - np.eye(12)), strict=True):
        np.testing.assert_array_equal(weights, expected)


def test_weights_of_two_classes_worked_out_by_hand():
    """Influences .2, 0, .1 vary by .02 x 2/3, .3 and -.1 by .08 x 1/2: in hundredths 4/3 with 2 degrees, 4 with 1."""
    left_out = 0.5 - np.array([0.2, 0.0, 0.1, 0.3, -0.1])
    degrees, inflation = weigh(0.5, left_out, np.array([4, 4, 4, 7, 7]))
    assert degrees == pytest.approx((16 / 3) ** 2 / ((4 / 3) ** 2 / 2 + 4**2))
    assert inflation == pytest.approx((16 / 3) / (4 / 3 * 2 / 3 + 4 * 1 / 2))


@pytest.mark.parametrize(
    ("influence", "weights"),
    [
        ([0, 0, 0, 0, 0], (4, 1)),  # no group moves the score
        ([TINY, -TINY, 0, 0, 0], (4, 1)),  # what is as small as a rounding error is none
        ([0.1, -0.1, np.nan, 0, 0], (2, 1.5)),  # a score undefined without a group is as if it had not moved
        ([0.1, 0.1, 0.1, 0, 0], (2, 1)),  # all groups of a class move it alike
        ([0.1, 0.1, 0.1, 0.2, 0.2], (1, 1)),
    ],
    ids=str,
)
def test_weights_of_what_hardly_moves(influence, weights):
    assert weigh(0.0, -np.array(influence, float), np.array([0, 0, 0, 1, 1])) == pytest.approx(weights)


def test_weights_of_a_score_that_no_group_moves():
    assert weigh(0.5, np.full(5, 0.5), np.array([0, 0, 0, 1, 1])) == (4, 1)


@pytest.mark.parametrize(("influence", "inflation"), [(1e-6, 2), (np.nextafter(1e-6, 0), 1)])
def test_a_variance_below_a_rounding_error_is_none(influence, inflation):
    """Of two groups the variance is the square of their influence: 1e-12 is the least that counts."""
    assert TINY == 1e-12
    left_out = np.array([influence, -influence, 0, 0, 0])
    assert weigh(0.0, left_out, np.array([0, 0, 1, 1, 1])) == (1, inflation)


def test_one_group_of_a_class_that_moves_has_no_spread():
    assert weigh(0.0, np.array([0.1, -0.1, 0.2]), np.array([0, 0, 1])) == (0, 1)


def test_percentiles_leave_the_same_on_either_side():
    replicates = Replicates(0.5, np.arange(101.0), 9, level=0.9)
    assert percentile(replicates) == pytest.approx((5, 95))
    assert percentile(Replicates(0.5, np.arange(1001.0), 9)) == pytest.approx((25, 975))


@pytest.mark.parametrize("scores", [[0.0, 0.4, 0.9], [0.1, 0.4, 1.0], [0.0, 0.4, 1.0]], ids=str)
def test_a_resample_is_at_most_twenty_times_nearer_to_0_or_1_than_the_score(scores):
    counted = np.clip(scores, 0.4 / 20, 1 - 0.6 / 20)
    half = t.ppf(0.95, 40) * logit(counted).std(ddof=1) * np.sqrt(1.1)
    found = bootstrap_error(Replicates(0.4, np.array(scores), 40, 1.1, level=0.9))
    assert found == pytest.approx((expit(logit(0.4) - half), expit(logit(0.4) + half)))


@pytest.mark.parametrize("limits", [(-1.0, 1.0), (-np.inf, np.inf), (-3.0, 2.0)])
def test_a_difference_is_cut_at_its_limits(limits):
    scores = np.array([-0.9, 0.5, 1.4])
    found = bootstrap_error(Replicates(0.9, scores, 40, is_share=False, limits=limits))
    half = t.ppf(0.975, 40) * scores.std(ddof=1)
    assert found == pytest.approx((max(limits[0], 0.9 - half), min(limits[1], 0.9 + half)))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_share_of_0_or_1_whose_resamples_differ_has_no_interval(value):
    found = bounded(Replicates(value, np.linspace(0.1, 0.9, 50), 9))
    assert found == {"value": value, "low": None, "high": None}
    difference = bounded(Replicates(value, np.linspace(0.1, 0.9, 50), 9, is_share=False))
    assert difference["low"] is not None


@pytest.mark.parametrize(("undefined", "has_interval"), [(0, True), (5, True), (6, False)])
def test_one_resample_in_twenty_may_be_undefined(undefined, has_interval):
    scores = np.append(np.full(undefined, np.nan), np.linspace(0.2, 0.8, 100 - undefined))
    found = bounded(Replicates(0.5, scores, 9, level=0.8), "percentile")
    ends = np.quantile(scores[undefined:], [0.1, 0.9]) if has_interval else (None, None)
    assert found == {"value": 0.5, "low": pytest.approx(ends[0]), "high": pytest.approx(ends[1])}


@pytest.mark.parametrize(("spread", "has_interval"), [(0, False), (TINY / 2, False), (2 * TINY, True)])
def test_a_share_that_no_resample_moves_has_no_interval(spread, has_interval):
    """A constant predictor; the difference of two equal runs is 0 without any doubt."""

    def first_group(weights):
        return {"accuracy": 0.5 + spread * (weights @ np.eye(12)[0] > 0)}

    found = intervals(first_group, 12)["accuracy"]
    assert (found["low"] is not None) == (found["high"] is not None) == has_interval
    equal = intervals(mean_of(np.zeros(12), "accuracy"), 12, shares=False)["accuracy"]
    assert equal == dict.fromkeys(NOTHING, 0.0) | {"p_value": 1.0}


@pytest.mark.parametrize("resamples", [1, 20])
def test_resamples_that_are_undefined_or_one_leave_no_interval(twelve, resamples):
    def scores(weights):
        defined = len(weights) in (1, 12)  # the value, and the scores without each group
        return {"accuracy": weights @ twelve / weights.sum(1) * (1 if defined else np.nan)}

    assert intervals(scores, 12, resamples=resamples)["accuracy"] == NOTHING | {"value": pytest.approx(twelve.mean())}


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("rests_on", [9, 10, 12])
def test_a_share_of_0_or_1_rests_on_the_groups_that_define_it(value, rests_on):
    """It has an exact interval, if there are ten of them."""

    def scores(weights):
        defined = weights[:, :rests_on].sum(1) > 0
        return {"accuracy": np.where(defined, value, np.nan)}

    found = intervals(scores, 12, classes=np.zeros(12, int))["accuracy"]
    bound = 0.025 ** (1 / rests_on)
    ends = (None, None) if rests_on < 10 else (bound, 1) if value else (0, 1 - bound)
    assert (found["low"], found["high"]) == pytest.approx(ends)


def test_a_value_that_is_undefined_is_none():
    assert unbounded(float("nan")) == NOTHING
    assert unbounded(0.25) == NOTHING | {"value": 0.25}
    assert bounded(Replicates(float("nan"), np.linspace(0, 1, 50), 9)) == NOTHING


def test_draws_are_those_of_their_arguments_and_nobody_changes_them():
    """They are kept for the next call, so the same, another and the same again."""
    given = ((5, 6, 4), (5, 6, 3), (5, 6, 4, np.array([0, 0, 1, 1, 1])), (6, 6, 4), (5, 7, 4))
    first = [draw_groups(*one).copy() for one in given]
    assert len({drawn.tobytes() for drawn in first}) == len(given)
    for one, drawn in zip(given, first, strict=True):
        np.testing.assert_array_equal(draw_groups(*one), drawn)
        with pytest.raises(ValueError, match="read-only"):
            draw_groups(*one)[0, 0] = 9


def test_groups_are_drawn_by_numpys_generator():
    picks = np.random.default_rng(0).integers(7, size=(2000, 7))
    drawn = draw_groups(7)
    assert drawn.tolist() == [np.bincount(row, minlength=7).tolist() for row in picks]
    assert drawn.dtype == np.int64


def test_strata_are_drawn_one_after_the_other():
    rng = np.random.default_rng(4)
    first, second = rng.integers(3, size=(6, 3)), rng.integers(2, size=(6, 2))
    drawn = draw_groups(5, 6, 4, strata=np.array([8, 2, 8, 2, 2]))
    assert drawn[:, [1, 3, 4]].tolist() == [np.bincount(row, minlength=3).tolist() for row in first]
    assert drawn[:, [0, 2]].tolist() == [np.bincount(row, minlength=2).tolist() for row in second]


IMAGES = pd.DataFrame(
    {
        "file_name": ["d", "c", "b", "a"],
        "patient_id": ["p2", "p1", "p1", "p3"],
        "specimen_id": ["s1", "s1", "s1", "s0"],
        "label": [0, 1, 1, 1],
    }
)


@pytest.mark.parametrize(
    ("empty", "level", "codes"),
    [
        ([], "specimen", [1, 1, 1, 0]),
        (["specimen_id"], "patient", [1, 0, 0, 2]),
        (["specimen_id", "patient_id"], "image", [3, 2, 1, 0]),
    ],
)
def test_groups_are_numbered_by_their_names(empty, level, codes):
    groups = choose_groups(IMAGES.assign(**dict.fromkeys(empty, "")))
    assert (groups.level, groups.codes.tolist(), groups.count) == (level, codes, max(codes) + 1)


def test_a_group_of_two_classes_counts_for_both():
    groups = Groups("specimen", np.array([0, 0, 1, 2]))
    assert groups_by_class(IMAGES, groups, ["no", "yes", "never"]) == {"no": 1, "yes": 3, "never": 0}


@pytest.mark.parametrize(
    ("count", "bounded", "reason"),
    [
        (9, True, "an interval needs at least 10 patients; the test sets contain 9."),
        (10, True, None),
        (10, False, "the score is based on fewer than 10 patients (4 benign, 6 malignant)."),
    ],
)
def test_what_a_summary_says_of_its_intervals(count, bounded, reason):
    rest = {
        "estimand": "models",
        "estimand_reason": None,
        "group": "patient",
        "level": 0.95,
        "resamples": 2000,
        "num_groups": count,
        "num_groups_by_class": {"benign": 4, "malignant": 6},
        "seed": 0,
        "reason": reason,
    }
    given = Groups("patient", np.arange(count)), {"benign": 4, "malignant": 6}, bounded
    assert (
        describe_intervals(*given)
        == {"method": "t interval with the standard error of a cluster bootstrap by patient"} | rest
    )
    assert (
        describe_intervals(*given, "percentile")
        == {"method": "percentile interval of a cluster bootstrap by patient"} | rest
    )


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_only_shares_of_groups_have_an_exact_bound(value):
    found = intervals(mean_of(np.full(12, value), "accuracy", "per_class.benign.f1", "macro.f1"), 12)
    assert found["accuracy"]["high"] - found["accuracy"]["low"] == pytest.approx(1 - 0.025 ** (1 / 12))
    for name in ("per_class.benign.f1", "macro.f1"):
        assert found[name] == {"value": value, "low": None, "high": None}
