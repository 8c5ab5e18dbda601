"""Intervals come from whole groups, agree with scipy, cover as they should, and are fast."""

import re
import time

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from hf_breakhis.files import InputError
from hf_breakhis.results.scores.intervals import (
    METHODS,
    Replicates,
    bootstrap_error,
    bounded,
    choose_groups,
    draw_groups,
    intervals,
    percentile,
    weigh,
)
from hf_breakhis.results.scores.resampling import Predicted, image_scores, patient_rates


def grouped_images(num_groups, per_group, effect, seed):
    """Images whose chance of being right is shared inside a group."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), per_group)
    chance = np.clip(0.8 + effect * rng.normal(size=num_groups), 0, 1)
    labels = groups % 2
    right = rng.random(len(groups)) < chance[groups]
    predicted = np.where(right, labels, 1 - labels)
    positive = np.where(predicted == 1, rng.uniform(0.5, 1, len(groups)), rng.uniform(0, 0.5, len(groups)))
    return Predicted(labels, predicted, np.stack([1 - positive, positive], 1), groups)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": 95}, "`level` is 95, but has to be between 0 and 1, such as 0.95."),
        ({"resamples": 0}, "`resamples` is 0, but has to be at least 1; 2000 are usual."),
        ({"method": "bca"}, "`method` is 'bca', but has to be one of bootstrap error, percentile."),
    ],
)
def test_what_gives_no_interval_is_named(changes, message):
    images = grouped_images(20, 2, 0.15, 0)
    with pytest.raises(InputError, match=re.escape(message)):
        intervals(image_scores(images), 20, **changes)


def test_interval_agrees_with_scipy():
    images = grouped_images(40, 10, 0.15, 0)
    ours = intervals(image_scores(images), 40, method="percentile")["accuracy"]
    share = np.bincount(images.groups, images.labels == images.predicted) / 10  # groups of equal size
    theirs = stats.bootstrap((share,), np.mean, n_resamples=9999, method="percentile", rng=1).confidence_interval
    assert ours["value"] == pytest.approx(share.mean())
    assert (ours["low"], ours["high"]) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_resampling_images_is_too_narrow_where_groups_matter():
    images = grouped_images(40, 25, 0.2, 1)
    alone = Predicted(images.labels, images.predicted, images.probabilities, np.arange(len(images.labels)))
    by_group = intervals(image_scores(images, ranked=False), 40)["accuracy"]
    by_image = intervals(image_scores(alone, ranked=False), len(images.labels))["accuracy"]
    assert by_group["high"] - by_group["low"] > 2 * (by_image["high"] - by_image["low"])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(100):
        images = grouped_images(40, 5, 0.1, seed)
        interval = intervals(image_scores(images, ranked=False), 40, resamples=400, seed=seed)["accuracy"]
        # The mean of a normal chance of .8 +- .1, cut at 1.
        hits += interval["low"] <= 0.7992 <= interval["high"]
    assert 85 <= hits <= 100


def test_every_resample_draws_as_many_groups_as_there_are():
    weights = draw_groups(30, resamples=50, seed=0)
    assert weights.shape == (50, 30)
    assert set(weights.sum(1)) == {30}


def test_same_seed_same_interval():
    scores = image_scores(grouped_images(20, 5, 0.1, 0))
    assert intervals(scores, 20, resamples=200, seed=3) == intervals(scores, 20, resamples=200, seed=3)
    assert intervals(scores, 20, resamples=200, seed=3) != intervals(scores, 20, resamples=200, seed=4)


@pytest.mark.parametrize(("num_groups", "has_interval"), [(9, False), (10, True)])
def test_fewer_than_ten_groups_have_a_value_and_no_interval(num_groups, has_interval):
    accuracy = intervals(image_scores(grouped_images(num_groups, 20, 0.1, 0)), num_groups)["accuracy"]
    assert accuracy["value"] is not None
    assert (accuracy["low"] is not None) == (accuracy["high"] is not None) == has_interval


def test_too_many_undefined_resamples_leave_no_interval():
    replicates = np.append(np.full(10, np.nan), np.linspace(0, 1, 90))
    assert bounded(Replicates(0.5, replicates, 19))["low"] is None
    assert bounded(Replicates(0.5, replicates[9:], 19))["low"] is not None
    assert bounded(Replicates(float("nan"), replicates, 19)) == {"value": None, "low": None, "high": None}


def test_bootstrap_error_worked_out_by_hand():
    scores = expit(np.array([-0.5, 0.0, 0.5, 1.0]))
    n, quantile = 16, 2.131449545559323  # of Student's t with 15 degrees, from a table
    half = quantile * np.std([-0.5, 0.0, 0.5, 1.0], ddof=1) * np.sqrt(16 / 15)
    low, high = bootstrap_error(Replicates(expit(0.25), scores, n - 1, n / (n - 1)))
    assert (low, high) == pytest.approx((expit(0.25 - half), expit(0.25 + half)))
    three = np.array([-0.3, -0.1, 0.1])
    plain = bootstrap_error(Replicates(-0.1, three, n - 1, n / (n - 1), is_share=False))
    assert plain == pytest.approx((-0.1 - quantile * 0.2 * np.sqrt(16 / 15), -0.1 + quantile * 0.2 * np.sqrt(16 / 15)))


def test_few_degrees_of_freedom_make_an_interval_wider():
    scores = np.random.default_rng(0).uniform(0.6, 0.9, 500)
    few, many = (bootstrap_error(Replicates(0.75, scores, n)) for n in (4, 499))
    assert few[0] < many[0] < 0.75 < many[1] < few[1]


def test_a_score_of_one_class_is_weighed_by_its_groups_alone():
    """A specificity has the benign groups' degrees of freedom, whatever stands on the other side."""
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1], [12, 40])
    shares = rng.uniform(0.5, 1, 12)
    left_out = np.full(52, shares.mean())
    left_out[:12] = (shares.sum() - shares) / 11
    degrees, inflation = weigh(shares.mean(), left_out, classes)
    assert (degrees, inflation) == pytest.approx((11, 12 / 11))


