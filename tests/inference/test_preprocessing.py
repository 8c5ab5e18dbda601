"""The preprocessing of a backbone is the same in training, predict, pipeline, ONNX and Space."""

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from transformers import AutoImageProcessor, ResNetConfig, ResNetForImageClassification, ViTImageProcessor, pipeline

from hf_breakhis.arguments import DataArguments, ModelArguments
from hf_breakhis.data import open_image
from hf_breakhis.data.pixels.cache import cache_path, describe_cache
from hf_breakhis.data.pixels.preprocessing import MEAN, SD, Preprocessing, image_processor, read_processor
from hf_breakhis.data.pixels.transforms import resize
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError
from hf_breakhis.hub.templates import card_text
from hf_breakhis.inference import heatmap
from hf_breakhis.inference.export import export_model
from hf_breakhis.inference.fold_images import FoldImages
from hf_breakhis.inference.model import find_model, saved_preprocessing
from hf_breakhis.inference.predict import predict_images
from hf_breakhis.recipe import build_recipe, load_recipe
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.modeling import preprocessing_of

HALF = (0.5, 0.5, 0.5)
FRAMES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 47, 70), dtype=np.uint8))


def save_backbone(folder, **processor):
    """Write a small network as if pretrained, with a processor of its own."""
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3)
    ResNetForImageClassification(config).save_pretrained(folder)
    if processor:
        ViTImageProcessor(**processor).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=["frozen", "trained"])
def run(request, tmp_path_factory, run_fields):
    """A run of a backbone with mean and standard deviation .5, bicubic, with a center crop."""
    folder = tmp_path_factory.mktemp("half")
    backbone = save_backbone(folder / "backbone", image_mean=list(HALF), image_std=list(HALF), resample=3)
    fields = run_fields | {
        "init": "pretrained", "model_kwargs": None, "model_name_or_path": backbone, "crop": "center",
        "interpolation": "backbone", "freeze_backbone": request.param == "frozen", "num_train_epochs": 1,
        "output_dir": str(folder / "run"),
    }  # fmt: skip
    cross_validate(build_recipe(fields, {}))
    return folder / "run"


@pytest.fixture
def images(run):
    """The rows of predictions.csv of fold 0, the images and their paths."""
    table = pd.read_csv(run / "fold-0" / "predictions.csv").iloc[:8]
    location = Path(json.loads((run / "data.json").read_text())["location"])
    return table, [next(location.rglob(name)) for name in table["file_name"]]


def test_what_is_saved_is_what_the_backbone_has(run):
    expected = Preprocessing(32, "center", "bicubic", HALF, HALF)
    assert saved_preprocessing(find_model(run)) == expected


def test_predict_is_predictions_csv(run, images):
    table, paths = images
    found = predict_images(run, paths).set_index("path").loc[[str(path) for path in paths]]
    np.testing.assert_allclose(found["prob_malignant"], table["prob_malignant"], atol=1e-5)


def test_pipeline_is_predictions_csv(run, images):
    table, paths = images
    classify = pipeline("image-classification", str(run / "fold-0" / "model"), top_k=None)
    answers = [{one["label"]: one["score"] for one in classify(Image.open(path))} for path in paths]
    np.testing.assert_allclose([one["malignant"] for one in answers], table["prob_malignant"], atol=1e-5)


def test_another_normalization_is_not_predictions_csv(run, images):
    """The negative control: ImageNet's values give other scores."""
    table, paths = images
    processor = image_processor(Preprocessing(32, "center", "bicubic"))
    classify = pipeline("image-classification", str(run / "fold-0" / "model"), top_k=None, image_processor=processor)
    answers = [{one["label"]: one["score"] for one in classify(Image.open(path))} for path in paths]
    assert np.abs([one["malignant"] for one in answers] - table["prob_malignant"]).max() > 1e-4


def test_onnx_and_the_page_are_predictions_csv(run, images, tmp_path):
    """The page runs this file in the browser; it has no other preprocessing."""
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    table, paths = images
    export_model(find_model(run), tmp_path / "onnx", score=False)
    session = ort.InferenceSession(tmp_path / "onnx" / "model.onnx")
    frames = [np.asarray(Image.open(path))[None] for path in paths]
    found = [session.run(["probabilities"], {"image": frame})[0][0, 1] for frame in frames]
    np.testing.assert_allclose(found, table["prob_malignant"], atol=1e-5)


def test_explain_sees_the_pixels_of_the_pipeline(run, images):
    table, paths = images
    ours = FoldImages(find_model(run))
    processor = AutoImageProcessor.from_pretrained(run / "fold-0" / "model")
    for name, path in zip(table["file_name"], paths, strict=True):
        values = ours.normalized(ours.pixels.take(ours.rows_named([name])))
        expected = processor(Image.open(path), return_tensors="pt")["pixel_values"]
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_space_is_predictions_csv(run, images, monkeypatch, tmp_path):
    table, paths = images
    app = _load_app(run, tmp_path, monkeypatch)
    for path, expected in zip(paths, table["prob_malignant"], strict=True):
        _, probabilities, _, heat = app["answer"](str(path), "Occlusion")
        assert probabilities["malignant"] == pytest.approx(expected, abs=1e-5)
        assert heat.size[0] == heat.size[1], "only the central square was seen"


def _load_app(run, folder, monkeypatch):
    shutil.copytree(run / "fold-0" / "model", folder / "model")
    facts = {
        "labels": ["benign", "malignant"], "positive": "malignant", "threshold": None, "temperature": None,
        "tta": "none",
    }  # fmt: skip
    (folder / "facts.json").write_text(json.dumps(facts))
    (folder / "app.py").write_text(card_text("space/app.py"))
    return run_app(folder, monkeypatch)


