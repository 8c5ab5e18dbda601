"""Decisions: net benefit against loops and dcurves, errors per 1,000, referral, and aggregation by patient."""

import warnings

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.files import InputError
from hf_breakhis.results.scores.decisions import (
    AGGREGATIONS,
    THRESHOLDS,
    Cases,
    cross_fit,
    decision_curve,
    describe_cases,
    describe_referral,
    net_benefit,
    unit_of,
)
from hf_breakhis.results.scores.estimands import Estimand
from hf_breakhis.results.scores.resampling import COVERAGES, risk_coverage
from hf_breakhis.results.scores.thresholds import Rule, parse_prevalences
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run


def make_cases(number=200, groups=25, seed=0, signal=1.5):
    rng = np.random.default_rng(seed)
    group = rng.integers(groups, size=number)
    labels = group % 2
    score = 1 / (1 + np.exp(-(signal * (2 * labels - 1) + rng.normal(0, 1.5, number))))
    return Cases(labels, score, np.full(number, 0.5), group, np.zeros(number, int), np.array([]))


def take(cases, rows):
    parts = (cases.labels, cases.score, cases.threshold, cases.groups, cases.folds)
    return Cases(*(part[rows] for part in parts), cases.names)


def loops(labels, score, threshold):
    """Net benefit, one case at a time."""
    right = sum(1 for label, value in zip(labels, score, strict=True) if value >= threshold and label == 1)
    wrong = sum(1 for label, value in zip(labels, score, strict=True) if value >= threshold and label == 0)
    return right / len(labels) - wrong / len(labels) * threshold / (1 - threshold)


def test_net_benefit_is_the_formula_case_by_case():
    cases = make_cases()
    own = [loops(cases.labels, cases.score, t) for t in THRESHOLDS]
    assert net_benefit(cases.labels, cases.score) == pytest.approx(own, abs=1e-12)
    curve = decision_curve(cases, Estimand.MODELS)
    assert [row["value"] for row in curve] == pytest.approx(own, abs=1e-12)
    everyone = [loops(cases.labels, np.ones(len(cases.labels)), t) for t in THRESHOLDS]
    assert [row["treat_all"] for row in curve] == pytest.approx(everyone, abs=1e-12)
    gains = [row["gain"]["value"] for row in curve]
    assert gains == pytest.approx(np.subtract(own, everyone), abs=1e-9)
    assert all(row["low"] <= row["value"] <= row["high"] for row in curve)


