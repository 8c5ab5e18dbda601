"""Predictions away from the run are those of the run, from every form of input, and faults spoil nothing else."""

import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import softmax
from transformers import pipeline

from hf_breakhis.cli import main
from hf_breakhis.metrics.functions.recognition_rate import recognition_rate
from hf_breakhis.run import Run


@pytest.fixture
def predict(tmp_path, capsys):
    """Run the command; return exit code, table (None if nothing was written) and what stood on standard error."""

    def call(*arguments):
        output = tmp_path / "scores.csv"
        output.unlink(missing_ok=True)
        code = main(["predict", *map(str, arguments), "--output", str(output)])
        printed = capsys.readouterr()
        assert printed.out == ""
        table = pd.read_csv(output, keep_default_na=False) if output.is_file() else None
        if table is not None:
            table["file_name"] = table["path"].str.rpartition("/")[2]
        return code, table, printed.err

    return call


def test_scores_are_those_of_the_run(run, twin, predict):
    code, table, err = predict(run, twin)
    assert code == 0
    of_run = pd.read_csv(run / "fold-0" / "predictions.csv")
    both = of_run.merge(table, on="file_name", suffixes=("", "_now"), validate="one_to_one")
    assert len(both) == len(of_run) > 30
    for name in ("benign", "malignant"):
        np.testing.assert_allclose(both[f"prob_{name}_now"], both[f"prob_{name}"], atol=1e-5, rtol=0)
    assert (both["predicted_now"] == both["predicted"].map({0: "benign", 1: "malignant"})).all()
    for name in ("patient_id", "specimen_id", "magnification"):
        assert (both[f"{name}_now"] == both[name]).all()
    assert (both["label_now"] == both["label"].map({0: "benign", 1: "malignant"})).all()

    decision = json.loads((run / "decision.json").read_text())
    logits = both[["logit_benign", "logit_malignant"]].to_numpy()
    calibrated = softmax(logits / decision["temperature"], axis=1)
    np.testing.assert_allclose(both[["calibrated_benign", "calibrated_malignant"]], calibrated, atol=1e-5, rtol=0)
    sure = np.abs(calibrated[:, 1] - decision["threshold"]) > 1e-5
    expected = np.where(calibrated[:, 1] >= decision["threshold"], "malignant", "benign")
    assert (both["decision"] == expected)[sure].all()

    folds = pd.read_csv(run / "folds.csv")
    trained = set(folds[(folds["fold"] == 0) & (folds["part"] == "train")]["file_name"])
    assert set(table[table["seen_in_training"]]["file_name"]) == trained
    scores = recognition_rate(of_run["label"], of_run["predicted"], of_run["patient_id"])
    patients = of_run["patient_id"].nunique()
    assert f"recognition rate {scores['recognition_rate']:.4f} of {patients} patients" in err
    assert "TRAINED" in err
    assert err.splitlines()[0] == "Research software: not for diagnosis."


def test_another_fold_gives_other_scores(run, twin, predict):
    first, second = (predict(run, twin, "--fold", fold)[1] for fold in (0, 1))
    of_run = pd.read_csv(run / "fold-1" / "predictions.csv")
    both = of_run.merge(second, on="file_name", suffixes=("", "_now"))
    np.testing.assert_allclose(both["prob_malignant_now"], both["prob_malignant"], atol=1e-5, rtol=0)
    assert np.abs(first["prob_malignant"] - second["prob_malignant"]).max() > 1e-3


@pytest.mark.parametrize("own", [True, False], ids=["our processor", "a wrong processor"])
def test_scores_are_those_of_the_pipeline(write_model, twin, predict, own):
    folder = write_model()
    right = predict(folder, twin)[1]
    if not own:
        about = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").write_text(json.dumps(about | {"image_std": [0.5, 0.5, 0.5]}))
    table = predict(folder, twin)[1]
    score = pipeline("image-classification", model=str(folder), device="cpu")
    for row in table.iloc[::9].to_dict("records"):
        shown = {one["label"]: one["score"] for one in score(row["path"])}
        assert row["prob_malignant"] == pytest.approx(shown["malignant"], abs=1e-5)
    difference = np.abs(table["prob_malignant"] - right["prob_malignant"]).max()
    assert (difference < 1e-7) if own else (difference > 1e-3)


