"""An evaluated run: its scores, what is excluded, its locked threshold, and what is refused in one line."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax

from hf_breakhis.cli import main
from hf_breakhis.inference.evaluation import training_set
from hf_breakhis.inference.evaluation.evaluate import evaluate_model

pytestmark = pytest.mark.usefixtures("small_reports")

TWIN = ["--dataset", "twin", "--twin_kwargs", '{"scale": 0.01, "width": 70, "height": 46}']
OTHER = ["--dataset", "twin", "--twin_kwargs", '{"scale": 0.01, "width": 70, "height": 46, "seed": 7}']


@pytest.fixture(scope="module")
def of_fold(run, tmp_path_factory):
    """The model of fold 1, evaluated on all images of its own run."""
    folder = tmp_path_factory.mktemp("evaluated") / "own"
    assert main(["evaluate", str(run), "--fold", "1", *TWIN, "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def elsewhere(run, tmp_path_factory):
    """The model of fold 0, evaluated on a twin with other patients."""
    folder = tmp_path_factory.mktemp("evaluated") / "other"
    assert main(["evaluate", str(run), *OTHER, "--output_dir", str(folder)]) == 0
    return folder


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def warnings_of(folder):
    return json.loads((folder / "data.json").read_text())["warnings"]


def predictions_of(folder):
    return pd.read_csv(folder / "predictions.csv", keep_default_na=False)


def copy_images(twin, folder, names, change=lambda picture: picture):
    """Write changed copies of images of the twin as an imagefolder with patients."""
    paths = {path.name: path for path in twin.rglob("*.png")}
    rows = ["file_name,patient_id"]
    for number, name in enumerate(names):
        label = "benign" if "_B_" in name else "malignant"
        place = folder / label / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(paths[name]) as picture:
            change(picture.convert("RGB")).save(place)
        rows.append(f"{label}/{number}.png,p{number}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return {f"{'benign' if '_B_' in name else 'malignant'}/{k}.png": name for k, name in enumerate(names)}


def test_a_fold_evaluated_on_its_own_data_gives_its_test_scores(run, of_fold):
    """The training images of the fold are excluded, so its test set is left."""
    own = pd.read_csv(run / "fold-1" / "predictions.csv")
    own = own[own["part"] == "test"].sort_values("file_name")
    now = predictions_of(of_fold).sort_values("file_name")
    assert now["file_name"].tolist() == own["file_name"].tolist()
    np.testing.assert_allclose(now["prob_malignant"], own["prob_malignant"], atol=1e-5)
    folds = pd.read_csv(run / "folds.csv")
    trained = folds[(folds["fold"] == 1) & (folds["part"] == "train")]["file_name"]
    excluded = pd.read_csv(of_fold / "excluded.csv")
    assert sorted(excluded["file_name"]) == sorted(trained)
    assert (excluded["file_name"] == excluded["training_image"]).all()
    summary = summary_of(of_fold)
    reports = json.loads((run / "summary.json").read_text())["image"]["per_fold"]
    assert summary["image"]["pooled"]["accuracy"]["value"] == pytest.approx(reports[1]["accuracy"], abs=1e-9)
    same = {row["score"]: row["same_weights"] for row in summary["evaluation"]["scores"]}
    assert same["accuracy"] == reports[1]["accuracy"]
    assert summary["evaluation"]["locked_note"], "the locked threshold was fitted on predictions of these images"
    assert summary["leakage"]["share_same_specimen"] == 0


def test_patients_of_another_twin_are_other_patients(elsewhere, run):
    """Their names are equal, but no image is excluded and no patient is on both sides."""
    summary = summary_of(elsewhere)
    assert pd.read_csv(elsewhere / "excluded.csv").empty
    assert summary["leakage"]["share_same_patient"] == 0
    assert len(predictions_of(elsewhere)) == summary["data"]["num_images"]
    assert summary["evaluation"]["locked_note"] is None
    assert summary["protocol"]["split_by"] == "specimen"


def test_the_locked_decision_is_that_of_the_model(elsewhere, run):
    decision = json.loads((run / "decision.json").read_text())
    table = predictions_of(elsewhere)
    logits = table[["logit_benign", "logit_malignant"]].to_numpy() / decision["temperature"]
    chosen = softmax(logits, axis=1)[:, 1] >= decision["threshold"]
    rows = {row["kind"]: row for row in summary_of(elsewhere)["evaluation"]["decisions"]}
    right = chosen == table["label"].to_numpy()
    assert rows["locked"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert rows["locked"]["sensitivity"]["value"] == pytest.approx(right[table["label"] == 1].mean())
    assert rows["locked"]["threshold"] == decision["threshold"]
    assert rows["most_probable"]["accuracy"]["value"] == summary_of(elsewhere)["image"]["pooled"]["accuracy"]["value"]
    assert {"locked", "refitted"} <= set(rows)


def test_the_report_shows_internal_and_external_scores(elsewhere, run):
    page = (elsewhere / "report.html").read_text()
    internal = json.loads((run / "summary.json").read_text())["image"]["pooled"]["accuracy"]["value"]
    for text in ("Internal and external", f"{internal:.3f}", "Locked: as fitted for the model", "cross-fitted"):
        assert text in page
    assert "Learning curves" not in page
    (row,) = (one for one in summary_of(elsewhere)["evaluation"]["scores"] if one["score"] == "accuracy")
    low, high = (row["difference"][end] for end in ("low", "high"))
    assert f"<td>{low:+.3f} to {high:+.3f}</td>" in page
    assert not any("internal scores say nothing" in text for text in warnings_of(elsewhere))  # both are generated


def test_a_report_written_again_is_the_same(elsewhere):
    before = {name: (elsewhere / name).read_bytes() for name in ("summary.json", "report.html", "decision.json")}
    assert main(["report", str(elsewhere)]) == 0
    assert {name: (elsewhere / name).read_bytes() for name in before} == before
    assert main(["audit", str(elsewhere)]) == 0


def test_changed_copies_of_training_images_are_excluded_and_others_are_not(run, twin, tmp_path):
    folds = pd.read_csv(run / "folds.csv")
    first = folds[folds["fold"] == 0]
    trained = [first[(first["part"] == "train") & (first["label"] == label)]["file_name"].iloc[0] for label in (0, 1)]
    tested = [first[(first["part"] == "test") & (first["label"] == label)]["file_name"].iloc[0] for label in (0, 1)]
    mirrored = copy_images(twin, tmp_path / "a", [*trained, *tested], lambda one: one.transpose(Image.FLIP_LEFT_RIGHT))
    fields = {"dataset": "imagefolder", "data_dir": str(tmp_path / "a")}
    evaluate_model(run, fields, tmp_path / "run")
    excluded = pd.read_csv(tmp_path / "run" / "excluded.csv")
    assert set(excluded["training_image"]) == set(trained)
    assert {mirrored[name] for name in excluded["file_name"]} == set(trained)
    assert set(excluded["kind"]) == {"near copy"}
    assert any("Its internal scores say nothing about real tissue." in text for text in warnings_of(tmp_path / "run"))


def test_exact_copies_are_found_by_their_colours_where_the_images_are_gone(run, twin, tmp_path, monkeypatch):
    monkeypatch.setattr(training_set, "_training_images", lambda *_: (None, "They are gone."))
    folds = pd.read_csv(run / "folds.csv")
    first = folds[folds["fold"] == 0]
    names = [*first[first["part"] == "train"]["file_name"].iloc[:2], *first[first["part"] == "test"]["file_name"]]
    copies = copy_images(twin, tmp_path / "a", names)
    done = evaluate_model(run, {"dataset": "imagefolder", "data_dir": str(tmp_path / "a")}, tmp_path / "run")
    excluded = pd.read_csv(tmp_path / "run" / "excluded.csv")
    assert sorted(copies[name] for name in excluded["file_name"]) == sorted(names[:2])
    assert set(excluded["kind"]) == {"same colours"}
    assert "exact copies only. They are gone." in done.evaluation["training"]["how"]


def test_unknown_training_data_are_stated(write_model, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["evaluate", str(write_model(name="theirs")), *TWIN, "--output_dir", str(folder)]) == 0
    assert (
        "The training data of this model are unknown: leakage was not assessed."
        in (folder / "report.html").read_text()
    )
    summary = summary_of(folder)
    assert summary["evaluation"]["internal"] is None
    assert "unknown" in summary["headline"]["sentence"]
    assert [row["kind"] for row in summary["evaluation"]["decisions"]] == ["most_probable", "refitted"]
    assert "No internal scores of this model are known." in capsys.readouterr().out
    assert main(["audit", str(folder)]) == 2
    assert "training data of its model are unknown" in capsys.readouterr().err


def test_a_model_of_eight_classes_is_evaluated_on_two(write_model, tmp_path):
    """Probabilities of model classes that are one class of the data are added."""
    types = ["A", "F", "PT", "TA", "DC", "LC", "MC", "PC"]
    model = write_model(types, name="eight")
    words = ",".join(f"{name}={'benign' if k < 4 else 'malignant'}" for k, name in enumerate(types))
    two, eight = tmp_path / "two", tmp_path / "eight-run"
    assert main(["evaluate", str(model), *TWIN, "--classes", words, "--output_dir", str(two)]) == 0
    assert main(["evaluate", str(model), *TWIN, "--target", "tumor_type", "--output_dir", str(eight)]) == 0
    all_classes = predictions_of(eight)
    expected = all_classes[[f"prob_{name}" for name in types[4:]]].sum(axis=1)
    np.testing.assert_allclose(predictions_of(two)["prob_malignant"], expected, atol=1e-9)


REFUSED = {
    "other classes": (["--classes", "Normal=benign"], "The model has benign, malignant; the data have no, yes."),
    "not mapped": ([], "the model has no class no, yes"),
    "impossible": (["--classes", "no=grade1,yes=malignant"], "grade1 is a class of neither"),
    "one class": (["--classes", "no=,yes=malignant"], "fewer than two classes of the model are left"),
    "no equals": (["--classes", "no"], "Give NAME=CLASS"),
    "twice": (["--classes", "no=benign,no=malignant"], "--classes has no twice"),
    "target": (["--target", "grade"], "Argument --target"),
    "settings": (["--twin_kwargs", "seed"], "give JSON"),
    "batch": (["--batch_size", "0"], "Give 1 or more"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_evaluated_ends_with_one_line(run, twin, tmp_path, capsys, case):
    flags, words = REFUSED[case]
    names = sorted(path.name for path in twin.rglob("*.png"))[::20]
    copy_images(twin, tmp_path / "a", names)
    (tmp_path / "a" / "metadata.csv").unlink()
    (tmp_path / "a" / "benign").rename(tmp_path / "a" / "no")
    (tmp_path / "a" / "malignant").rename(tmp_path / "a" / "yes")
    data = ["--dataset", "imagefolder", "--data_dir", str(tmp_path / "a")]
    assert main(["evaluate", str(run), *data, *flags, "--output_dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_classes_of_other_names_are_scored_as_mapped(run, twin, tmp_path):
    names = sorted(path.name for path in twin.rglob("*.png"))
    copied = copy_images(twin, tmp_path / "a", names)
    (tmp_path / "a" / "metadata.csv").unlink()
    (tmp_path / "a" / "benign").rename(tmp_path / "a" / "no")
    (tmp_path / "a" / "malignant").rename(tmp_path / "a" / "yes")
    fields = {"dataset": "imagefolder", "data_dir": str(tmp_path / "a")}
    evaluate_model(run, fields, tmp_path / "run", {"no": "benign", "yes": "malignant"})
    table = pd.read_csv(tmp_path / "run" / "fold-0" / "predictions.csv", keep_default_na=False)
    assert 0 < len(table) < len(copied)
    assert (table["label"] == table["file_name"].str.startswith("yes/")).all()
    assert "prob_malignant" in table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"auto_map": {"AutoModel": "code.Model"}}, "code of its own"),
        ({"architectures": ["BertModel"]}, "is no image classifier"),
    ],
)
def test_a_model_that_runs_code_or_is_no_image_classifier_is_refused(write_model, tmp_path, capsys, change, words):
    folder = write_model(name="odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    capsys.readouterr()  # the progress of writing the model
    assert main(["evaluate", str(folder), *TWIN, "--output_dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_trained_and_an_evaluated_run_are_compared(run, of_fold, tmp_path):
    trained = shutil.copytree(run, tmp_path / "trained")  # a comparison summarises it again
    assert main(["compare", str(trained), str(of_fold), "--output_dir", str(tmp_path / "comparison")]) == 0
    (pair,) = json.loads((tmp_path / "comparison" / "comparison.json").read_text())["pairs"]
    assert pair["num_images"] == len(predictions_of(of_fold))
    assert pair["scores"]["accuracy"]["value"] == pytest.approx(0, abs=1e-9)


NEED_WEIGHTS = [
    "predict RUN x.png", "export RUN", "explain RUN", "publish RUN --repo_id a/b", "page RUN DIR", "space RUN DIR",
    "evaluate RUN",
]  # fmt: skip


@pytest.mark.parametrize("words", NEED_WEIGHTS, ids=lambda words: words.split()[0])
def test_a_command_that_needs_weights_names_the_model(elsewhere, run, tmp_path, capsys, words):
    given = {"RUN": str(elsewhere), "DIR": str(tmp_path / "out")}
    assert main([given.get(word, word) for word in words.split()]) == 2
    error = capsys.readouterr().err
    assert f"is an evaluation of {run} and has no model of its own" in error
    assert error.count("\n") == 1


def test_only_an_evaluated_run_is_replaced(elsewhere, run, tmp_path, capsys):
    copied = shutil.copytree(run, tmp_path / "trained")
    assert main(["evaluate", str(run), *OTHER, "--output_dir", str(copied)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (copied / "fold-0" / "model" / "model.safetensors").is_file()


def test_a_card_cites_evaluations_of_its_weights(run, elsewhere, of_fold, tmp_path, capsys):
    publish = ["publish", str(run), "--repo_id", "user/tiny", "--dry_run", "--output_dir", str(tmp_path / "publish")]
    assert main([*publish, "--evaluated", str(elsewhere)]) == 0
    card = (tmp_path / "publish" / "README.md").read_text()
    external = next(row for row in summary_of(elsewhere)["evaluation"]["scores"] if row["score"] == "accuracy")
    assert f"{external['external']['value']:.3f} ({external['external']['low']:.3f} to" in card
    assert f"{external['difference']['value']:+.3f}" in card
    assert "This was not tried" not in card
    assert str(elsewhere) not in card
    for given, line in ((of_fold, "evaluates other weights"), (run, "is not an evaluated run")):
        assert main([*publish, "--evaluated", str(given)]) == 2
        assert line in capsys.readouterr().err
    assert main(publish) == 0
    assert "This was not tried" in (tmp_path / "publish" / "README.md").read_text()


def test_trained_imported_and_evaluated_runs_are_compared_together(run, of_fold, tmp_path, capsys):
    theirs = predictions_of(run)[["file_name", "patient_id", "label", "prob_malignant", "fold"]]
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    assert main(["score", str(tmp_path / "theirs.csv"), "--output_dir", str(tmp_path / "theirs")]) == 0
    capsys.readouterr()
    trained = shutil.copytree(run, tmp_path / "trained")  # a comparison summarises it again
    every = [trained, tmp_path / "theirs", of_fold]
    assert main(["compare", *map(str, every), "--output_dir", str(tmp_path / "c")]) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "c" / "comparison.json").read_text())
    assert [row["name"] for row in found["runs"]] == [folder.name for folder in every]
    for pair in found["pairs"]:
        not_paired = "are generated" in (pair["reason"] or "")
        assert not_paired == ("theirs" in (pair["one"], pair["other"])), "names say nothing about generated images"
    assert all(folder.name in out for folder in every)
