"""A premium is what one protocol scores above another on the same images, and its interval knows the specimens."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.special import logit

from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.splits import make_folds
from hf_breakhis.files import InputError, write_json
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.intervals import intervals
from hf_breakhis.results.scores.paired import premium
from hf_breakhis.results.scores.resampling import Predicted, image_scores
from hf_breakhis.results.study import (
    PLAN,
    PLANS,
    compare_rows,
    leakage_sentence,
    read_plan,
    specimens_for_width,
    study_table,
    write_study,
)
from hf_breakhis.run import Run

pytestmark = pytest.mark.usefixtures("scores_only")


def plan(folder, rows, **fields):
    """Write the plan of a study of these rows: name -> (changes, reference)."""
    listed = [
        {"name": name, "changes": changes, "reference": reference} for name, (changes, reference) in rows.items()
    ]
    content = {
        "format": 2, "name": "mine", "title": "Rows.", "base": "c3", "score": "accuracy", "may_change": [],
        "repeats": 1, "left_out": {}, "recipe": {"learning_rate": 0.1}, "rows": listed, **fields,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


SPLITS = {"may_change": ["split_by", "carry_over"]}


@pytest.fixture
def study(write_run, tmp_path):
    """A study of three runs on the same images, one of them not run."""
    rows = {
        "base": ({}, None),
        "image-fresh": ({"split_by": "image"}, "base"),
        "image-carried": ({"split_by": "image", "carry_over": "model"}, "base"),
    }
    folder = plan(tmp_path / "c3-audit", rows, left_out={"patient-fresh": "the source has no patient ids."}, **SPLITS)
    write_run(folder / "base", split_by="specimen", seed=7)
    write_run(folder / "image-fresh", split_by="image")
    return folder


def worse(table, share, seed=0):
    """Return predictions in which `share` of the images, at random, get the other class."""
    rows = np.random.default_rng(seed).random(len(table)) < share
    swapped = table.copy()
    for kind in ("prob", "logit"):
        one, other = f"{kind}_benign", f"{kind}_malignant"
        swapped.loc[rows, [one, other]] = table.loc[rows, [other, one]].to_numpy()
    swapped.loc[rows, "predicted"] = 1 - table.loc[rows, "predicted"]
    return swapped


def test_a_run_has_no_premium_over_itself(write_run, tmp_path):
    test = gather(Run(write_run(tmp_path / "run")))
    found = premium(test, test)
    assert found["accuracy"] == {"value": 0, "low": 0, "high": 0}
    assert found["num_images"] == len(test)


def test_a_premium_that_was_planted_is_found(write_run, tmp_path):
    test = gather(Run(write_run(tmp_path / "run")))
    other = worse(test, 0.3)
    found = premium(test, other)
    by_hand = (test["label"] == test["predicted"]).mean() - (other["label"] == other["predicted"]).mean()
    assert found["accuracy"]["value"] == pytest.approx(by_hand)
    assert 0 < found["accuracy"]["low"] < by_hand < found["accuracy"]["high"]
    assert premium(other, test)["accuracy"]["value"] == pytest.approx(-by_hand)


def test_only_images_that_both_tested_once_are_compared(write_run, tmp_path):
    test = gather(Run(write_run(tmp_path / "run")))
    part = test[test["fold"] > 0]
    assert premium(test, part)["num_images"] == len(part)
    with pytest.raises(InputError, match="no image in common"):
        premium(test[test["fold"] == 0], part)


def test_runs_of_other_labels_are_refused(write_run, tmp_path):
    test = gather(Run(write_run(tmp_path / "run")))
    with pytest.raises(InputError, match="different classes or labels"):
        premium(test, test.assign(label=1 - test["label"]))


def test_a_study_is_made_again_from_files(study):
    found = compare_rows(study)
    assert [row["ended"] for row in found["rows"]] == [True, True, False]
    assert found["missing"] == ["image-carried"]
    assert found["rows"][0]["difference"] is None, "the base has none"
    by_hand = premium(gather(Run(study / "image-fresh")), gather(Run(study / "base")))["accuracy"]
    shown = found["rows"][1]["difference"]["scores"]["accuracy"]
    assert {key: shown[key] for key in by_hand} == by_hand
    text = study_table(found)
    assert "image-carried" in text
    assert "not finished" in text
    assert "patient-fresh: the source has no patient ids." in text
    page = write_study(study, found)
    content = page.read_text(encoding="utf-8")
    assert "not for diagnosis" in content
    assert "Same patient" in content
    assert "<svg" in content
    before = page.read_bytes(), (study / "study.json").read_bytes()
    write_study(study, compare_rows(study))
    assert (page.read_bytes(), (study / "study.json").read_bytes()) == before


def test_a_row_is_compared_with_its_own_reference(write_run, tmp_path):
    rows = {"base": ({}, None), "long": ({}, "base"), "image-long": ({"split_by": "image"}, "long")}
    folder = plan(tmp_path / "audit", rows, **SPLITS)
    for seed, name in enumerate(rows):
        write_run(folder / name, split_by="image" if name.startswith("image") else "specimen", seed=seed)
    found = {row["name"]: row for row in compare_rows(folder)["rows"]}
    expected = premium(gather(Run(folder / "image-long")), gather(Run(folder / "long")))["accuracy"]
    shown = found["image-long"]["difference"]["scores"]["accuracy"]
    assert {key: shown[key] for key in expected} == expected


def repeated(write_run, folder, change, seeds=3):
    """Write a run of repeats, whose predictions `change(table, repeat)` changes."""
    from hf_breakhis.files import write_csv

    for repeat in range(seeds):
        run = write_run(folder / f"repeat-{repeat}", split_by="specimen", split_seed=42 + repeat, seed=repeat)
        for path in sorted(run.glob("fold-*/predictions.csv")):
            write_csv(path, change(pd.read_csv(path), repeat))
        Run(run).seal()
    recipe = yaml.safe_load((folder / "repeat-0" / "recipe.yaml").read_text(encoding="utf-8"))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"repeats": seeds}), encoding="utf-8")
    Run(folder).seal()


def test_planted_rows_help_and_hurt_and_an_equal_one_does_neither(write_run, tmp_path):
    rows = {"base": ({}, None), **{name: ({"loss": name}, "base") for name in ("better", "poor", "equal")}}
    folder = plan(tmp_path / "s", rows, repeats=3)
    shares = {"base": 0.2, "better": 0.0, "poor": 0.45, "equal": 0.2}
    for number, (name, share) in enumerate(shares.items()):
        seed = number if name == "equal" else 9

        def change(table, repeat, share=share, seed=seed):
            return worse(table, share, seed=100 * seed + repeat)

        repeated(write_run, folder / name, change)
    found = compare_rows(folder)
    assert {row["name"]: row["verdict"] for row in found["rows"]} == {
        "base": None, "better": "helps", "poor": "hurts", "equal": "cannot tell",
    }  # fmt: skip
    p_values = [row["difference"]["p_value"] for row in found["rows"][1:]]
    assert [row["difference"]["p_holm"] for row in found["rows"][1:]] == pytest.approx(list(holm(p_values)))
    assert "Better helps (accuracy); poor hurts (accuracy)" in found["sentence"]
    assert "For 1 row the study cannot tell whether it helps" in found["sentence"]


def test_a_study_whose_rows_are_all_equal_says_that_none_differs(write_run, tmp_path):
    folder = plan(tmp_path / "s", {"base": ({}, None), "equal": ({"loss": "equal"}, "base")}, repeats=3)
    for name in ("base", "equal"):
        repeated(write_run, folder / name, lambda table, repeat: worse(table, 0.2, seed=repeat))
    sentence = compare_rows(folder)["sentence"]
    assert sentence.startswith(
        "No row has a significant difference in accuracy; p-values are corrected for 1 comparison"
    )


def test_rows_that_look_at_the_test_set_are_named(write_run, tmp_path):
    """A checkpoint on the test set in one row, a split by image in all, and neither in an honest study."""
    for split in ("specimen", "image"):
        folder = plan(tmp_path / split, {"base": ({}, None), "stopped": ({"x": 1}, "base")})
        for name, part in (("base", None), ("stopped", "test")):
            write_run(folder / name, split_by=split, selected_on=part)
        found = compare_rows(folder)
        text, page = " ".join(study_table(found).split()), write_study(folder, found).read_text(encoding="utf-8")
        for shown in (text, page):
            assert "Selected on the test set (row stopped): a checkpoint" in shown
            assert ("Leakage (all rows): " in shown) == (split == "image")
    honest = plan(tmp_path / "honest", {"base": ({}, None), "other": ({"x": 1}, "base")})
    for seed, name in enumerate(("base", "other")):
        write_run(honest / name, split_by="specimen", seed=seed)
    assert compare_rows(honest)["optimistic"] == []


def holm(p_values):
    """Holm's correction, written out again."""
    order = np.argsort(p_values)
    adjusted = np.maximum.accumulate((len(p_values) - np.arange(len(p_values))) * np.asarray(p_values)[order])
    return np.minimum(1, adjusted)[np.argsort(order)]


