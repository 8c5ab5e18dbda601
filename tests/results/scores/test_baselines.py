"""Baselines are trained on each fold's training set alone and scored on its test set."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.baselines import baseline_scores
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run
from hf_breakhis.run_fields import COLOR_COLUMNS

CLASSES = ["benign", "malignant"]


@pytest.fixture
def run(write_run, tmp_path):
    return write_run(tmp_path / "c3")


def test_majority_is_the_most_frequent_class_of_the_training_set(run):
    folds, colors, test = Run(run).read_folds(), Run(run).read_colors(), gather(Run(run))
    result = baseline_scores(folds, colors, test, [0, 1, 2], CLASSES)["majority"]
    for row in result["per_fold"]:
        one = folds[folds["fold"] == row["fold"]]
        guess = one.loc[one["part"] == "train", "label"].mode()[0]
        assert row["accuracy"] == pytest.approx((one.loc[one["part"] == "test", "label"] == guess).mean())
    assert result["per_fold"][0]["balanced_accuracy"] == 0.5


def test_mean_color_is_a_logistic_regression_on_standardised_colors(run):
    folds, colors, test = Run(run).read_folds(), Run(run).read_colors(), gather(Run(run))
    result = baseline_scores(folds, colors, test, [0, 1, 2], CLASSES)["mean_color"]
    labels, scores = [], []
    for fold in range(3):
        train, tested = (folds[(folds["fold"] == fold) & (folds["part"] == part)] for part in ("train", "test"))
        scale = StandardScaler().fit(colors.loc[train["file_name"]].to_numpy())
        model = LogisticRegression(max_iter=1000)
        model.fit(scale.transform(colors.loc[train["file_name"]].to_numpy()), train["label"])
        labels.append(tested["label"])
        scores.append(model.predict_proba(scale.transform(colors.loc[tested["file_name"]].to_numpy()))[:, 1])
        assert result["per_fold"][fold]["roc_auc"] == pytest.approx(roc_auc_score(labels[-1], scores[-1]))
    labels, scores = np.concatenate(labels), np.concatenate(scores)
    assert result["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, scores > 0.5))
    assert result["roc_auc"] == pytest.approx(np.mean([row["roc_auc"] for row in result["per_fold"]]))


def test_color_that_is_the_class_is_found_and_noise_is_not(run):
    folds, colors, test = Run(run).read_folds(), Run(run).read_colors(), gather(Run(run))
    rng = np.random.default_rng(0)
    noise = colors.assign(**{name: rng.normal(size=len(colors)) for name in COLOR_COLUMNS})
    labels = folds.drop_duplicates("file_name").set_index("file_name")["label"]
    colors = noise.assign(mean_r=labels.loc[noise.index].to_numpy())
    assert baseline_scores(folds, colors, test, [0, 1, 2], CLASSES)["mean_color"]["accuracy"] > 0.99
    assert baseline_scores(folds, noise, test, [0, 1, 2], CLASSES)["mean_color"]["balanced_accuracy"] < 0.62


def test_a_run_without_colors_is_refused(run):
    """The baseline and its warning would be missing without a word."""
    (run / "colors.csv").unlink()
    with pytest.raises(InputError, match=r"colors\.csv is missing; restore it"):
        summarise(run)


def test_an_image_without_colors_is_named(run):
    folds, colors, test = Run(run).read_folds(), Run(run).read_colors(), gather(Run(run))
    with pytest.raises(InputError, match=rf"no row for {colors.index[0]} \(1 missing\)"):
        baseline_scores(folds, colors.iloc[1:], test, [0], CLASSES)


def test_a_train_part_of_one_class_has_no_color_baseline(run):
    folds, colors, test = Run(run).read_folds(), Run(run).read_colors(), gather(Run(run))
    result = baseline_scores(folds.assign(label=1), colors, test.assign(label=1), [0, 1, 2], CLASSES)
    assert result["mean_color"] is None
    assert result["majority"]["accuracy"] == 1


def test_the_model_is_compared_with_a_baseline_on_the_same_images(run):
    folds, colors, test = Run(run).read_folds(), Run(run).read_colors(), gather(Run(run))
    result = baseline_scores(folds, colors, test, [0, 1, 2], CLASSES)["majority"]
    difference = result["difference"]["accuracy"]
    ours = (test["label"] == test["predicted"]).mean()
    assert difference["value"] == pytest.approx(ours - result["accuracy"])
    assert difference["low"] < difference["value"] < difference["high"]


def test_folds_that_test_every_image_twice_have_no_paired_difference(run):
    folds, colors, test = Run(run).read_folds(), Run(run).read_colors(), gather(Run(run))
    twice = pd.concat([folds, folds.assign(fold=folds["fold"] + 3)])
    tests = pd.concat([test, test.assign(fold=test["fold"] + 3)], ignore_index=True)
    assert baseline_scores(twice, colors, tests, list(range(6)), CLASSES)["majority"]["difference"] is None
