"""A head on feature vectors: from `embed` to a report, with and without images."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.utils import logging

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.summary import summarise
from hf_breakhis.training.crossval import cross_validate

pytestmark = pytest.mark.usefixtures("small_reports")

TWIN = {"scale": 0.02, "width": 70, "height": 46}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3)
    folder = tmp_path_factory.mktemp("backbone")
    ResNetForImageClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vectors(backbone, tmp_path_factory):
    """The vectors of a small twin, written by the command, and the folder of its images."""
    folder = tmp_path_factory.mktemp("vectors")
    assert main(["data", "twin", str(folder / "twin"), "--scale", "0.02", "--width", "70", "--height", "46"]) == 0
    command = ["embed", str(backbone), str(folder / "twin"), "--output", str(folder / "v.parquet")]
    assert main([*command, "--image_size", "32"]) == 0
    return folder / "v.parquet", folder / "twin"


def test_embed_shows_no_progress_bar_where_no_terminal_is(backbone, vectors, tmp_path, capsys):
    logging.enable_progress_bar()
    command = ["embed", str(backbone), str(vectors[1]), "--output", str(tmp_path / "v.csv"), "--image_size", "32"]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("vectors: ")
    assert "%" not in shown.err


def fields(vectors, run, **more):
    return {
        "features": [str(vectors)], "split_by": "specimen", "num_folds": 2, "num_train_epochs": 3, "batch_size": 32,
        "optimizer_name": "adamw", "learning_rate": 0.01, "use_cpu": True, "bf16": False, "disable_tqdm": True,
        "output_dir": str(run), **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(vectors, tmp_path_factory):
    """A run that never sees an image."""
    folder = tmp_path_factory.mktemp("run") / "run"
    recipe = folder.parent / "recipe.yaml"
    recipe.write_text(json.dumps(fields(vectors[0], folder)))
    assert main(["train", str(recipe)]) == 0
    return folder


def test_a_run_without_images_has_scores_a_report_and_no_colors(run):
    summary = json.loads((run / "summary.json").read_text())
    assert summary["baselines"]["mean_color"] is None
    assert summary["baselines"]["majority"]["accuracy"] > 0.5
    assert summary["headline"]["sentence"]
    assert any("known by their feature vectors only (v.parquet)" in one["text"] for one in summary["warnings"])
    assert (run / "report.html").is_file()


def test_it_is_standardized_on_the_training_set(run, vectors):
    table = pd.read_parquet(vectors[0]).set_index("file_name")
    folds = pd.read_csv(run / "folds.csv")
    saved = load_file(run / "fold-1" / "model" / "model.safetensors")
    part = folds[(folds["fold"] == 1) & (folds["part"] == "train")]["file_name"]
    np.testing.assert_allclose(saved["mean"], table.loc[part].mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(saved["sd"], table.loc[part].std(ddof=0), rtol=1e-4, atol=1e-6)


def test_predictions_are_a_linear_layer_on_the_vectors(run, vectors):
    """Computed again without the package."""
    table = pd.read_parquet(vectors[0]).set_index("file_name")
    saved = {name: value.numpy() for name, value in load_file(run / "fold-0" / "model" / "model.safetensors").items()}
    predictions = pd.read_csv(run / "fold-0" / "predictions.csv")
    standard = (table.loc[predictions["file_name"]].to_numpy() - saved["mean"]) / saved["sd"]
    logits = standard @ saved["classifier.weight"].T + saved["classifier.bias"]
    np.testing.assert_allclose(predictions[["logit_benign", "logit_malignant"]], logits, atol=1e-4)


def test_the_audit_says_that_copies_were_not_searched(run, capsys):
    assert main(["audit", str(run)]) == 0
    assert "feature vectors only" in capsys.readouterr().out


def test_a_run_without_some_vectors_is_audited_with_signature(vectors, tmp_path, capsys):
    table = pd.read_parquet(vectors[0])
    table[5:].to_parquet(tmp_path / "fewer.parquet", index=False)
    recipe = build_recipe(fields(tmp_path / "fewer.parquet", tmp_path / "run", allow_missing=True,
                                 dataset="twin", twin_kwargs=TWIN, data_dir=str(vectors[1])), {})  # fmt: skip
    cross_validate(recipe)
    summarise(tmp_path / "run")
    assert main(["audit", str(tmp_path / "run"), "--signature"]) == 0
    assert f"{len(table) - 5:,}" in capsys.readouterr().out


def test_predict_with_such_a_run_is_one_line(run, vectors, capsys):
    assert main(["predict", str(run), str(vectors[1])]) == 2
    assert "is no image classifier" in capsys.readouterr().err.splitlines()[-1]


def test_embed_of_such_a_run_is_one_line(run, vectors, tmp_path, capsys):
    assert main(["embed", str(run), str(vectors[1]), "--output", str(tmp_path / "v.csv")]) == 2
    error = capsys.readouterr().err
    assert "was trained on feature vectors and has no network for images. Give the encoder." in error
    assert error.count("\n") == 1


def test_an_absent_encoder_is_one_line_without_options_of_training(vectors, tmp_path, capsys):
    assert main(["embed", "/nowhere/model", str(vectors[1]), "--output", str(tmp_path / "v.csv")]) == 2
    error = capsys.readouterr().err
    assert "Cannot load `/nowhere/model`" in error
    assert error.endswith("Give the folder of a local model, or check the connection.\n")
    assert error.count("\n") == 1


def test_other_vectors_under_the_same_names_are_refused(vectors, tmp_path):
    table = pd.read_parquet(vectors[0])
    table.to_parquet(tmp_path / "v.parquet", index=False)
    recipe = build_recipe(fields(tmp_path / "v.parquet", tmp_path / "run", fold="0"), {})
    cross_validate(recipe)
    table["feature_0"] += 1
    table.to_parquet(tmp_path / "v.parquet", index=False)
    recipe = build_recipe(fields(tmp_path / "v.parquet", tmp_path / "run", fold="1"), {})
    with pytest.raises(InputError, match="contains a run on other feature vectors"):
        cross_validate(recipe)


def test_with_images_the_color_baseline_and_the_examples_are_there(vectors, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    more = {"dataset": "twin", "twin_kwargs": TWIN, "data_dir": str(vectors[1])}
    recipe.write_text(json.dumps(fields(vectors[0], tmp_path / "run", **more)))
    assert main(["train", str(recipe)]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["baselines"]["mean_color"]["accuracy"] > 0
    assert list((tmp_path / "run" / "fold-0" / "examples").glob("*.png"))


def test_embedded_vectors_are_the_input_of_the_head(backbone, vectors):
    from hf_breakhis.data.pixels.transforms import normalize, read_rgb, resize

    table = pd.read_parquet(vectors[0])
    model = ResNetForImageClassification.from_pretrained(backbone).eval()
    for row in (0, len(table) - 1):
        path = next(vectors[1].rglob(table["file_name"][row]))
        with torch.inference_mode():
            pooled = model.resnet(normalize(resize(read_rgb(path), 32))[None]).pooler_output.flatten()
        np.testing.assert_allclose(table.iloc[row, 1:].to_numpy(dtype=float), pooled, atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "v.txt"], "has to end in .parquet or .csv"),
        (["--output", "v.csv", "--crop", "middle"], "`crop` is 'middle', but has to be one of none, center"),
        (["--output", "v.csv", "--image_size", "1"], "image_size"),
    ],
)
def test_wrong_words_of_embed_are_one_line(backbone, vectors, capsys, words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["embed", str(backbone), str(vectors[1]), *words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert list(tmp_path.iterdir()) == []
