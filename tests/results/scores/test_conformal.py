"""Zones: against crepes and against counting, coverage by simulation, and guarantees that are refused."""

import json
import warnings
from itertools import product
from pathlib import Path
from shutil import copytree

import numpy as np
import pandas as pd
import pytest

import hf_breakhis
from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.results.scores.conformal import (
    CROSS_VALIDATED,
    Zones,
    describe_zones,
    fit_zones,
    parse_error,
    require_support,
    shares_in_zones,
    specimens_needed,
    worst_scores,
    zones_of,
)
from hf_breakhis.results.scores.decisions import Cases
from hf_breakhis.results.summary import Choices, summarise
from hf_breakhis.run import Run


def make_cases(labels, score, groups=None):
    labels, score = np.asarray(labels), np.asarray(score, dtype=float)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    return Cases(labels, score, np.full(len(labels), 0.5), groups, np.zeros(len(labels), int), np.array([]))


def draw(rng, benign, malignant, shift=1.0):
    labels = np.repeat([0, 1], [benign, malignant])
    return labels, 1 / (1 + np.exp(-(shift * (2 * labels - 1) + rng.normal(0, 1, len(labels)))))


@pytest.mark.parametrize("error", [0.06, 0.1, 0.25])
def test_zones_are_the_prediction_sets_of_crepes(error):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crepes = pytest.importorskip("crepes", reason="crepes is not installed: pip install crepes")
    rng = np.random.default_rng(1)
    labels, score = draw(rng, 16, 54)
    _, new = draw(rng, 200, 200)

    class Known:
        classes_ = np.array([0, 1])

        def predict_proba(self, values):
            return np.stack([1 - values[:, 0], values[:, 0]], axis=1)

    wrapped = crepes.WrapClassifier(Known())
    wrapped.calibrate(score[:, None], labels, class_cond=True)
    sets = wrapped.predict_set(new[:, None], confidence=1 - error, smoothing=False)
    expected = np.array([{(0,): 0, (1,): 2}.get(tuple(map(int, one)), 1) for one in sets])
    zones = fit_zones(make_cases(labels, score), error)
    assert (zones.place(new) == expected).all()
    assert len(set(expected)) > 1


@pytest.mark.parametrize(("benign", "malignant", "error"), [(16, 54, 0.06), (16, 54, 0.1), (30, 20, 0.2)])
def test_zones_cover_as_promised(benign, malignant, error):
    rng, missed, alarms, beyond, rounds = np.random.default_rng(0), 0, 0, np.zeros(2), 4000
    for _ in range(rounds):
        labels, score = draw(rng, benign, malignant)
        zones = fit_zones(make_cases(labels, score), error)
        own, new = draw(rng, 1, 1)
        place = zones.place(new)
        missed += place[own == 1][0] == 0
        alarms += place[own == 0][0] == 2
        beyond += [new[own == 1][0] < zones.low_below, new[own == 0][0] > zones.high_above]
    slack = 3 * np.sqrt(error * (1 - error) / rounds)
    assert max(missed, alarms) / rounds <= error + slack
    for found, number in zip(beyond, (malignant, benign), strict=True):  # no emptier than they have to be
        assert found / rounds == pytest.approx(np.floor(error * (number + 1) + 1e-9) / (number + 1), abs=slack)


def test_counting_only_specimens_would_not_cover_all_their_patients():
    rng, missed, naive, rounds = np.random.default_rng(0), 0, 0, 2000
    for _ in range(rounds):
        labels, middle = np.repeat([0, 1], 20), rng.normal(0, 0.5, 40)
        score = 1 / (1 + np.exp(-(2 * labels[:, None] - 1 + middle[:, None] + rng.normal(0, 1, (40, 4)))))
        cases = make_cases(np.repeat(labels, 4), score.ravel(), np.repeat(np.arange(40), 4))
        new = 1 / (1 + np.exp(-(1 + rng.normal(0, 0.5) + rng.normal(0, 1, 4))))
        missed += (fit_zones(cases, 0.1).place(new) == 0).any()
        naive += (fit_zones(make_cases(labels, score[:, 0]), 0.1).place(new) == 0).any()
    assert missed / rounds <= 0.1 + 3 * np.sqrt(0.09 / rounds)
    assert naive / rounds > 0.15  # the control: it fails where each specimen counts with one patient


