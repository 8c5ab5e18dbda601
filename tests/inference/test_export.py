"""An exported model says what torch says, and what its smaller forms change is measured on images it never saw."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score
from transformers import SwinConfig, SwinForImageClassification, pipeline

from hf_breakhis.cli import main
from hf_breakhis.data.pixels.transforms import image_processor
from hf_breakhis.files import InputError, read_json
from hf_breakhis.inference import export as module
from hf_breakhis.inference.fold_images import FoldImages
from hf_breakhis.inference.model import find_model

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
ort = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of onnx and onnxscript, about themselves


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    return shutil.copytree(trained_run, tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="module")
def exported(run):
    """The folder with all three forms, written by the command."""
    assert main(["export", str(run), "--fold", "1", "--fp16", "--int8"]) == 0
    return run / "fold-1" / "onnx"


def ask(path, frames):
    return ort.InferenceSession(path).run(["probabilities"], {"image": frames})[0]


def test_probabilities_are_those_of_the_pipeline_on_frames_of_breakhis(run, exported):
    """An independent way: transformers' own pipeline on a Pillow image."""
    classify = pipeline("image-classification", model=str(run / "fold-1" / "model"), device="cpu")
    frames = np.random.default_rng(3).integers(0, 256, (2, 460, 700, 3), dtype=np.uint8)
    frames[1] //= 3
    for frame, row in zip(frames, ask(exported / "model.onnx", frames), strict=True):
        shown = {answer["label"]: answer["score"] for answer in classify(Image.fromarray(frame))}
        assert row[1] == pytest.approx(shown["malignant"], abs=1e-4)


def test_a_batch_of_any_length_and_frames_of_any_size_are_taken(exported):
    for shape in ((1, 20, 90, 3), (5, 46, 70, 3)):
        assert ask(exported / "model.onnx", np.zeros(shape, np.uint8)).shape == (shape[0], 2)


def test_scores_are_those_of_the_test_part(run, exported):
    about = read_json(exported / "export.json")
    table = pd.read_csv(run / "fold-1" / "predictions.csv")
    test = table[table["part"] == "test"]
    assert about["scored_on"] == "test set of fold 1"
    assert about["files"]["model.onnx"]["num_images"] == len(test)
    assert about["files"]["model.onnx"]["accuracy"] == pytest.approx(accuracy_score(test["label"], test["predicted"]))
    weights = find_model(run, "1")
    images = FoldImages(weights)
    rows = images.rows_named(test["file_name"])
    found = module.probabilities((exported / "model.onnx").read_bytes(), images, rows)
    np.testing.assert_allclose(found[:, 1], test["prob_malignant"], atol=1e-4)


def test_smaller_forms_are_smaller_and_their_change_is_told(exported):
    content = read_json(exported / "export.json")["files"]
    frame = np.random.default_rng(3).integers(0, 256, (1, 460, 700, 3), dtype=np.uint8)
    start = ask(exported / "model.onnx", frame)
    for name, apart in (("model_fp16.onnx", 0.02), ("model_int8.onnx", 0.2)):
        assert np.abs(ask(exported / name, frame) - start).max() < apart
        assert content[name]["against_fp32"].keys() >= {"accuracy", "largest_difference", "other_class"}
        assert content[name]["bytes"] == (exported / name).stat().st_size
    assert content["model_int8.onnx"]["against_fp32"]["largest_difference"] > 0


def test_calibration_images_are_of_the_training_part(run):
    images = FoldImages(find_model(run, "0"))
    assert set(images.rows("train")).isdisjoint(images.rows("test"))
    rows = module._spread(images.rows("train"), 5)
    assert len(rows) == 5
    assert set(rows) <= set(images.rows("train"))


def test_a_file_that_says_something_else_is_noticed(run, exported):
    """If this stops holding, the parity that export checks proves nothing."""
    model = module.Logits(module.load_networks(find_model(run, "1")))
    content = (exported / "model.onnx").read_bytes()
    assert module.parity(model, 32, content) < 1e-4
    with torch.no_grad():
        model.classifiers[0].classifier[-1].bias += torch.tensor([0.0, 0.1])
    assert module.parity(model, 32, content) > 1e-3


