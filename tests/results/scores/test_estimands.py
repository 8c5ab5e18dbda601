"""What an interval is about: which runs can speak about the recipe, and what that does to the interval."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from hf_breakhis.files import read_json
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.estimands import INFLATION, Estimand, estimand_of, meanings, measured_coverage
from hf_breakhis.results.scores.intervals import Replicates, draw_groups, exact_bound, intervals, p_value
from hf_breakhis.results.scores.paired import mean_interval, mean_scores
from hf_breakhis.run import Run

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
HONEST = {"carry_over": "none", "split_by": "specimen", "folds_present": [0, 1]}


@pytest.mark.parametrize(
    ("changed", "group", "about"),
    [
        ({}, "specimen", Estimand.RECIPE),
        ({"split_by": "patient"}, "patient", Estimand.RECIPE),
        ({"split_by": "image"}, "specimen", Estimand.MODELS),
        ({"split_by": "official"}, "specimen", Estimand.MODELS),
        ({"carry_over": "model"}, "specimen", Estimand.MODELS),
        ({"folds_present": [0]}, "specimen", Estimand.MODELS),
        ({}, "image", Estimand.MODELS),
    ],
    ids=str,
)
def test_intervals_are_about_the_recipe_only_where_models_are_trained_anew_and_groups_kept_apart(
    changed, group, about
):
    found, reason = estimand_of(HONEST | changed, group)
    assert found is about
    assert (reason is None) == (about is Estimand.RECIPE)


def test_every_estimand_has_words():
    assert set(meanings({})) == set(Estimand)
    for group, words in (("image", "images"), ("patient", "patients"), (None, "specimens")):
        assert meanings({"group": group})["models"] == f"the score of these trained models on new {words}"


def test_the_mean_of_repeats_has_the_mean_of_their_intervals_about_the_recipe(write_run, tmp_path):
    tables = [gather(Run(write_run(tmp_path / str(seed), seed=seed))) for seed in (1, 2, 3)]
    each = [mean_scores([table], Estimand.RECIPE)["accuracy"] for table in tables]
    found = mean_scores(tables, Estimand.RECIPE)["accuracy"]
    for end in ("value", "low", "high"):
        assert found[end] == pytest.approx(np.mean([one[end] for one in each]))
    models = mean_scores(tables, Estimand.MODELS)["accuracy"]
    assert models["high"] - models["low"] < found["high"] - found["low"]


def test_the_mean_of_repeats_has_no_interval_where_one_has_none():
    bounded, unbounded = {"low": 0.2, "high": 0.8}, {"low": None, "high": None}
    assert mean_interval(0.5, [bounded, unbounded]) == {"value": 0.5, "low": None, "high": None}


def two_classes(values, classes):
    """Scores that are the mean of each class, and the mean of both."""

    def scores(weights):
        with np.errstate(invalid="ignore"):  # a resample may miss a class
            means = [weights[:, classes == k] @ values[classes == k] / weights[:, classes == k].sum(1) for k in (0, 1)]
        return {"specificity": means[0], "sensitivity": means[1], "balanced_accuracy": np.mean(means, 0)}

    return scores


def test_an_interval_of_the_recipe_draws_within_classes_and_doubles_the_variance():
    rng = np.random.default_rng(0)
    values, classes = rng.uniform(0.6, 0.9, 40), np.repeat([0, 1], [12, 28])
    found = intervals(two_classes(values, classes), 40, classes=classes, estimand=Estimand.RECIPE)["specificity"]
    weights = draw_groups(40, 2000, 0, classes)[:, :12]
    assert set(weights.sum(1)) == {12}
    drawn = weights @ values[:12] / 12
    half = stats.t.ppf(0.975, 11) * logit(drawn).std(ddof=1) * np.sqrt(2 * 12 / 11)
    middle = logit(values[:12].mean())
    assert [found["low"], found["high"]] == pytest.approx(list(expit([middle - half, middle + half])), rel=1e-9)


def test_all_correct_is_bounded_by_half_as_many_groups_for_the_recipe():
    classes = np.repeat([0, 1], 20)
    found = intervals(two_classes(np.ones(40), classes), 40, classes=classes, estimand=Estimand.RECIPE)
    assert found["sensitivity"] == {"value": 1, "low": pytest.approx(exact_bound(1, 10)[0]), "high": 1}
    assert exact_bound(1, 10)[0] == pytest.approx(stats.binomtest(10, 10).proportion_ci(method="exact").low)


def test_p_value_is_that_of_the_interval():
    """It is .05 for a difference at which the 95 % interval ends at 0, and smaller for a larger one."""
    scores = np.random.default_rng(0).normal(0.0, 0.02, 500)
    half = stats.t.ppf(0.975, 30) * scores.std(ddof=1) * np.sqrt(2)
    assert p_value(Replicates(half, scores, 30, 2.0, is_share=False)) == pytest.approx(0.05)
    assert p_value(Replicates(-2 * half, scores, 30, 2.0, is_share=False)) < 0.001


def test_differences_have_a_p_value_and_shares_have_none():
    classes = np.repeat([0, 1], 20)
    scores = two_classes(np.random.default_rng(1).uniform(-0.1, 0.1, 40), classes)
    found = intervals(scores, 40, classes=classes, shares=False)["sensitivity"]
    assert (found["low"] <= 0 <= found["high"]) == (found["p_value"] > 0.05)
    assert "p_value" not in intervals(two_classes(np.full(40, 0.5), classes), 40, classes=classes)["sensitivity"]


@pytest.fixture(scope="module")
def simulation():
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("coverage_training", BENCHMARKS / "coverage_training.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path.remove(str(BENCHMARKS))


def test_with_training_in_the_simulation_only_the_interval_of_the_recipe_covers(simulation):
    row = simulation.simulate(simulation.Setting(50, 0.7, 5), cohorts=40, resamples=100)
    models, recipe = (row["methods"][name]["roc_auc"] for name in (simulation.MODELS, simulation.RECIPE))
    assert recipe["coverage"] >= 0.85
    assert models["coverage"] < recipe["coverage"]
    assert recipe["width"] == pytest.approx(np.sqrt(INFLATION[Estimand.RECIPE]) * models["width"], rel=0.1)


def test_reports_print_the_coverage_that_the_benchmark_measured(simulation):
    rows = read_json(BENCHMARKS / "coverage_training.json")["rows"]
    for estimand, method in ((Estimand.MODELS, simulation.MODELS), (Estimand.RECIPE, simulation.RECIPE)):
        assert measured_coverage()[estimand] == simulation.extremes(rows, method)
