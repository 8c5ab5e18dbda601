"""A run under simulated shifts: what is measured, who judges which image, and what is refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from hf_breakhis.cli import main
from hf_breakhis.data.pixels.shifts import SHIFTS, shifted
from hf_breakhis.files import InputError
from hf_breakhis.inference.classifier import Classifier
from hf_breakhis.inference.decode import decode
from hf_breakhis.inference.evaluation.shifts import evaluate_shifts, parse_shifts
from hf_breakhis.inference.fold_images import images_of_recipe
from hf_breakhis.inference.inputs import InputImage
from hf_breakhis.results.shifts import read_shifts, shift_table, worst_row
from hf_breakhis.results.summary import Choices, summarise
from hf_breakhis.run import Run

pytestmark = pytest.mark.usefixtures("small_reports")

NAMES = ("brightness", "blur")


@pytest.fixture(scope="module")
def shifted_run(run, tmp_path_factory):
    """A copy of the run with shifts.json."""
    folder = tmp_path_factory.mktemp("shifts") / "run"
    shutil.copytree(run, folder)
    summarise(folder, Choices(error=0.2))
    evaluate_shifts(folder, NAMES, batch_size=16)
    return folder


def test_each_fold_judges_its_own_test_images(shifted_run):
    """One row by hand: light of strength 3, decoded, shifted and scored image by image."""
    run = Run(shifted_run)
    test = pd.read_csv(shifted_run / "predictions.csv", keep_default_na=False)
    dataset = images_of_recipe(run.recipe).dataset
    content = dict(zip(dataset["file_name"], dataset["image"], strict=True))
    decision = {row["fold"]: row for row in run.summary["decision"]["cross_fitted"]["per_fold"]}
    calls, areas, before = [], [], []
    for fold, rows in test.groupby("fold"):
        classifier = Classifier(run.fold(fold).model)
        items = [InputImage(content[name]["path"], content[name]["bytes"]) for name in rows["file_name"]]
        pixels = [np.array(shifted(decode(item), "brightness", 3)) for item in items]
        logits = np.concatenate([classifier.logits([classifier.prepare(one)]) for one in pixels])
        fitted = decision[fold]
        odds = (logits[:, 1] - logits[:, 0]) / fitted["temperature"]
        calls.append((1 / (1 + np.exp(-odds)) >= fitted["threshold"]).astype(int))
        areas.append(roc_auc_score(rows["label"], odds))
        own = (rows["logit_malignant"] - rows["logit_benign"]) / fitted["temperature"]
        before.append((1 / (1 + np.exp(-own)) >= fitted["threshold"]).astype(int))
    found = next(row for row in read_shifts(run)["rows"] if (row["shift"], row["strength"]) == ("brightness", 3))
    assert found["scores"]["roc_auc"]["value"] == pytest.approx(np.mean(areas), abs=1e-6)
    calls, before = np.concatenate(calls), np.concatenate(before)
    assert found["flipped"]["value"] == pytest.approx((calls != before).mean())
    assert found["flipped_to_positive"] == pytest.approx(((calls != before) & (calls == 1)).mean())
    sensitivity = calls[test["label"] == 1].mean()
    assert found["scores"]["sensitivity"]["value"] == pytest.approx(sensitivity)


def test_no_shift_is_the_report_itself(shifted_run):
    run = Run(shifted_run)
    plain, summary = read_shifts(run)["plain"], run.summary
    assert plain["scores"]["roc_auc"]["value"] == pytest.approx(
        summary["image"]["pooled"]["roc_auc"]["value"], abs=1e-6
    )
    point = summary["decision"]["cross_fitted"]["operating_point"]
    for name in ("sensitivity", "specificity"):
        assert plain["scores"][name]["value"] == pytest.approx(point[name]["value"])
    zones = summary["decisions"]["zones"]["cross_fitted"]["mean"]
    assert plain["zones"]["positive_in_low"] == zones["positive_in_low"]
    assert plain["zones"]["moved"] == 0
    assert len(read_shifts(run)["rows"]) == 3 * len(NAMES)
    assert all(row["zones"]["moved"] >= 0 for row in read_shifts(run)["rows"])


def test_the_report_shows_them_and_new_predictions_drop_them(shifted_run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(shifted_run, copy)
    assert main(["report", str(copy)]) == 0
    page = (copy / "report.html").read_text()
    assert "40 % less light" in page
    assert "A simulation is not another laboratory." in page
    assert "--shifts all" not in page
    fold = copy / "fold-0/predictions.csv"
    table = pd.read_csv(fold, keep_default_na=False)
    table[["logit_benign", "logit_malignant"]] += 1.0  # the same probabilities, other bytes
    table.to_csv(fold, index=False)
    Run(copy).seal()
    assert main(["report", str(copy)]) == 0
    assert read_shifts(Run(copy)) == {}
    assert "--shifts all</code> measures" in (copy / "report.html").read_text()
    capsys.readouterr()


def test_tables_have_a_row_each_and_name_the_worst(shifted_run):
    found = read_shifts(Run(shifted_run))
    *lines, empty, last = shift_table(found).splitlines()
    assert (empty, last) == ("", "Research software: not for diagnosis.")
    head, rule, *rows = lines
    assert head.startswith("Shift")
    assert set(rule) == {"-"}
    assert len(rows) == 1 + len(found["rows"])
    assert max(map(len, lines)) <= 100
    lowest = min(row["scores"]["roc_auc"]["value"] for row in found["rows"])
    assert worst_row(found)["scores"]["roc_auc"]["value"] == lowest


def test_names_of_shifts():
    assert parse_shifts("all") == list(SHIFTS)
    assert parse_shifts("blur, stain,blur") == ["blur", "stain"]
    with pytest.raises(
        InputError, match=r"--shifts has 'blurr', which is not a shift. Did you mean `blur`\? Choose from"
    ):
        parse_shifts("stain,blurr")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shifts", "fog"], "which is not a shift"),
        (["--shifts", "blur", "--dataset", "twin"], "--dataset does not apply"),
        (["--shifts", "blur", "--batch_size", "0"], "--batch_size is 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(run, capsys, words, message):
    assert main(["evaluate", str(run), *words]) == 2
    assert message in capsys.readouterr().err


def test_what_is_no_trained_run_is_refused(run, capsys, tmp_path, write_model):
    assert main(["evaluate", "user/model", "--shifts", "blur"]) == 2
    assert "needs the folder of a trained run" in capsys.readouterr().err
    assert main(["evaluate", str(write_model()), "--shifts", "blur"]) == 2
    assert "so it is not a run" in capsys.readouterr().err
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps(summary | {"classes": list("abc")}))
    with pytest.raises(InputError, match="--shifts needs two classes"):
        evaluate_shifts(copy, NAMES)


def test_a_missing_image_is_refused(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    path = copy / "fold-1/predictions.csv"
    name = pd.read_csv(path)["file_name"][0]
    path.write_text(path.read_text().replace(name, "SOB_B_A-14-99999-40-001.png"))
    Run(copy).seal()
    with pytest.raises(InputError, match=r"^Image SOB_B_A-14-99999-40-001.png is missing from .*\. Restore it\.$"):
        evaluate_shifts(copy, NAMES)


@pytest.mark.parametrize(("area", "is_refused"), [(None, True), (0.0, False)])
def test_only_an_undefined_area_is_refused(run, tmp_path, area, is_refused):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    summary = json.loads((copy / "summary.json").read_text())
    summary["image"]["pooled"]["roc_auc"]["value"] = area
    (copy / "summary.json").write_text(json.dumps(summary))
    Run(copy).seal()
    if is_refused:
        with pytest.raises(InputError, match="so there is no AUC"):
            evaluate_shifts(copy, ["noise"])
    else:
        assert evaluate_shifts(copy, ["noise"])["rows"]


def test_models_that_give_other_predictions_are_refused(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for name in ("fold-0", "fold-1"):
        path = copy / name / "predictions.csv"
        table = pd.read_csv(path, keep_default_na=False)
        swapped = {"logit_benign": "logit_malignant", "logit_malignant": "logit_benign"}
        swapped |= {"prob_benign": "prob_malignant", "prob_malignant": "prob_benign"}
        table = table.rename(columns=swapped).assign(predicted=1 - table["predicted"])
        order = [*(c for c in table.columns if not c.startswith(("logit_", "prob_", "predicted"))),
                 "logit_benign", "logit_malignant", "prob_benign", "prob_malignant", "predicted"]  # fmt: skip
        table[order].to_csv(path, index=False)
    Run(copy).seal()
    with pytest.raises(InputError, match="give other probabilities than its predictions"):
        evaluate_shifts(copy, NAMES)


def test_an_ensemble_is_judged_as_it_was_scored(ensemble_run, tmp_path):
    """With the mean of its members: else its probabilities would differ, and the run would be refused."""
    copy = tmp_path / "copy"
    shutil.copytree(ensemble_run, copy)
    summary = summarise(copy)
    found = evaluate_shifts(copy, ["blur"])
    area = summary["image"]["pooled"]["roc_auc"]["value"]
    assert found["plain"]["scores"]["roc_auc"]["value"] == pytest.approx(area, abs=1e-6)
