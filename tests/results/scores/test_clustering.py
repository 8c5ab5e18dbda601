"""How alike images of one group are: against worked examples and simulation."""

from shutil import copytree

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.clustering import describe_clustering
from hf_breakhis.run import Run


def test_groups_that_are_all_right_or_all_wrong_count_as_one_image_each():
    codes = np.repeat(np.arange(20), 10)
    found = describe_clustering(codes % 2 == 0, codes)
    assert found["intraclass_correlation"] == pytest.approx(1)
    assert found["design_effect"] == pytest.approx(10)
    assert found["effective_images"] == pytest.approx(20)


def test_independent_images_count_in_full():
    rng = np.random.default_rng(0)
    found = describe_clustering(rng.uniform(size=8000) < 0.8, np.repeat(np.arange(400), 20))
    assert found["intraclass_correlation"] < 0.01
    assert found["effective_images"] > 7000


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_the_correlation_is_that_of_the_population(share):
    """A beta-binomial whose parameters add up to s has the correlation 1 / (s + 1)."""
    rng, total = np.random.default_rng(1), 1 / share - 1
    chance = rng.beta(0.7 * total, 0.3 * total, 3000)
    codes = np.repeat(np.arange(3000), rng.integers(5, 40, 3000))
    found = describe_clustering(rng.uniform(size=len(codes)) < chance[codes], codes)
    assert found["intraclass_correlation"] == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(
    ("right", "codes"), [([1, 1, 1, 1], [0, 0, 1, 1]), ([1, 0, 1], [0, 1, 2]), ([1, 0, 1], [0, 0, 0])]
)
def test_what_cannot_be_known_is_none(right, codes):
    assert set(describe_clustering(np.array(right), np.array(codes)).values()) == {None}


def test_a_run_states_both(summarised_run):
    summary = Run(summarised_run).summary
    interval = summary["interval"]
    assert 0 < interval["intraclass_correlation"] < 1
    assert interval["num_groups"] < interval["effective_images"] < summary["protocol"]["num_tested"]


def test_auc_by_patient_is_that_of_mean_probabilities(summarised_run, tmp_path):
    run = Run(copytree(summarised_run, tmp_path / "run"))  # `gather` writes the predictions again
    patient = run.summary["patient"]
    areas = []
    for _, rows in gather(run).groupby("fold"):
        means = rows.groupby("patient_id").agg({"label": "first", "prob_malignant": "mean"})
        areas.append(roc_auc_score(means["label"], means["prob_malignant"]))
    assert patient["pooled"]["roc_auc_of_mean_probability"]["value"] == pytest.approx(np.mean(areas))
    assert [curve["auc"] for curve in patient["roc"]["per_fold"]] == pytest.approx(areas)