@pytest.mark.parametrize("seed", [0, 1])
def test_decision_curves_equal_those_of_dcurves(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a package that is no dependency
        dcurves = pytest.importorskip("dcurves", reason="dcurves is not installed: pip install dcurves")
        cases = make_cases(seed=seed)
        table = pd.DataFrame({"outcome": cases.labels, "model": cases.score})
        found = dcurves.dca(data=table, outcome="outcome", modelnames=["model"], thresholds=list(THRESHOLDS))
    theirs = {name: rows["net_benefit"].to_numpy(dtype=float) for name, rows in found.groupby("model")}
    curve = decision_curve(cases, Estimand.MODELS)
    assert np.abs(theirs["model"] - [row["value"] for row in curve]).max() < 1e-9
    assert np.abs(theirs["all"] - [row["treat_all"] for row in curve]).max() < 1e-9


def test_chance_is_not_useful_and_signal_is():
    good = describe_cases(make_cases(number=2000, groups=80, signal=3), (0.1,), Estimand.MODELS)
    chance = describe_cases(make_cases(number=2000, groups=80, signal=0), (0.1,), Estimand.MODELS)
    assert good["useful"] is not None
    assert good["useful"][0] < 0.4 < 0.6 < good["useful"][1]
    assert chance["useful"] is None


def test_bands_draw_specimens_and_not_cases():
    one = make_cases(number=400, groups=400)
    clones = take(one, np.repeat(np.arange(400), 4))
    wide = [row["high"] - row["low"] for row in decision_curve(one, Estimand.MODELS)]
    same = [row["high"] - row["low"] for row in decision_curve(clones, Estimand.MODELS)]
    assert same == pytest.approx(wide, rel=1e-6)


def test_errors_per_thousand_follow_from_sensitivity_and_specificity():
    found = describe_cases(make_cases(), (0.01, 0.3), Estimand.MODELS)
    sensitivity, specificity = found["sensitivity"], found["specificity"]
    row = found["per_thousand"][1]
    assert row["missed"]["value"] == pytest.approx(300 * (1 - sensitivity["value"]))
    assert row["missed"]["low"] == pytest.approx(300 * (1 - sensitivity["high"]))
    assert row["false_alarms"]["high"] == pytest.approx(700 * (1 - specificity["low"]))


def brute_risk(wrong, sure, coverage):
    """Error among the most confident cases that reach the coverage, ties kept whole."""
    for level in sorted(set(sure), reverse=True):
        kept = [w for w, s in zip(wrong, sure, strict=True) if s >= level]
        if len(kept) >= coverage * len(wrong) - 1e-9:
            return sum(kept) / len(kept)
    raise AssertionError


def test_risk_over_coverage_is_that_of_counting():
    rng = np.random.default_rng(3)
    cases = make_cases(60, 12)
    wrong, sure = rng.random(60) < 0.3, rng.integers(0, 12, 60).astype(float)  # with ties
    found = risk_coverage(cases.images, wrong, sure)(np.ones((1, cases.images.num_groups)))
    for share in COVERAGES:
        assert found[f"risk {share}"][0] == pytest.approx(brute_risk(wrong, sure, share))
    area = np.mean([np.mean([w for w, s in zip(wrong, sure, strict=True) if s >= own]) for own in sure])
    assert found["area"][0] == pytest.approx(area)


def test_weights_count_as_copies():
    cases = make_cases(50, 10)
    images, wrong = cases.images, cases.chosen != cases.labels
    sure = np.abs(cases.score - 0.5)
    weights = np.random.default_rng(0).integers(0, 4, (1, images.num_groups))
    copies = np.repeat(np.arange(50), weights[0][images.groups])
    again = take(cases, copies)
    ones = np.ones((1, again.images.num_groups))
    own = risk_coverage(images, wrong, sure)(weights)
    theirs = risk_coverage(again.images, wrong[copies], sure[copies])(ones)
    assert {k: float(v[0]) for k, v in own.items()} == pytest.approx({k: float(v[0]) for k, v in theirs.items()})


def test_referral_lowers_the_error_of_a_good_order_only():
    good = describe_referral(make_cases(1000, 40), Estimand.MODELS)
    rows = [row["value"] for row in good["curve"]]
    assert rows[0] < rows[-1] / 2
    assert good["best"] < good["area"]["value"] < rows[-1]


@pytest.mark.parametrize("text", ["0", "1", "0.1,1", "x", "", "-0.1", "nan", "0.1,,0.2"])
def test_impossible_prevalences_are_refused(text):
    with pytest.raises(InputError, match="--prevalences has") as error:
        parse_prevalences(text)
    assert "\n" not in str(error.value)


def test_prevalences_are_read_in_order():
    assert parse_prevalences("0.2, 0.01") == (0.01, 0.2)


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
def test_aggregations_are_those_of_pandas(name):
    rng = np.random.default_rng(1)
    score, case = rng.random(50), rng.integers(0, 7, 50)
    table = pd.DataFrame({"score": score, "positive": score >= 0.6, "case": case}).groupby("case")
    expected = {"mean": table["score"].mean(), "maximum": table["score"].max(), "share": table["positive"].mean()}
    assert AGGREGATIONS[name](score, score >= 0.6, case) == pytest.approx(expected[name].to_numpy())


def test_thresholds_of_patients_are_fitted_without_their_fold(summarised_run):
    summary = Run(summarised_run).summary
    test = pd.read_csv(summarised_run / "predictions.csv", keep_default_na=False)
    cases = cross_fit(test, summary["decision"], Rule(), "mean", "patient")
    row = summary["decision"]["cross_fitted"]["per_fold"][1]
    logits = test[["logit_benign", "logit_malignant"]].to_numpy() / row["temperature"]
    test["p"] = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    others = test[test["fold"] != 1].groupby("patient_id").agg(p=("p", "mean"), label=("label", "first"))
    own = test[test["fold"] == 1].groupby("patient_id")["p"].mean()
    inside = cases.folds == 1
    fitted = Rule().fit(others["label"].to_numpy(), others["p"].to_numpy())
    assert cases.threshold[inside] == pytest.approx(np.full(inside.sum(), fitted))
    assert dict(zip(cases.names[inside], cases.score[inside], strict=True)) == pytest.approx(own.to_dict())


def test_summary_states_decisions_at_both_levels(summarised_run):
    summary = Run(summarised_run).summary
    found = summary["decisions"]
    assert found["reason"] is None
    assert found["unit"] == "patient"
    assert [row["name"] for row in found["aggregation"]] == list(AGGREGATIONS)
    assert found["patient"]["num_cases"] == 24
    assert found["image"]["sensitivity"]["value"] == pytest.approx(
        summary["decision"]["cross_fitted"]["operating_point"]["sensitivity"]["value"]
    )


def test_unknown_patients_keep_the_decisions_by_image(write_run, cohort, tmp_path):
    images = cohort.assign(patient_id="", specimen_id="")
    found = summarise(write_run(tmp_path / "run", images, split_by="image"))["decisions"]
    assert found["image"]["net_benefit"]
    assert found["patient"] is None
    assert "names no patients" in found["patient_reason"]
    assert "Decisions by image are reported" in found["patient_reason"]
    assert found["zones"]["zones"] == {}


def test_one_class_among_the_patients_is_named():
    rows = pd.DataFrame({"patient_id": ["a", "a", "b"], "specimen_id": "", "label": [1, 1, 1], "prob_benign": 0.0,
                         "prob_malignant": 1.0})  # fmt: skip
    unit, reason = unit_of(rows)
    assert unit is None
    assert reason == "All 2 patients are malignant. Decisions by patient need patients of both classes."
    mixed = pd.concat([rows, rows.assign(patient_id="c", label=[0, 1, 1])])
    assert "All 2 patients whose images are of one class are malignant." in str(unit_of(mixed)[1])


def test_specimens_of_both_classes_have_no_thresholds_and_patients_keep_theirs(write_run, cohort, tmp_path):
    patients = cohort.groupby("patient_id")["label"].first()
    pairs = zip(*(patients.index[patients == label] for label in (0, 1)), strict=True)
    specimen = {patient: f"specimen {number}" for number, pair in enumerate(pairs) for patient in pair}
    images = cohort.assign(specimen_id=cohort["patient_id"].map(specimen))
    assert (images.groupby("specimen_id")["label"].nunique() == 2).all()
    summary = summarise(write_run(tmp_path / "run", images))
    assert set(summary["decision"]["by_unit"]) == {"patient"}
    assert summary["decisions"]["patient"]["num_cases"] == 24
    assert summary["decisions"]["zones"]["reason"] is None


def test_eight_classes_have_no_decisions(write_run, cohort, tmp_path):
    classes = ("A", "F", "PT", "TA", "DC", "LC", "MC", "PC")
    images = cohort.assign(label=[classes.index(name) for name in cohort["tumor_type"]])
    found = summarise(write_run(tmp_path / "run", images, classes=classes, target="tumor_type"))["decisions"]
    assert found["image"] is None
    assert "threshold" in found["reason"]
