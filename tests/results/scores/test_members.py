"""Agreement between members, and what their disagreement says, against worked examples and loops."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.members import (
    agreement,
    compare_members,
    describe_repeats,
    disagreement,
    fleiss_kappa,
)
from hf_breakhis.run import Run

# Fleiss 1971, as worked on Wikipedia: 14 raters put 10 subjects into 5 categories; kappa 0.210.
VOTES = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def test_the_published_example_of_fleiss():
    predicted = np.array([np.repeat(np.arange(5), counts) for counts in VOTES]).T
    assert fleiss_kappa(predicted, 5) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_by_its_definition_over_pairs_of_raters():
    predicted = np.random.default_rng(0).integers(3, size=(4, 50))
    agree = np.mean([(one == other).mean() for one, other in combinations(predicted, 2)])
    chance = sum((predicted == label).mean() ** 2 for label in range(3))
    assert fleiss_kappa(predicted, 3) == pytest.approx((agree - chance) / (1 - chance))


def test_cohen_by_its_definition():
    predicted = np.random.default_rng(1).integers(2, size=(3, 40))
    predicted[1] = np.where(np.arange(40) < 30, predicted[0], predicted[1])
    kappas = []
    for one, other in combinations(predicted, 2):
        chance = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
        kappas.append(((one == other).mean() - chance) / (1 - chance))
    found = agreement(predicted, 2)["cohen_kappa"]
    assert found == pytest.approx({"mean": np.mean(kappas), "lowest": min(kappas), "highest": max(kappas)})


def test_equal_members_agree_in_full_and_random_ones_by_chance():
    rng = np.random.default_rng(2)
    same = np.repeat(rng.integers(2, size=(1, 100)), 5, axis=0)
    found = agreement(same, 2)
    assert (found["fleiss_kappa"], found["cohen_kappa"]["mean"], found["unanimous"]) == (1, 1, 1)
    independent = agreement(rng.integers(2, size=(5, 20_000)), 2)
    assert abs(independent["fleiss_kappa"]) < 0.01
    assert abs(independent["cohen_kappa"]["mean"]) < 0.01


def test_members_that_know_one_class_have_no_kappa():
    found = agreement(np.zeros((3, 10), dtype=int), 2)
    assert found["fleiss_kappa"] is found["cohen_kappa"]["mean"] is found["cohen_kappa"]["lowest"] is None
    assert found["unanimous"] == 1


def test_errors_are_counted_by_the_number_of_dissenting_members():
    rows = disagreement(np.array([0, 0, 0, 0, 2, 2]), np.array([True, False, False, False, True, False]), 5)
    assert rows == [
        {"dissenting": 0, "num_images": 4, "num_errors": 1, "error_rate": 0.25, "share_of_errors": 0.5},
        {"dissenting": 2, "num_images": 2, "num_errors": 1, "error_rate": 0.5, "share_of_errors": 0.5},
    ]
    assert disagreement(np.array([0]), np.array([False]), 2)[0]["share_of_errors"] is None


@pytest.fixture
def members(write_run, tmp_path):
    """The test predictions of a run as an ensemble, and three members whose probabilities have it as mean."""
    test = gather(Run(write_run(tmp_path / "run")))
    rng = np.random.default_rng(3)
    spread = np.minimum(test["prob_malignant"], 1 - test["prob_malignant"]) * rng.uniform(size=len(test))
    tables = []
    for sign in (-1, 0, 1):
        probability = test["prob_malignant"] + sign * spread
        tables.append(
            test.assign(
                prob_malignant=probability,
                prob_benign=1 - probability,
                predicted=(probability >= 0.5).astype(int),
            )
        )
    return test, tables


def test_the_scores_are_those_of_scikit_learn(members):
    test, tables = members
    found = compare_members(test, tables)
    assert found["num_members"] == 3
    expected = [accuracy_score(one["label"], one["predicted"]) for one in tables]
    accuracy = found["scores"]["accuracy"]
    assert accuracy["members"] == pytest.approx(expected)
    assert (accuracy["lowest"], accuracy["highest"]) == (min(expected), max(expected))
    assert accuracy["ensemble"] == pytest.approx(accuracy_score(test["label"], test["predicted"]))
    for name, one in found["scores"].items():
        assert one["gain"]["value"] == pytest.approx(one["ensemble"] - np.mean(one["members"])), name
        assert one["gain"]["low"] <= one["gain"]["value"] <= one["gain"]["high"], name
    areas = [roc_auc_score(rows["label"], rows["prob_malignant"]) for _, rows in tables[0].groupby("fold")]
    assert found["scores"]["roc_auc"]["members"][0] == pytest.approx(np.mean(areas))
    assert found["group"] == "specimen"


def test_repeats_are_averaged(members, tmp_path, write_run):
    test, tables = members
    one, other = compare_members(test, tables), compare_members(test, [test, *tables[1:]])
    assert one["scores"]["accuracy"]["mean"] != other["scores"]["accuracy"]["mean"]
    runs = []
    for number, own in enumerate((tables, [test, *tables[1:]])):
        run = Run(write_run(tmp_path / f"repeat-{number}"))
        (run.folder / "recipe.yaml").write_text((run.folder / "recipe.yaml").read_text() + "members: 3\n")
        for j, table in enumerate(own):
            for fold, rows in table.groupby("fold"):
                folder = run.fold(fold).member(j).folder
                folder.mkdir()
                rows.assign(
                    logit_benign=np.log(rows["prob_benign"]), logit_malignant=np.log(rows["prob_malignant"])
                ).to_csv(folder / "predictions.csv", index=False)
        runs.append((Run(run.folder), test))
    found = describe_repeats(runs, [one, other])
    for name, score in found["scores"].items():
        both = [each["scores"][name] for each in (one, other)]
        assert score["mean"] == pytest.approx(np.mean([each["mean"] for each in both]))
        assert score["gain"]["value"] == pytest.approx(np.mean([each["gain"]["value"] for each in both]))
        assert score["lowest"] == min(each["lowest"] for each in both)
        assert score["gain"]["low"] <= score["gain"]["value"] <= score["gain"]["high"]
    kappas = [each["agreement"]["fleiss_kappa"] for each in (one, other)]
    assert found["agreement"]["fleiss_kappa"] == pytest.approx(np.mean(kappas))


def test_equal_members_gain_nothing(members):
    test, _ = members
    found = compare_members(test, [test, test])
    assert all(
        one["gain"]["value"] == one["gain"]["low"] == one["gain"]["high"] == 0 for one in found["scores"].values()
    )
    assert [row["dissenting"] for row in found["disagreement"]] == [0]


def test_an_image_that_two_folds_test_counts_in_both(members):
    test, tables = members
    twice = [pd.concat([one, one.assign(fold=9)], ignore_index=True) for one in (test, *tables)]
    once, both = compare_members(test, tables), compare_members(twice[0], twice[1:])
    assert both["scores"]["accuracy"]["ensemble"] == pytest.approx(once["scores"]["accuracy"]["ensemble"])
    assert both["disagreement"][0]["num_images"] == 2 * once["disagreement"][0]["num_images"]