def run_app(folder, monkeypatch):
    """Run an app without gradio, which its answers do not need, and return what it defines."""
    gradio = types.SimpleNamespace(Error=RuntimeError, Blocks=object)
    for name, module in {"gradio": gradio, "heatmap": heatmap, "open_image": open_image}.items():
        monkeypatch.setitem(sys.modules, name, module)
    scope = {"__file__": str(folder / "app.py"), "__name__": "app"}
    exec(compile((folder / "app.py").read_text(), "app.py", "exec"), scope)  # noqa: S102
    return scope


def preprocessing(network, **data):
    return preprocessing_of(DataArguments(**data), ModelArguments(model_name_or_path=network))


def test_values_come_from_the_processor_or_from_timm(tmp_path):
    own = {"image_mean": [0.7, 0.5, 0.6], "image_std": [0.2, 0.3, 0.1]}
    backbone = save_backbone(tmp_path / "own", **own)
    assert preprocessing(backbone).mean == (0.7, 0.5, 0.6)
    assert preprocessing(backbone).sd == (0.2, 0.3, 0.1)
    assert preprocessing(backbone, normalization="imagenet") == Preprocessing(224)
    timm = {"mean": list(HALF), "std": [0.25] * 3, "interpolation": "bicubic"}
    (tmp_path / "own" / "preprocessor_config.json").unlink()
    path = tmp_path / "own" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pretrained_cfg": timm}))
    found = preprocessing(backbone, interpolation="backbone")
    assert found == Preprocessing(224, "none", "bicubic", HALF, (0.25, 0.25, 0.25))


def test_without_a_processor_or_with_random_weights_the_values_are_those_of_imagenet(tmp_path):
    assert preprocessing(save_backbone(tmp_path / "plain")) == Preprocessing(224, mean=MEAN, sd=SD)
    assert preprocessing_of(DataArguments(), ModelArguments(init="random")) == Preprocessing(224)


@pytest.mark.parametrize(
    ("processor", "remedy"),
    [
        ({"do_rescale": False}, "Set `normalization` to imagenet."),
        ({"rescale_factor": 1 / 127.5}, "Set `normalization` to imagenet."),
        ({"image_std": [0.0, 1.0, 1.0]}, "Set `normalization` to imagenet."),
        ({"resample": 1}, "Set `interpolation` to one of them."),
    ],
)
def test_another_preprocessing_is_refused_with_one_line(tmp_path, processor, remedy):
    backbone = save_backbone(tmp_path / "odd", **{"image_mean": list(HALF), **processor})
    with pytest.raises(InputError) as refused:
        preprocessing(backbone, interpolation="backbone")
    assert str(refused.value).endswith(remedy)
    assert "\n" not in str(refused.value)


def test_runs_before_the_field_and_recipes_of_the_paper_keep_imagenet(tmp_path, trained_run):
    recipe = load_recipe(trained_run / "recipe.yaml")
    assert recipe["normalization"] == "backbone"
    text = (trained_run / "recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(text.replace("normalization: backbone\n", ""))
    assert load_recipe(tmp_path / "recipe.yaml")["normalization"] == "imagenet"
    for name in ("c1", "c2", "c3", "c3_tuned", "as_published/c1", "as_published/c2", "as_published/c3"):
        assert load_recipe(name)["normalization"] == "imagenet"


def test_the_cache_of_pixels_depends_on_crop_and_interpolation_only(small_breakhis, data_args):
    dataset = load_images(data_args(small_breakhis)).dataset

    def place(how):
        return cache_path(describe_cache(dataset, how, "manifest"))

    plain = place(32)
    assert place(Preprocessing(32, mean=HALF)) == plain, "normalized after it is read"
    others = [Preprocessing(32, "center"), Preprocessing(32, "none", "bicubic"), Preprocessing(33)]
    assert len({plain, *map(place, others)}) == 4


@pytest.mark.parametrize("side", [16, 31, 32])
def test_the_crop_is_that_of_eva(side):
    """Resize and CenterCrop of torchvision, as in eva's ResizeAndCrop, where half pixels do not occur."""
    v2 = torchvision.transforms.v2
    theirs = v2.Compose([v2.Resize(side), v2.CenterCrop(side)])(FRAMES)
    long = int(side * 70 / 47)
    if (long - side) % 2 == 0:
        assert torch.equal(resize(FRAMES, Preprocessing(side, "center")), theirs)
    else:
        assert resize(FRAMES, Preprocessing(side, "center")).shape == theirs.shape


def test_a_breakhis_frame_is_cropped_as_in_eva():
    v2 = torchvision.transforms.v2
    frame = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 460, 700), dtype=np.uint8))
    theirs = v2.Compose([v2.Resize(224), v2.CenterCrop(224)])(frame)
    assert torch.equal(resize(frame, Preprocessing(224, "center")), theirs)
    assert load_recipe("eva")["crop"] == "center"


@pytest.mark.parametrize("crop", ["none", "center"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_saved_processor_is_read_back(tmp_path, crop, interpolation):
    how = Preprocessing(31, crop, interpolation, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    image_processor(how).save_pretrained(tmp_path)
    assert read_processor(json.loads((tmp_path / "preprocessor_config.json").read_text())) == how
    values = AutoImageProcessor.from_pretrained(tmp_path)(
        FRAMES, do_rescale=False, do_normalize=False, return_tensors="pt"
    )["pixel_values"]
    assert torch.equal(values.to(torch.uint8), resize(FRAMES, how))