def test_weighing_is_welchs_for_the_difference_of_two_means():
    """Satterthwaite's degrees of freedom, as scipy has them for two samples of unequal variance."""
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 1, 8), rng.normal(0, 3, 30)
    value = one.mean() - other.mean()
    left = [(one.sum() - x) / 7 - other.mean() for x in one] + [one.mean() - (other.sum() - x) / 29 for x in other]
    degrees, _ = weigh(value, np.array(left), np.repeat([0, 1], [8, 30]))
    assert degrees == pytest.approx(stats.ttest_ind(one, other, equal_var=False).df, rel=1e-6)


@pytest.mark.parametrize(("benign", "malignant"), [(2, 12), (3, 8), (6, 30)])
def test_few_groups_of_a_class_leave_no_interval_that_says_nothing(benign, malignant):
    """What a hold-out by specimen leaves: no interval from 0 to 1, and none of a class of fewer than ten."""
    rng = np.random.default_rng(benign)
    labels = np.repeat([0, 1], [benign, malignant])
    groups = np.repeat(np.arange(len(labels)), 20)
    logits = 1.3 * (2 * labels - 1)[groups] + rng.normal(size=len(labels))[groups] + rng.normal(size=len(groups))
    prob = expit(logits)
    images = Predicted(labels[groups], (prob > 0.5).astype(int), np.stack([1 - prob, prob], 1), groups)
    bounds = intervals(image_scores(images), images.num_groups, classes=images.group_classes)
    for name in ("specificity", "balanced_accuracy", "roc_auc", "mcc", "macro.f1", "per_class.benign.recall"):
        assert bounds[name]["low"] is None, name
        assert bounds[name]["value"] is not None
    assert (bounds["sensitivity"]["low"] is None) == (malignant < 10)
    accuracy = bounds["accuracy"]
    assert accuracy["low"] is None or accuracy["high"] - accuracy["low"] < 0.5


def test_enough_groups_of_each_class_leave_every_interval():
    """The negative control of the test above."""
    labels = np.repeat([0, 1], 16)
    groups = np.repeat(np.arange(32), 20)
    rng = np.random.default_rng(0)
    prob = expit(1.3 * (2 * labels - 1)[groups] + rng.normal(size=32)[groups] + rng.normal(size=640))
    images = Predicted(labels[groups], (prob > 0.5).astype(int), np.stack([1 - prob, prob], 1), groups)
    bounds = intervals(image_scores(images), 32, classes=images.group_classes)
    assert all(score["low"] is not None for score in bounds.values())


def test_resamples_of_exactly_one_change_neither_scale_nor_end():
    """Log odds of 1 are infinite, so such a resample counts as twenty times nearer to 1 than the score is."""
    scores = np.minimum(1, 0.95 + 0.03 * np.random.default_rng(0).normal(size=2000))
    assert scores.max() == 1
    low, high = bootstrap_error(Replicates(0.95, scores, 15, 16 / 15))
    assert 0.7 < low < percentile(Replicates(0.95, scores, 15))[0]
    assert 0.98 < high < 1
    without = bootstrap_error(Replicates(0.95, scores[scores < 0.99], 15, 16 / 15))
    with_one = bootstrap_error(Replicates(0.95, np.append(scores[scores < 0.99], 1), 15, 16 / 15))
    assert with_one == pytest.approx(without, abs=0.002)