@pytest.mark.parametrize("form", ["folder", "pattern", "files", "zip", "tar.gz", "parquet"])
def test_every_form_gives_the_same_scores(write_model, twin, predict, tmp_path, form):
    folder = write_model()
    files = sorted(twin.rglob("*-100-*.png"))[:7]
    small = tmp_path / "small"
    for i, path in enumerate(files):
        (small / str(i % 2)).mkdir(parents=True, exist_ok=True)
        (small / str(i % 2) / path.name).write_bytes(path.read_bytes())
    given = [tmp_path / f"images.{form}"]
    if form == "folder":
        given = [small]
    elif form == "pattern":
        given = [small / "**" / "*.png"]
    elif form == "files":
        given = sorted(small.rglob("*.png"))
    elif form == "zip":
        with zipfile.ZipFile(given[0], "w") as archive:
            for path in files:
                archive.write(path, f"deep/{path.name}")
    elif form == "tar.gz":
        with tarfile.open(given[0], "w:gz") as archive:
            for path in files:
                archive.add(path, f"deep/{path.name}")
    else:
        rows = {"image": [{"bytes": path.read_bytes(), "path": None} for path in files]}
        pd.DataFrame(rows | {"file_name": [path.name for path in files]}).to_parquet(given[0])
    code, table, err = predict(folder, *given, "--batch_size", 3)
    assert code == 0, err
    expected = predict(folder, *files)[1]
    both = expected.merge(table, on="file_name", validate="one_to_one")
    assert len(both) == len(table) == 7
    np.testing.assert_allclose(both["prob_malignant_x"], both["prob_malignant_y"], atol=1e-6, rtol=0)
    assert (both["patient_id_x"] == both["patient_id_y"]).all()
    assert (both["patient_id_x"] != "").all()