def test_a_model_alone_is_exported_without_scores(run, tmp_path):
    model = shutil.copytree(run / "fold-0" / "model", tmp_path / "model")
    assert main(["export", str(model), "--output_dir", str(tmp_path / "onnx")]) == 0
    content = read_json(tmp_path / "onnx" / "export.json")
    assert content["scored_on"] is None
    assert "accuracy" not in content["files"]["model.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "There is no nowhere; give a run"),
        (["{run}", "--fold", "7"], "has weights of 0, 1 only"),
        (["{run}", "--fold", "refit"], "train --fold refit"),
        (["{run}", "--fold", "one"], "number of a fold, or refit"),
        (["{model}", "--int8"], "Give a run and the number of a fold"),
    ],
)
def test_what_cannot_be_exported_is_hub_errors_in_one_line(run, arguments, message, tmp_path, capsys):
    model = shutil.copytree(run / "fold-0" / "model", tmp_path / "model")
    assert main(["export", *(argument.format(run=run, model=model) for argument in arguments)]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_code_of_a_model_folder_is_never_run(run, tmp_path):
    folder = shutil.copytree(run / "fold-0" / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="which is never run"):
        module.load_networks(find_model(folder))


def test_an_unfinished_run_is_refused(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "finished.json").unlink()
    with pytest.raises(InputError, match="is not finished"):
        find_model(copy)


def test_a_missing_extra_says_how_to_install_it(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    assert main(["export", str(run), "--output_dir", str(tmp_path / "onnx")]) == 2
    assert "pip install 'hf-breakhis[onnx]'" in capsys.readouterr().err


@pytest.fixture
def swin(tmp_path):
    torch.manual_seed(0)
    config = SwinConfig(
        image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4,
        id2label={0: "benign", 1: "malignant"}, label2id={"benign": 0, "malignant": 1},
    )  # fmt: skip
    model = SwinForImageClassification(config)
    torch.nn.init.normal_(model.classifier.weight)  # else all images get nearly the same score
    model.save_pretrained(tmp_path / "swin")
    image_processor(32).save_pretrained(tmp_path / "swin")
    return tmp_path / "swin"


def test_a_swin_is_exported_and_says_what_torch_says(swin):
    assert main(["export", str(swin)]) == 0
    frames = np.random.default_rng(3).integers(0, 256, (2, 46, 70, 3), dtype=np.uint8)
    frames[1] //= 3
    found = ask(swin / "onnx" / "model.onnx", frames)
    classify = pipeline("image-classification", model=str(swin), device="cpu")
    for frame, row in zip(frames, found, strict=True):
        shown = {answer["label"]: answer["score"] for answer in classify(Image.fromarray(frame))}
        assert row[1] == pytest.approx(shown["malignant"], abs=1e-4)
    assert abs(found[0, 1] - found[1, 1]) > 1e-3


@pytest.mark.usefixtures("few_figures")
def test_a_run_with_a_swin_has_an_export_and_a_page(swin, run_fields, tmp_path):
    """Trained by the command; the export and the page say what `predict` says of the same images."""
    fields = run_fields | {"model_name_or_path": str(swin), "model_kwargs": None, "init": "pretrained"}
    fields |= {"num_train_epochs": 1, "learning_rate": 0.001, "output_dir": str(tmp_path / "run")}
    (tmp_path / "r.yaml").write_text(json.dumps(fields))
    assert main(["train", str(tmp_path / "r.yaml")]) == 0
    assert main(["export", str(tmp_path / "run")]) == 0
    assert main(["page", str(tmp_path / "run"), str(tmp_path / "page")]) == 0
    images = sorted((tmp_path / "run" / "fold-0" / "examples").glob("*.png"))[:4]
    tables = {}
    for backend in ("torch", "onnx"):
        output = ["--output", str(tmp_path / f"{backend}.csv"), "--backend", backend]
        assert main(["predict", str(tmp_path / "run"), *map(str, images), *output]) == 0
        tables[backend] = pd.read_csv(tmp_path / f"{backend}.csv")["prob_malignant"]
    frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])
    tables["page"] = ask(tmp_path / "page" / "model.onnx", frames)[:, 1]
    assert np.ptp(tables["torch"]) > 1e-3
    for backend in ("onnx", "page"):
        np.testing.assert_allclose(tables[backend], tables["torch"], atol=1e-4)


def test_a_network_that_cannot_be_converted_is_one_line(swin, monkeypatch, capsys):
    def fail(*given, **named):
        raise RuntimeError("a report\nof many lines") from ValueError("Cannot view\na tensor")

    monkeypatch.setattr(torch.onnx, "export", fail)
    assert main(["export", str(swin)]) == 2
    error = capsys.readouterr().err
    assert "cannot convert this SwinForImageClassification (Cannot view a tensor)" in error
    assert error.count("\n") == 1
    assert not (swin / "onnx").exists()
