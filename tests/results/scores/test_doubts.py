"""What a reader has to know before a score: few specimens, patients never tested, and commands that can be pasted."""

import shlex

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.data.inventory import INVENTORY, official_folds
from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.report.sibling import sibling
from hf_breakhis.results.scores.warnings import Kind, texts_of, warnings
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run
from hf_breakhis.training.environment import command_line

FIELDS = ("optimizer_name", "num_train_epochs", "num_folds")


def thin(summary):
    return [caution.text for caution in warnings(summary) if caution.kind == Kind.THIN_FOLDS]


def test_a_fold_that_tests_one_specimen_of_a_class_is_told(summarised_run):
    summary = Run(summarised_run).summary
    reports = summary["image"]["per_fold"]
    assert sum(sum(report["num_groups_by_class"].values()) for report in reports) == summary["interval"]["num_groups"]
    reports[1]["num_groups_by_class"] = {"benign": 1, "malignant": 9}
    assert thin(summary) == [
        "Some test sets contain few specimens: fold 1 has 1 benign. Interpret per-fold scores with caution."
    ]
    for report in reports:
        report["num_groups_by_class"] = {"benign": 3, "malignant": 9}
    assert thin(summary) == []


def test_groups_of_a_fold_are_those_of_its_own_images(summarised_run):
    summary = Run(summarised_run).summary
    test = pd.read_csv(summarised_run / "predictions.csv")
    for report in summary["image"]["per_fold"]:
        own = test[test["fold"] == report["fold"]]
        for label, name in enumerate(summary["classes"]):
            expected = own.loc[own["label"] == label, "specimen_id"].nunique()
            assert report["num_groups_by_class"][name] == expected
        assert report["num_groups"] == own["specimen_id"].nunique()


@pytest.mark.usefixtures("few_figures")
def test_a_specimen_with_images_of_both_classes_counts_once(write_run, tmp_path, cohort):
    both = cohort["label"].where(cohort.index % 7 != 0, 1 - cohort["label"])
    summary = summarise(write_run(tmp_path / "run", cohort.assign(label=both)))
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    for report in summary["image"]["per_fold"]:
        assert report["num_groups"] < sum(report["num_groups_by_class"].values())
        assert f"<td>{report['num_images']} / {report['num_groups']}</td>" in page


def test_patients_that_count_as_one_specimen_each_are_called_patients(write_run, summarised_run, tmp_path, cohort):
    summary = summarise(write_run(tmp_path / "run", cohort.assign(specimen_id=cohort["patient_id"])))
    assert summary["interval"]["group"] == "patient"
    assert Run(summarised_run).summary["interval"]["group"] == "specimen"


def test_a_hold_out_of_few_specimens_has_no_interval_and_says_why(write_run, tmp_path, cohort):
    """Two benign specimens of twelve: what stood here once was an interval from 0 to 100 %."""
    ids = cohort["patient_id"].drop_duplicates()
    benign = [name for name in ids if name.startswith("SOB_B")]
    few = cohort[~cohort["patient_id"].isin(benign[2:])].reset_index(drop=True)
    summary = summarise(write_run(tmp_path / "run", few, split_by="image", num_folds=1, test_size=0.5))
    assert summary["interval"]["num_groups_by_class"]["benign"] == 2
    pooled = summary["image"]["pooled"]
    assert pooled["specificity"]["low"] is None
    assert pooled["roc_auc"]["low"] is None
    text = " ".join(texts_of(summary, Kind.INTERVAL))
    assert "2 benign" in text
    accuracy = pooled["accuracy"]
    assert accuracy["low"] is None or accuracy["high"] - accuracy["low"] < 0.6