def test_unreadable_images_are_listed_and_the_others_scored(write_model, twin, predict, tmp_path):
    good = sorted(twin.rglob("*.png"))[0].read_bytes()
    folder = tmp_path / "mixed"
    folder.mkdir()
    grey = io.BytesIO()
    Image.new("L", (40, 40)).save(grey, "PNG")
    bomb = good[:16] + (60_000).to_bytes(4, "big") * 2 + good[24:]
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    bad = {"cut": good[: len(good) // 2], "empty": b"", "grey": grey.getvalue(), "bomb": bomb, "program": program}
    for name, content in bad.items():
        (folder / f"{name}.png").write_bytes(content)
    for name in ("a", "z"):
        (folder / f"{name}.png").write_bytes(good)
    (folder / "notes.txt").write_text("no image")
    code, table, err = predict(write_model(), folder)
    assert code == 1
    assert list(table["file_name"]) == ["a.png", "z.png"]
    listed = err[err.index("5 could not be read:") :]
    for name in bad:
        assert f"{name}.png: " in listed
    assert "is grey, not RGB" in listed
    assert "not used, since no images: 1 file" in err
    assert "is far too large" in listed
    assert "notes" not in listed


def test_a_cut_archive_is_scored_as_far_as_it_goes(write_model, twin, predict, tmp_path):
    path = tmp_path / "images.tar"
    with tarfile.open(path, "w") as archive:
        for file in sorted(twin.rglob("*.png"))[:6]:
            archive.add(file, file.name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    whole = sorted(twin.rglob("*.png"))[10]
    code, table, err = predict(write_model(), path, whole)
    assert code == 1
    assert whole.name in set(table["file_name"])
    assert "images.tar: " in err
    assert "cut short" in err


def test_json_lines_read_back_with_null_for_the_unknown(write_model, draw_png, tmp_path, capsys):
    draw_png(tmp_path / "any.png")
    assert main(["predict", str(write_model()), str(tmp_path / "any.png"), "--format", "jsonl"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert row["prob_benign"] + row["prob_malignant"] == pytest.approx(1)
    assert row["patient_id"] is None
    assert row["label"] is None


def test_broken_weights_leave_what_stood_there(write_model, draw_png, tmp_path, capsys):
    import torch
    from safetensors.torch import load_file, save_file

    folder, output = write_model(), tmp_path / "scores.csv"
    weights = load_file(folder / "model.safetensors")
    weights["classifier.1.weight"] = torch.full_like(weights["classifier.1.weight"], float("nan"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    output.write_text("before")
    draw_png(tmp_path / "any.png")
    assert main(["predict", str(folder), str(tmp_path / "any.png"), "--output", str(output)]) == 2
    assert "not finite" in capsys.readouterr().err
    assert output.read_text() == "before"
    assert not list(tmp_path.glob(".scores*"))


def test_labels_of_unknown_patients_give_accuracy_and_a_word_of_caution(write_model, draw_png, predict, tmp_path):
    content = draw_png(tmp_path / "any.png").read_bytes()
    rows = {"image": [{"bytes": content, "path": None}], "label": ["malignant"]}
    pd.DataFrame(rows).to_parquet(tmp_path / "one.parquet")
    code, table, err = predict(write_model(), tmp_path / "one.parquet")
    assert code == 0
    right = table["predicted"][0] == "malignant"
    assert f"accuracy {float(right):.4f} of 1 image (no recognition rate" in err
    assert "not known here" in err


def test_images_of_specimens_that_were_trained_on_are_counted(copied_with_image_split, twin, predict):
    """Fold 0 of the copy was trained on all but one image, whose specimen has others."""
    run, name = copied_with_image_split
    code, table, err = predict(run, twin)
    assert code == 0
    assert list(table[~table["seen_in_training"]]["file_name"]) == [name]
    assert "not in the training set, but of specimens in it: 1 image;" in err


@pytest.fixture
def copied_with_image_split(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "by-image")
    folds = pd.read_csv(copied / "folds.csv").query("fold == 0")
    several = folds["specimen_id"].duplicated(keep=False)
    name = folds[several]["file_name"].iloc[0]
    folds["part"] = np.where(folds["file_name"] == name, "test", "train")
    folds.to_csv(copied / "folds.csv", index=False)
    Run(copied).seal()
    return copied, name


def test_whoever_reads_may_stop_early(run, twin, tmp_path, start_python):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start_python("-m", "hf_breakhis", "predict", run, twin, "--batch_size", "1", pipe=pipe)
    with pipe.open() as reader:
        header, row = next(reader), next(reader)
    assert header.startswith("path,")
    assert row.startswith(str(twin))
    _, err = process.communicate(120)
    assert process.returncode == 141  # as after SIGPIPE; 1 would say that some images could not be read
    assert "could not be read" not in err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_a_real_image_with_the_name_of_a_generated_one_was_not_trained_on(run, twin, predict, tmp_path):
    """The twin has the names of BreakHis; only a picture that this package drew is the one of that name."""
    folds = pd.read_csv(run / "folds.csv")
    name = folds[(folds["fold"] == 0) & (folds["part"] == "train")]["file_name"].iloc[0]
    (drawn,) = Path(twin).rglob(name)
    Image.open(drawn).convert("RGB").save(tmp_path / name)  # the pixels without the mark in the file
    code, table, err = predict(run, tmp_path / name)
    assert code == 0
    assert list(table["seen_in_training"]) == [""]
    assert "TRAINED" not in err
    assert "is unknown: the run has generated images; these have other names, or no mark of a generated image" in err
    code, table, err = predict(run, drawn)
    assert code == 0
    assert table["seen_in_training"].all()
    assert "TRAINED" in err


def test_an_image_whose_name_the_run_does_not_list_may_be_a_copy_of_one(run, twin, predict, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    recipe = copied / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("dataset: twin", "dataset: imagefolder"))
    Run(copied).seal()
    image = shutil.copy(next(Path(twin).rglob("*.png")), tmp_path / "renamed.png")
    code, table, err = predict(copied, image)
    assert code == 0
    assert list(table["seen_in_training"]) == [""]
    assert "whether the model was trained on 1 image is unknown: the run lists no image of that name\n" in err