def test_shares_count_specimens_once_and_uncertain_patients():
    """Three malignant specimens, of which one has two patients in zone low, and two benign ones."""
    label, place = np.array([1, 1, 1, 1, 0, 0]), np.array([0, 0, 1, 2, 2, 0])
    found = shares_in_zones(label, place, np.array([0, 0, 1, 2, 3, 4]))
    assert found["positive_in_low"]["value"] == pytest.approx(1 / 3)
    assert found["positive_in_low"]["num_specimens"] == 3
    assert found["negative_in_high"]["value"] == 0.5
    assert found["uncertain"] == pytest.approx(1 / 6)
    low, high = (found["positive_in_low"][end] for end in ("low", "high"))
    assert 1 - (1 - low) ** 3 == pytest.approx(0.025)  # P(1 or more of 3)
    assert (1 - high) ** 3 + 3 * high * (1 - high) ** 2 == pytest.approx(0.025)  # P(1 or fewer of 3)


def test_the_simulated_errors_that_a_report_states_are_those_of_the_benchmark():
    found = json.loads((Path(__file__).parents[3] / "benchmarks/zones.json").read_text())
    of_first = [row for row in found["rows"] if (row["way"], row["error"]) == ("first", 0.06)]
    highest = max(row["false"] for row in of_first)
    assert highest > 0.06
    assert f"{100 * highest:.1f} %" in CROSS_VALIDATED
    of_refit = [row for row in found["rows"] if row["way"] == "refit"]
    assert {row["source"] for row in of_refit} == {"vectors", "twins"}
    for row, name in product(of_refit, ("missed", "false")):
        assert row[name] <= row["error"] + row[f"{name}_se"]
    covered = [row[name] for row in found["coverage"] for name in ("missed", "false")]
    page = (Path(hf_breakhis.__file__).parent / "results/report/decisions.html.j2").read_text()
    assert f"(coverage in simulations: {100 * min(covered):.0f} to {100 * max(covered):.0f} %)" in page


def test_the_worst_patient_of_each_specimen_counts():
    cases = make_cases([1, 1, 0, 0, 1], [0.9, 0.2, 0.3, 0.6, 0.7], [0, 0, 1, 1, 2])
    assert sorted(worst_scores(cases, 1)) == [0.2, 0.7]
    assert worst_scores(cases, 0).tolist() == [0.6]


def test_a_specimen_of_both_classes_counts_in_both():
    cases = make_cases([1, 0, 0], [0.8, 0.4, 0.1], [0, 0, 1])
    assert worst_scores(cases, 1).tolist() == [0.8]
    assert sorted(worst_scores(cases, 0)) == [0.1, 0.4]


def test_scores_that_exclude_both_or_none_are_uncertain():
    assert Zones(0.3, 0.7).place(np.array([0.1, 0.3, 0.7, 0.8])).tolist() == [0, 1, 1, 2]
    assert Zones(0.7, 0.3).place(np.array([0.1, 0.5, 0.8])).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("error", "needed"), [(1 / 17, 16), (1 / 55, 54), (0.05, 19), (0.1, 9), (0.5, 1), (0.01, 99)])
def test_specimens_that_a_guarantee_takes(error, needed):
    assert specimens_needed(error) == needed
    labels = np.repeat([0, 1], needed)
    score = np.linspace(0, 1, 2 * needed)
    assert fit_zones(make_cases(labels, score), error) is not None
    assert fit_zones(make_cases(labels[1:], score[1:]), error) is None


