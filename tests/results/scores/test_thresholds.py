"""Thresholds do what their rule says, and predictive values are those of Bayes."""

import numpy as np
import pytest
from scipy.special import logit

from hf_breakhis.cli import main
from hf_breakhis.files import InputError, read_json
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.intervals import draw_groups, intervals
from hf_breakhis.results.scores.thresholds import Rule, operating_point, parse_rule, predictive_values
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run


@pytest.fixture
def scored():
    """Labels and scores (500,) that overlap."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=500)
    return labels, 1 / (1 + np.exp(-(1.5 * (2 * labels - 1) + 1.5 * rng.normal(size=500))))


def rates(labels, score, threshold):
    chosen = score >= threshold
    return chosen[labels == 1].mean(), 1 - chosen[labels == 0].mean()


@pytest.mark.parametrize("least", [0.5, 0.9, 0.99, 0.999])
def test_sensitivity_is_reached_at_the_best_specificity(scored, least):
    labels, score = scored
    sensitivity, specificity = rates(labels, score, Rule("sensitivity", least).fit(labels, score))
    assert sensitivity >= least
    others = [rates(labels, score, threshold) for threshold in score]
    assert specificity == pytest.approx(max(spec for sens, spec in others if sens >= least))


@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0, 50.0])
def test_cost_is_the_least_of_all_thresholds(scored, ratio):
    labels, score = scored

    def cost(threshold):
        chosen = score >= threshold
        return ratio * (~chosen & (labels == 1)).sum() + (chosen & (labels == 0)).sum()

    best = min(cost(threshold) for threshold in [*score, 2.0])
    assert cost(Rule("cost", ratio).fit(labels, score)) == pytest.approx(best)


def test_a_dearer_miss_lowers_the_threshold(scored):
    thresholds = [Rule("cost", ratio).fit(*scored) for ratio in (0.2, 1.0, 5.0, 50.0)]
    assert thresholds == sorted(thresholds, reverse=True)


@pytest.mark.parametrize("text", ["youden", "sensitivity>=0.95", "cost=5"])
def test_a_rule_reads_back(text):
    assert str(parse_rule(text)) == text
    assert parse_rule(f" {text} ") == parse_rule(text)


@pytest.mark.parametrize(
    "text",
    ["", "youdan", "sensitivity", "sensitivity>=1", "sensitivity>=0", "sensitivity>=1.2.3", "cost=0", "cost=-1"],
)
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(InputError, match="`threshold_rule` is"):
        parse_rule(text)


def test_predictive_values_are_those_of_bayes(write_run, tmp_path):
    rows = gather(Run(write_run(tmp_path / "run")))
    chosen = rows["predicted"].to_numpy()
    point = operating_point(rows, chosen)
    labels = rows["label"].to_numpy()
    assert point["ppv"]["value"] == pytest.approx(labels[chosen == 1].mean())
    assert point["npv"]["value"] == pytest.approx(1 - labels[chosen == 0].mean())
    sens, spec = (point[name]["value"] for name in ("sensitivity", "specificity"))
    for row in point["by_prevalence"]:
        share = row["prevalence"]
        true, false = sens * share, (1 - spec) * (1 - share)
        assert row["ppv"]["value"] == pytest.approx(true / (true + false))
        assert row["npv"]["value"] == pytest.approx(spec * (1 - share) / (spec * (1 - share) + (1 - sens) * share))
        assert row["ppv"]["low"] < row["ppv"]["value"] < row["ppv"]["high"]
    assert point["num_groups"] == rows["specimen_id"].nunique()
    assert point["prevalence"] == pytest.approx(labels.mean())


def of_groups(benign, malignant):
    """Return sensitivity and specificity as functions of weights; one share of correct images for each specimen."""
    correct = np.array([*benign, *malignant])
    classes = np.repeat([0, 1], [len(benign), len(malignant)])

    def points(weights):
        with np.errstate(invalid="ignore"):
            return {
                name: (weights * (classes == side)) @ correct / (weights * (classes == side)).sum(1)
                for name, side in (("sensitivity", 1), ("specificity", 0))
            }

    return points, classes


@pytest.fixture
def near_one():
    """Specificity .94 of 16 specimens, of which 12 have no false alarm; sensitivity .9 of 54."""
    points, classes = of_groups([1] * 12 + [0.9, 0.8, 0.8, 0.5], np.linspace(0.8, 1, 54))
    return points, intervals(points, 70, classes=classes), classes


def test_intervals_of_predictive_values_at_low_prevalence_are_not_empty_of_meaning(near_one):
    points, rates, classes = near_one
    found = {row["prevalence"]: row for row in predictive_values(points, rates, 70, classes)}
    drawn = points(draw_groups(70))
    for share, row in found.items():
        ratio = drawn["sensitivity"] / np.maximum(1 - drawn["specificity"], 1e-9)
        percentiles = np.nanquantile(share * ratio / (share * ratio + 1 - share), [0.025, 0.975])
        assert 0 < row["ppv"]["low"] < row["ppv"]["value"] < row["ppv"]["high"] < 1
        assert logit(row["ppv"]["low"]) == pytest.approx(logit(percentiles[0]), abs=0.7)
    assert found[0.01]["ppv"]["low"] > 0.03


def test_one_interval_of_the_likelihood_ratio_serves_every_prevalence(near_one):
    points, rates, classes = near_one
    rows = predictive_values(points, rates, 70, classes)
    for name in ("ppv", "npv"):
        widths = [logit(row[name]["high"]) - logit(row[name]["low"]) for row in rows]
        assert widths == pytest.approx([widths[0]] * len(rows))


def test_without_false_alarms_the_lower_end_follows_from_both_rates():
    points, classes = of_groups([1] * 16, np.linspace(0.8, 1, 54))
    rates = intervals(points, 70, classes=classes)
    found = {row["prevalence"]: row for row in predictive_values(points, rates, 70, classes)}
    ratio = rates["sensitivity"]["low"] / (1 - rates["specificity"]["low"])
    assert found[0.5]["ppv"] == {"value": 1, "low": pytest.approx(ratio / (1 + ratio)), "high": 1}
    assert found[0.5]["npv"]["high"] < 1


@pytest.mark.usefixtures("few_figures")
def test_a_report_keeps_the_rule_until_another_is_asked_for(write_run, tmp_path):
    run = write_run(tmp_path / "run")
    assert summarise(run)["decision"]["rule"] == "youden"
    assert main(["report", str(run), "--threshold_rule", "sensitivity>=0.9"]) == 0
    kept = read_json(run / "decision.json")
    assert kept["rule"] == "sensitivity>=0.9"
    assert summarise(run)["decision"] == kept
    assert "sensitivity&gt;=0.9" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("few_figures")
def test_a_hold_out_has_no_threshold_to_choose(write_run, tmp_path, capsys):
    run = write_run(tmp_path / "run", num_folds=1)
    assert main(["report", str(run), "--threshold_rule", "youden"]) == 2
    assert "can have no threshold" in capsys.readouterr().err
    assert main(["report", str(run)]) == 0
    assert "no threshold travel with this run" in (run / "report.html").read_text(encoding="utf-8")
