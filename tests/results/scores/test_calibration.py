"""A temperature put in is found again, thresholds are judged on other folds, and refusals give their reason."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import roc_curve

from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.calibration import (
    decide,
    describe_calibration,
    fit_temperature,
    refusal,
    reliability_bins,
)
from hf_breakhis.results.scores.thresholds import youden
from hf_breakhis.run import Run


def honest_logits(n, num_classes=2, seed=0):
    """Logits (n, num_classes) whose softmax is the true probability of the labels (n,)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, num_classes))
    prob = softmax(logits, axis=1)
    labels = (prob.cumsum(1) > rng.random((n, 1))).argmax(1)
    return labels, logits


@pytest.mark.parametrize("num_classes", [2, 8])
@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_undoes_a_scaling(num_classes, factor):
    labels, logits = honest_logits(20_000, num_classes)
    assert fit_temperature(labels, factor * logits) == pytest.approx(factor, rel=0.06)


def test_temperature_is_the_best_of_a_fine_grid():
    labels, logits = honest_logits(300)
    grid = np.linspace(0.3, 3, 2001)
    loss = [-log_softmax(2 * logits / t, axis=1)[np.arange(300), labels].mean() for t in grid]
    assert fit_temperature(labels, 2 * logits) == pytest.approx(grid[np.argmin(loss)], abs=0.002)


def test_separable_logits_stop_at_a_bound():
    assert fit_temperature(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(0.05, rel=1e-3)


def test_reliability_worked_out_by_hand():
    positive = np.array([0.05, 0.15, 0.15, 0.95])
    labels = np.array([0, 0, 1, 1])
    result = reliability_bins(labels, np.stack([1 - positive, positive], axis=1))
    assert [entry["count"] for entry in result["bins"]] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert result["ece"] == pytest.approx((1 * 0.05 + 2 * 0.35 + 1 * 0.05) / 4)
    assert result["brier"] == pytest.approx(np.mean((positive - labels) ** 2))
    assert result["bins"][2]["mean_probability"] is None


def test_a_probability_of_one_is_in_the_last_bin():
    result = reliability_bins(np.array([1, 0]), np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert (result["bins"][0]["count"], result["bins"][9]["count"], result["ece"]) == (1, 1, 0)


def test_honest_probabilities_have_a_small_error_and_scaled_ones_a_large_one():
    labels, logits = honest_logits(20_000)
    assert reliability_bins(labels, softmax(logits, axis=1))["ece"] < 0.02
    assert reliability_bins(labels, softmax(4 * logits, axis=1))["ece"] > 0.08


def test_threshold_reaches_the_highest_youden_index():
    labels, logits = honest_logits(500)
    score = softmax(logits, axis=1)[:, 1]
    chosen = score >= youden(labels, score)
    fpr, tpr, _ = roc_curve(labels, score)
    assert chosen[labels == 1].mean() - chosen[labels == 0].mean() == pytest.approx((tpr - fpr).max())


def test_threshold_of_separated_scores_lies_midway():
    assert youden(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])) == pytest.approx(0.4)


def test_each_fold_is_judged_by_values_fitted_on_the_others(write_run, tmp_path):
    test = gather(Run(write_run(tmp_path / "c3")))
    decision, summary = decide(test, None)
    logits = test[["logit_benign", "logit_malignant"]].to_numpy()
    chosen = []
    for row in decision["cross_fitted"]["per_fold"]:
        others, own = (test["fold"] != row["fold"]).to_numpy(), (test["fold"] == row["fold"]).to_numpy()
        temperature = fit_temperature(test["label"].to_numpy()[others], logits[others])
        assert row["temperature"] == pytest.approx(temperature)
        prob = softmax(logits / temperature, axis=1)[:, 1]
        threshold = youden(test["label"].to_numpy()[others], prob[others])
        assert row["threshold"] == pytest.approx(threshold)
        chosen.append(((prob >= threshold) == test["label"])[own])
    assert decision["cross_fitted"]["accuracy"] == pytest.approx(pd.concat(chosen).mean())
    assert decision["threshold"] == pytest.approx(
        youden(test["label"].to_numpy(), softmax(logits / decision["temperature"], axis=1)[:, 1])
    )
    assert summary["temperature"]["value"] == decision["temperature"]


def test_the_judged_fold_has_no_say(write_run, tmp_path):
    """Turning fold 0's labels around changes what is fitted for the others, not what judges fold 0."""
    test = gather(Run(write_run(tmp_path / "c3")))
    turned = test.assign(label=np.where(test["fold"] == 0, 1 - test["label"], test["label"]))
    before, after = (decide(table, None)[0]["cross_fitted"]["per_fold"] for table in (test, turned))
    assert (before[0]["threshold"], before[0]["temperature"]) == (after[0]["threshold"], after[0]["temperature"])
    assert before[1]["temperature"] != after[1]["temperature"]