def test_breakhis_cannot_guarantee_five_percent():
    assert require_support({"benign": 16, "malignant": 54}, 1 / 17) is None
    reason = require_support({"benign": 16, "malignant": 54}, 0.05)
    assert "needs 19 specimens of each class; there are 16 benign ones" in reason
    assert "5.9 %: give --guarantee 0.059 or more" in reason
    assert require_support({"benign": 16, "malignant": 54}, 0.059) is None  # what it says to give is accepted
    assert "16 benign and 54 malignant ones" in require_support({"benign": 16, "malignant": 54}, 0.01)


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "1.5", "x", "", "nan", "inf"])
def test_impossible_guarantees_are_refused(text):
    with pytest.raises(InputError, match=r"--guarantee is .* allowed is a number above 0 and below 1") as error:
        parse_error(text)
    assert "\n" not in str(error.value)


def test_zones_travel_with_the_decision(summarised_run):
    summary, decision = Run(summarised_run).summary, Run(summarised_run).decision
    assert decision["zones"] == summary["decisions"]["zones"]
    assert decision["zones"]["num_specimens"] == {"benign": 12, "malignant": 11}
    assert zones_of(decision, "mean").low_below == decision["zones"]["zones"]["mean"]["low_below"]
    assert "a refit, a model trained on all of them" in decision["zones"]["guarantee"]
    assert set(decision["by_unit"]) == {"patient", "specimen"}


def test_check_is_absent_where_a_fold_leaves_too_few(summarised_run, tmp_path):
    zones = Run(copytree(summarised_run, tmp_path / "run")).summary["decisions"]["zones"]
    assert zones["zones"]
    assert zones["cross_fitted"] == {}
    assert "only 6 specimens of a class remain" in zones["cross_fitted_reason"]
    wide = summarise(tmp_path / "run", Choices(error=0.2))["decisions"]["zones"]
    assert set(wide["cross_fitted"]) == {"mean", "maximum", "share"}
    counts = wide["cross_fitted"]["mean"]["counts"]
    assert sum(counts["benign"].values()) == 12
    assert sum(counts["malignant"].values()) == 12  # patients, of 11 specimens
    assert summarise(tmp_path / "run")["decisions"]["zones"] == wide  # the choice is kept


def test_too_few_specimens_have_no_zones_and_refuse_one_line(write_run, tmp_path, capsys):
    run = write_run(tmp_path / "run")
    assert main(["report", str(run), "--guarantee", "0.05"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "A guarantee of 5 % needs 19 specimens of each class" in line
    assert main(["report", str(run), "--guarantee", "1"]) == 2
    assert "allowed is a number above 0 and below 1" in capsys.readouterr().err
    assert main(["report", str(run), "--prevalences", "0"]) == 2
    assert "At 0 or 1 all cases are of one class" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"patient_id": "", "specimen_id": ""},
            "names no patients and no specimens. Decisions by patient",
        ),
        ({"patient_id": "one", "specimen_id": "one"}, "Each patient has images of both classes."),
    ],
)
def test_guarantees_without_patients_of_both_classes_are_refused(write_run, cohort, tmp_path, capsys, change, message):
    run = write_run(tmp_path / "run", cohort.assign(**change), split_by="image")
    assert main(["report", str(run), "--guarantee", "0.2"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cannot have zones with this --guarantee" in line
    assert message in line


def test_one_model_has_the_guarantee_itself(summarised_run):
    run = Run(summarised_run)
    summary = run.summary
    test = pd.read_csv(run.folder / "predictions.csv", keep_default_na=False)
    zones = describe_zones(test, summary["decision"], 0.2, one_model=True)
    assert zones["reason"] is None
    assert zones["guarantee"].startswith("One model scored all of these specimens")
    assert zones["is_exact"]
    assert not summary["decisions"]["zones"]["is_exact"]
    score = test.groupby("patient_id")["prob_malignant"].mean()  # as it is, without the temperature
    worst = score[test.groupby("patient_id")["label"].first() == 1]
    specimens = test.groupby("patient_id")["specimen_id"].first()[worst.index]
    expected = worst.groupby(specimens).min().sort_values().iloc[int(0.2 * 12) - 1]
    assert zones["zones"]["mean"]["low_below"] == pytest.approx(expected)