def test_specimens_needed_follow_the_square_root():
    assert specimens_for_width(70, 0.08, 0.04) == 280
    assert specimens_for_width(70, 0.08, 0.08) == 70
    rng = np.random.default_rng(0)
    halves = [1.96 * rng.normal(size=(4000, n)).mean(1).std() for n in (50, 800)]
    assert specimens_for_width(50, halves[0], halves[1]) == pytest.approx(800, rel=0.1)


CATALOGUE = {folder.specimen_id: folder.label for folder in INVENTORY}
LABEL_OF_SPECIMEN = np.array(list(CATALOGUE.values()))
SIZE_OF_SPECIMEN = np.array([sum(len(f) for f in INVENTORY if f.specimen_id == name) for name in CATALOGUE])


def simulated_premium(stratify, seed):
    """Return the premium in accuracy, {"value", "low", "high"}, where specimens cannot be recognised.

    Each image has one feature, which depends on its class alone. The model is the likelihood ratio with the prior of
    the training set, so only the shares of the classes can make the score by specimen differ from that by image.
    """
    rng = np.random.default_rng(seed)
    specimen = np.repeat(np.arange(len(LABEL_OF_SPECIMEN)), np.maximum(1, SIZE_OF_SPECIMEN // 8))
    labels = LABEL_OF_SPECIMEN[specimen]
    log_ratio = 2 * 0.6 * ((2 * labels - 1) * 0.6 + rng.normal(size=len(labels)))
    scores = []
    for split_by in ("image", "specimen"):
        predicted = np.empty_like(labels)
        columns = {"specimen_id": specimen.astype(str)}
        for fold in make_folds(labels, columns, split_by, 3, stratify=stratify, seed=seed):
            predicted[fold.test] = log_ratio[fold.test] + logit(labels[fold.train].mean()) > 0
        probabilities = np.stack([1 - predicted, predicted], axis=1)
        scores.append(image_scores(Predicted(labels, predicted, probabilities, specimen), ranked=False))

    def difference(weights):
        return {"accuracy": scores[0](weights)["accuracy"] - scores[1](weights)["accuracy"]}

    classes = LABEL_OF_SPECIMEN
    return intervals(difference, len(classes), classes=classes, shares=False, resamples=400, seed=seed)["accuracy"]


def test_without_recognisable_specimens_there_is_no_premium():
    """The control of the study: classes only. The recipes c1 to c3 are unstratified; the runs of the study are not."""
    found = [simulated_premium(True, seed) for seed in range(40)]
    values = np.array([one["value"] for one in found])
    assert np.mean([one["low"] <= 0 <= one["high"] for one in found]) >= 0.9
    assert abs(values.mean()) < 2 * values.std(ddof=1) / np.sqrt(len(values)) + 0.001


def test_the_control_sees_the_premium_of_unstratified_splits():
    values = np.array([simulated_premium(False, seed)["value"] for seed in range(40)])
    assert values.mean() > 3 * values.std(ddof=1) / np.sqrt(len(values))


def rows_of(low, high):
    scores = {"accuracy": {"value": (low + high) / 2, "low": low, "high": high}}
    image = {"name": "image-fresh", "split_by": "image", "reference": "base", "difference": {"scores": scores}}
    return [{"name": "base", "ended": True, "split_by": "specimen", "reference": None, "difference": None}, image]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.02, 0.06, "owes this much"),
        (-0.02, 0.06, "consistent with none"),
        (-0.06, -0.02, "leakage does not explain"),
    ],
)
def test_the_sentence_says_no_more_than_the_interval(low, high, words):
    sentence = leakage_sentence(rows_of(low, high))
    assert words in sentence
    assert " did " not in sentence


