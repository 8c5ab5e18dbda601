"""The summary says what the files of a run say, the same bytes each time, and leaks come first."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from hf_breakhis.files import InputError
from hf_breakhis.results import summary as summaries
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores import warnings as sentences
from hf_breakhis.results.scores.warnings import GENERATED, Kind, texts_of
from hf_breakhis.results.summary import Choices, summarise, summary_of
from hf_breakhis.run import Run

SPECIMEN_SPLIT_SEED = 1  # puts the two patients of one specimen on two sides
TUMOR_TYPES = ("A", "F", "PT", "TA", "DC", "LC", "MC", "PC")


@pytest.fixture(scope="module")
def run(write_run, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "c3")


@pytest.fixture(scope="module")
def summary(run):
    return summarise(run)


def test_the_file_is_what_is_returned_and_holds_no_nan(run, summary):
    assert json.loads((run / "summary.json").read_text(), parse_constant=pytest.fail) == summary


def test_equal_files_give_equal_bytes(run, summary, tmp_path):
    again = tmp_path / "elsewhere" / "c3"
    shutil.copytree(run, again, ignore=shutil.ignore_patterns("summary.json", "decision.json"))
    summarise(again)
    for name in ("predictions.csv", "summary.json", "decision.json"):
        assert (run / name).read_bytes() == (again / name).read_bytes()


def test_a_run_is_summarised_for_a_comparison_only_after_a_change(run, summary, tmp_path, monkeypatch):
    copy = shutil.copytree(run, tmp_path / "c3")
    computed = []
    whole = summaries._summarise_one
    monkeypatch.setattr(summaries, "_summarise_one", lambda *given: computed.append(given) or whole(*given))

    def times(function, *given):
        computed.clear()
        assert function(copy, *given) == json.loads((copy / "summary.json").read_text())
        return len(computed)

    assert times(summary_of) == 1, "another process wrote the summary"
    (copy / "report.html").write_text("a report follows from the other files")
    assert times(summary_of) == 0
    assert times(summarise) == 1
    assert times(summarise, Choices(error=0.2)) == 1
    assert times(summary_of) == 0
    assert summary_of(copy)["decisions"]["zones"]["error"] == 0.2
    predictions = copy / "fold-1" / "predictions.csv"
    table = pd.read_csv(predictions)
    for kind in ("logit", "prob"):
        sides = [f"{kind}_benign", f"{kind}_malignant"]
        table.loc[0, sides] = table.loc[0, sides[::-1]].to_numpy()
    table.loc[0, "predicted"] = 1 - table.loc[0, "predicted"]
    table.to_csv(predictions, index=False)
    assert times(summary_of) == 1
    assert summary_of(copy)["image"]["pooled"]["accuracy"] != summary["image"]["pooled"]["accuracy"]
    shutil.rmtree(copy / "fold-1")
    assert times(summary_of) == 1


def test_numbers_are_scikit_learns(run, summary):
    test = gather(Run(run))
    pooled = summary["image"]["pooled"]
    assert pooled["accuracy"]["value"] == metrics.accuracy_score(test["label"], test["predicted"])
    areas = [metrics.roc_auc_score(own["label"], own["prob_malignant"]) for _, own in test.groupby("fold")]
    assert pooled["roc_auc"]["value"] == pytest.approx(np.mean(areas))
    assert summary["image"]["roc"]["mean"]["auc"] == pytest.approx(np.mean(areas)), "figure and table show the same"
    assert summary["image"]["mean"]["roc_auc"] == pytest.approx(np.mean(areas))
    other = metrics.roc_auc_score(test["label"], test["prob_malignant"])
    assert summary["image"]["pooled_ranking"]["roc_auc"] == pytest.approx(other)
    assert summary["baselines"]["majority"]["roc_auc"] == 0.5
    assert pooled["mcc"]["value"] == pytest.approx(metrics.matthews_corrcoef(test["label"], test["predicted"]))
    for fold, row in enumerate(summary["image"]["per_fold"]):
        own = test[test["fold"] == fold]
        assert row["sensitivity"] == pytest.approx(metrics.recall_score(own["label"], own["predicted"]))
    by_fold = test.groupby("fold").apply(lambda own: (own["label"] == own["predicted"]).mean())
    assert summary["image"]["sd"]["accuracy"] == pytest.approx(by_fold.std())


def test_patients_and_parts_are_those_of_a_grouped_table(run, summary):
    test = gather(Run(run)).assign(right=lambda table: table["label"] == table["predicted"])
    patients = test.groupby("patient_id").agg(right=("right", "mean"), prob=("prob_malignant", "mean"))
    assert summary["patient"]["pooled"]["recognition_rate"]["value"] == pytest.approx(patients["right"].mean())
    table = pd.DataFrame(summary["patient"]["table"]).set_index("patient_id")
    assert np.allclose(table["patient_score"], patients["right"])
    assert np.allclose(table["mean_probability"], patients["prob"])
    for column, part in (("magnification", "by_magnification"), ("tumor_type", "by_tumor_type")):
        for name, share in test.groupby(column)["right"].mean().items():
            assert summary[part][name]["accuracy"]["value"] == pytest.approx(share)


def test_headline_says_what_was_measured_at_which_level_with_which_interval(summary):
    head, accuracy = summary["headline"], summary["image"]["pooled"]["accuracy"]
    assert head["sentence"] == (
        f"{100 * accuracy['value']:.1f} % of {summary['data']['num_images']} test images were classified correctly "
        f"(95 % confidence interval for the recipe {100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f} %; "
        "cluster bootstrap by specimen: 23 specimens, 2,000 resamples) "
        "in a 3-fold cross-validation split by specimen, with no specimen on both sides of a split."
    )
    assert (head["group_level"], head["value"]) == ("specimen", accuracy["value"])
    assert summary["protocol"]["covers_all_images_once"] is True


def test_a_leak_is_the_first_thing_said(write_run, tmp_path):
    summary = summarise(write_run(tmp_path / "run", split_by="image", source="twin", warnings=["Half of it is here."]))
    leak, generated = summary["warnings"][:2]
    assert leak["kind"] == "leak"
    assert leak["text"].endswith("The scores do not measure performance on new patients.")
    assert generated == {"kind": "generated", "text": GENERATED.text}
    assert {"kind": "data", "text": "Half of it is here."} in summary["warnings"]
    assert "although 100 % of them show a patient whose other images" in summary["headline"]["sentence"]


def test_an_honest_run_is_not_accused(summary):
    # The cohort's colours give its classes away, which is another warning.
    assert {caution["kind"] for caution in summary["warnings"]} <= {"baseline", "seeds"}
    assert texts_of(summary, Kind.SEEDS)[0].startswith("This run uses one split seed and one training seed.")


def test_a_specimen_shared_by_two_patients_is_told(write_run, tmp_path):
    summary = summarise(write_run(tmp_path / "run", split_by="patient", split_seed=SPECIMEN_SPLIT_SEED))
    assert summary["leakage"]["share_same_specimen"] > 0
    assert "show a specimen whose other images" in texts_of(summary, Kind.LEAK)[0]
    assert "with no patient on both sides of a split, although" in summary["headline"]["sentence"]


def test_a_carried_run_says_so_and_has_no_threshold(write_run, tmp_path):
    run = write_run(tmp_path / "run", carry_over="model")
    summary = summarise(run)
    assert texts_of(summary, Kind.LEAK)[0].startswith("The model was carried over from fold to fold: ")
    decision = json.loads((run / "decision.json").read_text())
    assert decision["threshold"] is None
    assert "carried" in decision["reason"]


def test_selection_on_the_test_part_is_read_from_the_folds(write_run, tmp_path):
    run = write_run(tmp_path / "run")
    for fold, part in enumerate(("validation", "test", None)):
        (run / f"fold-{fold}" / "metrics.json").write_text(json.dumps({"selected_on": part}))
    summary = summarise(run)
    assert summary["protocol"]["selected_on"] == "test"
    assert summary["warnings"][0]["kind"] == "selected_on_test"


def test_a_hold_out_has_no_spread_and_no_threshold(write_run, tmp_path):
    summary = summarise(write_run(tmp_path / "run", num_folds=1, test_size=0.25))
    assert summary["protocol"]["folds_present"] == [0]
    assert summary["headline"]["sd_over_folds"] is None
    assert summary["calibration"]["temperature"] is None
    assert summary["calibration"]["temperature_reason"].startswith("One fold only")
    assert "(no confidence interval) in one hold-out split by specimen" in summary["headline"]["sentence"]
    (text,) = texts_of(summary, Kind.INTERVAL)
    assert text.startswith("No confidence interval: an interval needs at least 10 specimens")
    assert summary["protocol"]["covers_all_images_once"] is False


def test_missing_folds_are_named_and_the_others_speak(write_run, tmp_path):
    summary = summarise(write_run(tmp_path / "run", present=[2]))
    assert (summary["protocol"]["folds_present"], summary["protocol"]["folds_missing"]) == ([2], [0, 1])
    assert texts_of(summary, Kind.INCOMPLETE) == ["Folds 0 and 1 of 3 did not finish. The scores are those of fold 2."]
    assert " in fold 2 of a 3-fold cross-validation split by specimen" in summary["headline"]["sentence"]


def test_unknown_groups_leave_out_what_needs_them(write_run, tmp_path, cohort):
    images = cohort.assign(patient_id="", specimen_id="", magnification="", tumor_type="")
    summary = summarise(write_run(tmp_path / "run", images, split_by="image"))
    assert summary["patient"] is None
    assert (summary["by_magnification"], summary["by_tumor_type"]) == ({}, {})
    assert summary["interval"]["method"] == "t interval with the standard error of a bootstrap over images"
    assert "training and test sets may share patients" in summary["headline"]["sentence"]
    assert any("too narrow" in text for text in texts_of(summary, Kind.INTERVAL))
    assert texts_of(summary, Kind.UNKNOWN_GROUPS)


def test_eight_classes_have_curves_and_patients_and_no_threshold(write_run, tmp_path, cohort):
    images = cohort.assign(label=cohort["tumor_type"].map(TUMOR_TYPES.index))
    run = write_run(tmp_path / "run", images, classes=TUMOR_TYPES, target="tumor_type", split_by="patient")
    summary = summarise(run)
    assert summary["classes"] == list(TUMOR_TYPES)
    assert summary["positive_class"] is None
    assert set(summary["image"]["roc"]["one_vs_rest"]) == set(TUMOR_TYPES)
    assert np.shape(summary["image"]["pooled_confusion_matrix"]) == (8, 8)
    assert summary["image"]["pooled"]["per_class.DC.recall"]["value"] is not None
    assert "sensitivity" not in summary["image"]["pooled"]
    assert summary["patient"]["pooled"]["num_patients"] == 24
    assert json.loads((run / "decision.json").read_text())["threshold"] is None


def test_other_parts_are_reported_apart(write_run, tmp_path):
    run = write_run(tmp_path / "run")
    folds = pd.read_csv(run / "folds.csv")
    for fold in range(3):
        path = run / f"fold-{fold}" / "predictions.csv"
        table = pd.read_csv(path)
        table.loc[:4, "part"] = "reserve"
        table.to_csv(path, index=False)
        folds.loc[folds["file_name"].isin(table["file_name"][:5]), "part"] = "reserve"
    folds.to_csv(run / "folds.csv", index=False)
    summary = summarise(run)
    assert [row["num_images"] for row in summary["reserve"]["per_fold"]] == [5, 5, 5]
    assert summary["validation"] is None
    assert summary["protocol"]["covers_all_images_once"] is True


def test_repeated_hold_outs_are_no_partition(write_run, tmp_path):
    run = write_run(tmp_path / "run", split_by="specimen")
    recipe = (run / "recipe.yaml").read_text().replace("split_by: specimen", "split_by: official")
    (run / "recipe.yaml").write_text(recipe)
    first, second = (run / f"fold-{fold}" / "predictions.csv" for fold in (0, 1))
    again = pd.read_csv(first).assign(fold=1)
    pd.concat([pd.read_csv(second), again]).to_csv(second, index=False)
    folds = pd.read_csv(run / "folds.csv")
    folds.loc[(folds["fold"] == 1) & folds["file_name"].isin(again["file_name"]), "part"] = "test"
    folds.to_csv(run / "folds.csv", index=False)
    summary = summarise(run)
    assert summary["protocol"]["covers_all_images_once"] is False
    assert "repeated hold-outs, not a partition" in texts_of(summary, Kind.OFFICIAL)[0]
    assert "in the official hold-outs of BreakHis, with no specimen" in summary["headline"]["sentence"]


def test_repeats_stand_above_their_runs(write_run, tmp_path):
    for r in range(3):
        write_run(tmp_path / "top" / f"repeat-{r}", repeats=3, split_seed=42 + r, seed=42 + r)
    shutil.copy(tmp_path / "top" / "repeat-0" / "recipe.yaml", tmp_path / "top" / "recipe.yaml")
    summary = summarise(tmp_path / "top")
    one = [json.loads((tmp_path / "top" / row["summary"]).read_text()) for row in summary["repeats"]]
    accuracy = [each["image"]["pooled"]["accuracy"]["value"] for each in one]
    assert [row["accuracy"] for row in summary["repeats"]] == accuracy
    assert summary["mean"]["accuracy"] == pytest.approx(np.mean(accuracy))
    assert summary["sd"]["accuracy"] == pytest.approx(np.std(accuracy, ddof=1))
    assert [row["split_seed"] for row in summary["repeats"]] == [42, 43, 44]
    assert {caution["kind"] for caution in summary["warnings"]} <= {"baseline", "thin_folds"}
    bounds = summary["intervals"]["accuracy"]
    assert bounds["low"] < summary["mean"]["accuracy"] < bounds["high"]
    assert (summary["headline"]["low"], summary["headline"]["high"]) == (bounds["low"], bounds["high"])
    assert "95 % confidence interval for the recipe" in summary["headline"]["sentence"]
    assert "average over 3 repeats of a 3-fold cross-validation split by specimen" in summary["headline"]["sentence"]


def test_a_missing_repeat_is_named(write_run, tmp_path):
    write_run(tmp_path / "top" / "repeat-1", repeats=2, split_by="image")
    shutil.copy(tmp_path / "top" / "repeat-1" / "recipe.yaml", tmp_path / "top" / "recipe.yaml")
    summary = summarise(tmp_path / "top")
    assert summary["repeats_missing"] == [0]
    assert summary["sd"]["accuracy"] is None
    assert "show a patient" in texts_of(summary, Kind.LEAK)[0]
    assert any("Repeat 0 did not finish" in text for text in texts_of(summary, Kind.INCOMPLETE))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recipe.yaml", "no recipe.yaml, so it is not a run"),
        ("data.json", "is missing"),
        ("folds.csv", "is missing"),
    ],
)
def test_a_missing_file_is_named(write_run, tmp_path, name, message):
    run = write_run(tmp_path / "run")
    (run / name).unlink()
    with pytest.raises(InputError, match=message):
        summarise(run)


def test_the_folder_of_a_study_is_named_as_such(tmp_path):
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(InputError, match=r"so it is not a run\. It is the folder of a study or a search"):
        summarise(tmp_path)


def test_no_such_run_is_said(tmp_path):
    with pytest.raises(InputError, match=r"No run at .*c9"):
        summarise(tmp_path / "c9")


def test_a_model_no_better_than_a_baseline_is_told_and_a_better_one_is_not():
    def warned(accuracy, low, area=0.9, name="majority", is_generated=False):
        pooled = {"accuracy": {"value": accuracy}, "roc_auc": {"value": area}}
        difference = {"accuracy": {"low": low, "high": 0.3}, "roc_auc": {"low": 0.2, "high": 0.4}}
        baselines = {name: {"accuracy": 0.7, "roc_auc": 0.5, "difference": difference}}
        data = {"source": "twin" if is_generated else "breakhis"}
        summary = {"image": {"pooled": pooled}, "baselines": baselines, "data": data}
        return sentences._unbeaten(summary), sentences.color_note(summary)

    majority = "the majority-class baseline"
    assert warned(0.7, -0.1) == ([f"The model does not beat {majority}: accuracy 0.700 (baseline 0.700)."], None)
    near = (
        f"The model does not clearly beat {majority} on the same images: accuracy 0.710 against 0.700, difference "
        "-0.050 to +0.300 (95 % confidence interval of the paired difference)."
    )
    assert warned(0.71, -0.05) == ([near], None)
    assert warned(0.8, 0.02) == ([], None)
    assert warned(0.8, None) == ([], None), "without an interval only a lower score is reported"
    assert warned(0.71, -0.05, is_generated=True) == ([near], None)
    assert warned(0.8, 0.02, area=0.4)[0] == [f"The model does not beat {majority}: ROC AUC 0.400 (baseline 0.500)."]
    color = near.replace("majority-class", "mean-colour")
    assert warned(0.71, -0.05, name="mean_color") == ([color], None), "for real images it is a warning"
    found, calm = warned(0.71, -0.05, name="mean_color", is_generated=True)
    assert found == []
    assert calm.startswith("Mean colour alone predicts nearly as well as the model: accuracy 0.710 against 0.700")
    (loud,), calm = warned(0.7, -0.1, name="mean_color", is_generated=True)
    assert loud.startswith("The model does not beat the mean-colour baseline")
    assert calm is None