def all_correct(num_benign, num_malignant, wrong=()):
    """Two images of each specimen, all correct except in the specimens `wrong`."""
    groups = np.repeat(np.arange(num_benign + num_malignant), 2)
    labels = (groups >= num_benign).astype(int)
    predicted = np.where(np.isin(groups, wrong), 1 - labels, labels)
    return Predicted(labels, predicted, np.stack([1 - predicted, predicted], 1).astype(float), groups)


def test_all_correct_has_the_exact_bound_by_specimen():
    """58 of 58 correct: the lower end is that of Clopper and Pearson; of a comparison, that of the rarer class."""
    images = all_correct(16, 58)
    found = intervals(image_scores(images), 74, classes=images.group_classes)

    def exact(count):
        return stats.binomtest(count, count).proportion_ci(method="exact").low

    for name, count in {"sensitivity": 58, "specificity": 16, "accuracy": 74, "roc_auc": 16}.items():
        assert found[name] == {"value": 1, "low": pytest.approx(exact(count)), "high": 1}, name
    none = intervals(lambda weights: {"share": np.zeros(len(weights))}, 58)["share"]
    assert none == {"value": 0, "low": 0, "high": pytest.approx(1 - exact(58))}


@pytest.mark.parametrize("wrong", [[0], [20], [0, 20, 21]], ids=str)
def test_where_errors_were_observed_no_interval_ends_at_one(wrong):
    images = all_correct(16, 58, wrong)
    found = intervals(image_scores(images), 74, classes=images.group_classes)
    shares = [score for name, score in found.items() if name != "mcc"]
    assert all(score["high"] < 1 for score in shares if 0 < score["value"] < 1 and score["high"] is not None)
    assert all(0 <= score["low"] < 1 for score in shares if score["low"] is not None)
    assert found["accuracy"]["high"] is not None


def test_a_difference_stays_within_its_range():
    away = np.array([-1.0] * 5 + [1.0] * 25)
    scores = lambda weights: {"accuracy": weights @ away / weights.sum(1) * 0.99 + 0.3}  # noqa: E731
    found = intervals(scores, 30, shares=False)["accuracy"]
    assert found["high"] == 1
    assert found["low"] > -1


def test_groups_are_drawn_within_their_stratum():
    strata = np.arange(30) % 3
    weights = draw_groups(30, resamples=20, seed=0, strata=strata)
    assert all(set(weights[:, strata == k].sum(1)) == {10} for k in range(3))


def test_default_covers_where_percentiles_of_few_groups_do_not():
    """Ten groups a class: the quantiles of the resamples are too narrow, the default is not."""
    hits = dict.fromkeys(METHODS, 0)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(20), 8)
        labels = (groups >= 10).astype(int)
        logits = 1.0 * (2 * labels - 1) + rng.normal(size=20)[groups] + rng.normal(size=160)
        prob = expit(logits)
        images = Predicted(labels, (prob > 0.5).astype(int), np.stack([1 - prob, prob], 1), groups)
        for method in METHODS:
            bounds = intervals(
                image_scores(images, ranked=False), 20, classes=images.group_classes, resamples=400, seed=seed,
                method=method,
            )["specificity"]  # fmt: skip
            hits[method] += bounds["low"] <= stats.norm.cdf(1 / np.sqrt(2)) <= bounds["high"]
    assert hits["percentile"] / 200 < 0.93 < hits["bootstrap error"] / 200 + 0.02


@pytest.mark.parametrize(
    ("empty", "level"),
    [([], "specimen"), (["specimen_id"], "patient"), (["specimen_id", "patient_id"], "image")],
)
def test_largest_known_groups_are_drawn(cohort, empty, level):
    groups = choose_groups(cohort.assign(**dict.fromkeys(empty, "")))
    column = {"specimen": "specimen_id", "patient": "patient_id", "image": "file_name"}[level]
    assert (groups.level, groups.count) == (level, cohort[column].nunique())


def test_two_thousand_resamples_of_the_whole_data_set_take_less_than_two_seconds():
    rng = np.random.default_rng(0)
    groups = np.sort(np.concatenate([np.arange(70), rng.integers(70, size=7909 - 70)]))
    labels = (groups % 3 > 0).astype(int)
    positive = 1 / (1 + np.exp(-(2 * labels - 1 + rng.normal(size=7909))))
    images = Predicted(labels, (positive >= 0.5).astype(int), np.stack([1 - positive, positive], 1), groups)
    seconds = []
    for _ in range(3):  # the best of three, since other work may share the machine
        start = time.perf_counter()
        scores = intervals(image_scores(images), 70) | intervals(patient_rates(images, groups), 70)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2
    wanted = {"accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "recognition_rate"}
    assert all(scores[name]["low"] < scores[name]["value"] < scores[name]["high"] for name in wanted)