def test_without_a_reference_there_is_no_premium(write_run, tmp_path):
    rows = {"base": ({}, None), "image-fresh": ({"split_by": "image"}, "base")}
    folder = plan(tmp_path / "c3-audit", rows, **SPLITS)
    write_run(folder / "image-fresh", split_by="image")
    found = compare_rows(folder)
    assert found["sentence"].startswith("There is no premium")
    assert found["rows"][1]["difference"] is None


def test_a_study_without_runs_says_how_to_begin(tmp_path):
    with pytest.raises(InputError, match=r"No row of the study in .* has finished\. Run the command"):
        compare_rows(plan(tmp_path / "s", {"base": ({}, None)}))
    with pytest.raises(InputError, match="No study at"):
        compare_rows(tmp_path)
    with pytest.raises(InputError, match="was written by another version"):
        compare_rows(plan(tmp_path / "s", {}, format=1))


@pytest.mark.parametrize(("kind", "other", "key"), [("study", "search", "inner_folds"), ("search", "study", "rows")])
def test_the_folder_of_the_other_kind_is_named_as_what_it_is(tmp_path, kind, other, key):
    write_json(tmp_path / PLAN, {"format": PLANS[other][1], key: {}})
    with pytest.raises(InputError, match=f"is the folder of a {other}. Use `hf-breakhis {other}`"):
        read_plan(tmp_path, kind)
    assert read_plan(tmp_path, other)[key] == {}
