"""A premium is what one protocol scores above another on the same images, and its interval knows the specimens."""

import numpy as np
import pytest
from scipy.special import logit

from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.splits import make_folds
from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.scores.intervals import intervals
from hf_breakhis.results.scores.paired import premium
from hf_breakhis.results.scores.resampling import Images, image_scores
from hf_breakhis.results.study import compare_protocols, sentence, study_table, write_plan, write_study
from hf_breakhis.run import Run


@pytest.fixture
def study(write_run, tmp_path):
    """A study of three runs on the same images, one of them not run."""
    folder = tmp_path / "c3-audit"
    runs = {
        "image-fresh": write_run(tmp_path / "c3", split_by="image"),
        "image-carried": folder / "image-carried",
        "specimen-fresh": write_run(folder / "specimen-fresh", split_by="specimen", seed=7),
    }
    write_plan(folder, {name: str(run) for name, run in runs.items()}, "c3", ["Split by patient: not asked for."])
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
    found = compare_protocols(study)
    assert [row["ended"] for row in found["rows"]] == [True, False, True]
    assert found["missing"] == ["image-carried"]
    assert found["rows"][2]["premium"] is None, "the reference has none"
    assert found["rows"][0]["run"] == "../c3"
    text = study_table(found)
    assert "image-carried       not run" in text
    assert "Split by patient: not asked for." in text
    page = write_study(study, found)
    content = page.read_text(encoding="utf-8")
    assert "not for diagnosis" in content
    assert "<svg" in content
    before = page.read_bytes(), (study / "study.json").read_bytes()
    write_study(study, compare_protocols(study))
    assert (page.read_bytes(), (study / "study.json").read_bytes()) == before


def test_longer_training_is_compared_with_longer_training(write_run, tmp_path):
    folder = tmp_path / "audit"
    names = ["image-carried", "image-2x", "specimen-fresh", "specimen-2x", "specimen-3x"]
    runs = {
        name: str(write_run(folder / name, split_by=name.split("-")[0], seed=seed)) for seed, name in enumerate(names)
    }
    write_plan(folder, runs, "c3", [])
    rows = {one["name"]: one for one in compare_protocols(folder)["rows"]}
    assert {name: one["reference"] for name, one in rows.items()} == {
        "image-carried": "specimen-3x",
        "image-2x": "specimen-2x",
        "specimen-fresh": None,
        "specimen-2x": None,
        "specimen-3x": None,
    }
    expected = premium(gather(Run(folder / "image-2x")), gather(Run(folder / "specimen-2x")))
    assert rows["image-2x"]["premium"] == expected
    assert rows["specimen-2x"]["premium"] is None, "longer training leaks nothing"


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
        scores.append(image_scores(Images(labels, predicted, probabilities, specimen), ranked=False))

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


def row(low, high):
    return [{"name": "image-fresh", "premium": {"accuracy": {"value": (low + high) / 2, "low": low, "high": high}}}]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.02, 0.06, "owes this much"),
        (-0.02, 0.06, "consistent with none"),
        (-0.06, -0.02, "leakage does not explain"),
    ],
)
def test_the_sentence_says_no_more_than_the_interval(low, high, words):
    told = sentence(row(low, high), has_reference=True)
    assert words in told
    assert " did " not in told


def test_without_a_reference_no_premium_is_told(write_run, tmp_path):
    folder = tmp_path / "c3-audit"
    write_plan(folder, {"image-fresh": str(write_run(folder / "image-fresh", split_by="image"))}, "c3", [])
    found = compare_protocols(folder)
    assert found["sentence"].startswith("There is no premium")
    assert found["rows"][0]["premium"] is None


def test_a_study_without_runs_says_how_to_begin(tmp_path):
    write_plan(tmp_path / "s", {"image-fresh": str(tmp_path / "s" / "image-fresh")}, "s", [])
    with pytest.raises(InputError, match="audit RECIPE --train"):
        compare_protocols(tmp_path / "s")
