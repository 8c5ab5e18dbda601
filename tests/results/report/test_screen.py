"""One screen: what the report and the card say about decisions, zones and shifts."""

import json
from shutil import copytree

from hf_breakhis.results.predictions import gather
from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.report.screen import NO_MODEL, NO_SHIFTS, one_screen
from hf_breakhis.results.shifts import describe_shifts
from hf_breakhis.results.summary import Choices, summarise
from hf_breakhis.run import Run


def test_a_run_states_everything_with_its_numbers(write_run, tmp_path):
    summary = summarise(write_run(tmp_path / "run"), Choices(error=0.2, prevalences=(0.02,)))
    rows = dict(one_screen(summary, {}))
    assert list(rows) == ["May be used to study", "Operating point", "Net benefit", "Zones", "Shifts",
                          "To be shown before anyone decides with it"]  # fmt: skip
    patient = summary["decisions"]["patient"]
    assert f"By patient: sensitivity (malignant) {patient['sensitivity']['value']:.3f}" in rows["Operating point"]
    assert "of 1,000 patients of which 2 % are malignant" in rows["Operating point"]
    assert "For an error of at most 20 % of the specimens of each class." in rows["Zones"]
    assert "Cross-fitted:" in rows["Zones"]
    assert "It holds in simulations for a model trained on all folds (refit); it is not proven." in rows["Zones"]
    summary["decisions"]["zones"]["is_exact"] = True
    assert "not proven" not in dict(one_screen(summary, {}))["Zones"]
    checked = summary["decisions"]["zones"]["cross_fitted"]["mean"]
    for share, warned in ((0.25, True), (0.15, False)):
        checked["negative_in_high"] |= {"value": share, "low": 0.05}
        text = dict(one_screen(summary, {}))["Zones"]
        assert ("The benign share is above the guarantee, which its interval includes." in text) == warned
    assert rows["Shifts"] == NO_SHIFTS
    summary["protocol"]["imported"] = True
    assert dict(one_screen(summary, {}))["Shifts"] == NO_MODEL
    assert "Not for diagnosis" in rows["May be used to study"]


def test_shifts_name_the_worst_and_the_most_flips(summarised_run, tmp_path):
    run = Run(copytree(summarised_run, tmp_path / "run"))
    test = gather(run)
    worse = test.assign(
        logit_benign=test["logit_malignant"], logit_malignant=test["logit_benign"],
        prob_benign=test["prob_malignant"], prob_malignant=test["prob_benign"], predicted=1 - test["predicted"],
    )  # fmt: skip
    found = describe_shifts(run, test, {("stain", 1): test, ("blur", 2): worse})
    text = dict(one_screen(run.summary, found))["Shifts"]
    assert "(stain, blur)" in text
    assert "at worst (blur with a sd of 0.4 % of the width; -" in text
    assert "No images of another laboratory were scored." in text
    rows = found["rows"]
    assert rows[0]["flipped"]["value"] == 0
    assert rows[0]["difference"]["roc_auc"]["value"] == 0
    assert rows[1]["scores"]["roc_auc"]["value"] < 0.3
    (run.folder / "shifts.json").write_text(json.dumps(found))
    page = write_report(run.folder).read_text()
    assert "blur with a sd of 0.4 % of the width" in page
    assert "So <code>predict</code> gives zones with a refit only." in page


def test_a_hold_out_says_why_it_has_no_operating_point(write_run, tmp_path):
    summary = summarise(write_run(tmp_path / "run", num_folds=1))
    rows = dict(one_screen(summary, {}))
    assert rows["Operating point"].startswith("Not available. One fold only")
    assert "Zones" not in rows