@pytest.fixture
def official(write_run, tmp_path):
    """A run on the official folds: one image of each slide folder, its predictions those of five hold-outs."""
    rows = [next(iter(folder.names())) for folder in INVENTORY]
    names = ["file_name", "label", "tumor_type", "patient_id", "specimen_id", "magnification"]
    images = pd.DataFrame([[str(row), *(getattr(row, name) for name in names[1:])] for row in rows], columns=names)
    images = images.sort_values("file_name", ignore_index=True)
    run = write_run(tmp_path / "run", images, num_folds=5, split_by="image")
    parts, tables = official_folds(), []
    source = pd.read_csv(run / "fold-0" / "predictions.csv")
    for fold in range(5):
        part = images["patient_id"].map(lambda patient, fold=fold: parts[patient][fold])
        tables.append(images[["file_name", "patient_id", "specimen_id", "label"]].assign(fold=fold, part=part))
        test = images[(part == "test").to_numpy()].assign(fold=fold, part="test", seen_in_training=False)
        rng = np.random.default_rng(fold)
        logit = rng.normal(0, 1, len(test))
        prob = 1 / (1 + np.exp(-2 * logit))
        test = test.assign(logit_benign=-logit, logit_malignant=logit, prob_benign=1 - prob, prob_malignant=prob)
        test = test.assign(predicted=(logit > 0).astype(int))[list(source.columns)]
        test.to_csv(run / f"fold-{fold}" / "predictions.csv", index=False)
    pd.concat(tables).to_csv(run / "folds.csv", index=False)
    text = (run / "recipe.yaml").read_text().replace("split_by: image", "split_by: official")
    (run / "recipe.yaml").write_text(text)
    return run


def test_patients_that_the_official_folds_never_test_are_counted(official):
    summary = summarise(official)
    assert summary["protocol"]["never_tested"] == [13, 82]
    assert any("13 of 82 patients are never tested" in text for text in texts_of(summary, Kind.OFFICIAL))
    tests = sum(row["test_images"] for row in summary["leakage"]["per_fold"])
    assert f"of {tests:,} tests of 69 images" in summary["headline"]["sentence"]


def test_a_partition_counts_every_image_once(summarised_run):
    summary = Run(summarised_run).summary
    assert summary["protocol"]["never_tested"][0] == 0
    assert "test images were classified correctly" in summary["headline"]["sentence"]


def test_a_command_can_be_pasted(write_run, tmp_path):
    words = ["hf-breakhis", "train", "c3", "--twin_kwargs", '{"scale": 0.1}', "--output_dir", "a b", "--restart"]
    line = command_line(words)
    assert shlex.split(line) == words
    run = write_run(tmp_path / "run", split_by="image")
    text = (run / "recipe.yaml").read_text().replace("train.py c3.yaml", line.replace("'", "''"))
    (run / "recipe.yaml").write_text(text.replace("command: hf", "command: 'hf").replace("--restart", "--restart'"))
    summarise(run)
    command = shlex.split(sibling(Run(run), FIELDS)["command"])
    assert command[:5] == ["hf-breakhis", "train", "c3", "--twin_kwargs", '{"scale": 0.1}']
    flags = ["--split_by", "specimen", "--stratify", "true", "--carry_over", "none", "--output_dir", f"{run}-specimen"]
    assert command[5:] == flags


def test_flags_that_the_sibling_replaces_are_dropped(write_run, tmp_path):
    run = write_run(tmp_path / "run", split_by="image")
    given = "hf-breakhis train c3 --split_by image --carry_over model --seed 3 --output_dir=old"
    (run / "recipe.yaml").write_text((run / "recipe.yaml").read_text().replace("train.py c3.yaml", given))
    summarise(run)
    command = shlex.split(sibling(Run(run), FIELDS)["command"])
    assert command[:5] == ["hf-breakhis", "train", "c3", "--seed", "3"]
    assert command.count("--split_by") == 1


def test_a_repeated_run_has_a_repeated_sibling(write_run, tmp_path):
    for name, split_by in (("one", "image"), ("one-specimen", "specimen")):
        for r in range(3):
            write_run(tmp_path / name / f"repeat-{r}", split_by=split_by, repeats=3, split_seed=42 + r, seed=42 + r)
        (tmp_path / name / "recipe.yaml").write_text((tmp_path / name / "repeat-0" / "recipe.yaml").read_text())
        Run(tmp_path / name).seal()
        summarise(tmp_path / name)
    found = sibling(Run(tmp_path / "one"), FIELDS)
    assert found["run"] == "one-specimen"
    assert found["accuracy"]["low"] < found["accuracy"]["value"] < found["accuracy"]["high"]
    assert sibling(Run(tmp_path / "one" / "repeat-0"), FIELDS)["run"] is None, "one of three is no sibling"