def test_images_of_the_judged_fold_are_not_fitted_on_in_repeated_hold_outs(write_run, tmp_path):
    test = gather(Run(write_run(tmp_path / "c3")))
    own = test["fold"] == 0
    copied = pd.concat([test, test[own].assign(fold=1)], ignore_index=True)
    alone = decide(test, None)[0]["cross_fitted"]["per_fold"][0]
    assert decide(copied, None)[0]["cross_fitted"]["per_fold"][0] == alone


def test_more_classes_have_a_temperature_and_no_threshold():
    labels, logits = honest_logits(200, 3)
    prob = softmax(logits, axis=1)
    columns = {f"{kind}_{name}": values[:, k] for kind, values in (("logit", logits), ("prob", prob))
               for k, name in enumerate("AFP")}  # fmt: skip
    names = [f"{i}.png" for i in range(200)]
    test = pd.DataFrame({"file_name": names, "label": labels, "fold": np.arange(200) % 2} | columns)
    decision, _ = decide(test, None)
    assert (decision["threshold"], decision["rule"]) == (None, None)
    assert decision["temperature"] > 0
    assert "3 classes have no threshold" in decision["reason"]


@pytest.mark.parametrize(
    ("folds", "carry_over", "reason"),
    [
        ([0, 0], "none", "One fold only"),
        ([0, 1], "model", "carried over from fold to fold"),
        ([0, 1], "none", "When fold 0 is left out, the test images of the other folds are of one class."),
    ],
)
def test_where_nothing_can_be_judged_the_reason_is_given(folds, carry_over, reason):
    test = pd.DataFrame(
        {"file_name": ["a", "b"], "fold": folds, "label": [0, 1], "prob_benign": 0.5, "prob_malignant": 0.5}
    )
    why = refusal(test, carry_over)
    assert reason in why
    decision, summary = decide(test, why)
    assert decision["threshold"] is decision["temperature"] is decision["cross_fitted"] is None
    assert decision["reason"] == summary["temperature_reason"] == why


def test_parts_of_the_brier_score_add_up_where_bins_are_single_values():
    """Murphy's identity holds exactly when all probabilities of a bin are equal."""
    rng = np.random.default_rng(0)
    positive = rng.choice([0.05, 0.35, 0.75], size=600)
    labels = (rng.random(600) < 0.8 * positive).astype(int)
    found = reliability_bins(labels, np.stack([1 - positive, positive], axis=1))
    parts = found["brier_parts"]
    assert found["brier"] == pytest.approx(parts["reliability"] - parts["resolution"] + parts["uncertainty"])
    assert parts["uncertainty"] == pytest.approx(labels.mean() * (1 - labels.mean()))


def test_slope_and_intercept_are_those_of_the_planted_miscalibration():
    """Probabilities whose log odds are twice the true ones plus one: slope 1/2, intercept -1/2."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1.5, 20_000)
    labels = (rng.random(len(true)) < 1 / (1 + np.exp(-true))).astype(int)
    prob = 1 / (1 + np.exp(-(2 * true + 1)))
    names = [f"p{k % 200}" for k in range(len(true))]
    table = pd.DataFrame(
        {"file_name": np.arange(len(true)).astype(str), "label": labels, "predicted": (prob > 0.5).astype(int),
         "fold": 0, "patient_id": names, "specimen_id": names, "prob_benign": 1 - prob, "prob_malignant": prob}
    )  # fmt: skip
    found = describe_calibration(table)
    assert found["slope"] == pytest.approx(0.5, abs=0.03)
    assert found["intercept"] == pytest.approx(-0.5, abs=0.05)
    for part in found["bins"]:
        inside = (prob >= part["low"]) & (prob < part["high"])
        assert part["count"] == inside.sum()
        assert part["share_low"] < labels[inside].mean() < part["share_high"]


def test_classes_that_are_separated_have_no_slope():
    table = pd.DataFrame(
        {"file_name": list("abcd"), "label": [0, 0, 1, 1], "predicted": [0, 0, 1, 1], "fold": 0, "patient_id": "",
         "specimen_id": "", "prob_benign": [0.9, 0.8, 0.2, 0.1], "prob_malignant": [0.1, 0.2, 0.8, 0.9]}
    )  # fmt: skip
    assert describe_calibration(table)["slope"] is None


def test_one_class_alone_is_named():
    test = pd.DataFrame(
        {"file_name": ["a", "b"], "fold": [0, 1], "label": 1, "prob_benign": 0.5, "prob_malignant": 0.5}
    )
    assert refusal(test, "none").startswith("All test images are malignant.")
