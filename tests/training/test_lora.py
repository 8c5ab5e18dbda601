"""Low-rank adapters: what is trained, and that the saved model is plain and equals the one that was trained."""

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import (
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    pipeline,
)

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.cli import main
from hf_breakhis.hub.publish import publications
from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run
from hf_breakhis.training import fold as fold_module
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.lora import merge_lora
from hf_breakhis.training.modeling import build_model, head_parameters
from hf_breakhis.training.stopping import StoppedError

pytestmark = pytest.mark.usefixtures("small_reports")

pytest.importorskip("peft")
CLASSES = ["benign", "malignant"]
RANK, ALPHA = 3, 6


def save_resnet(folder):
    config = ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1], layer_type="bottleneck", num_labels=3)
    ResNetForImageClassification(config).save_pretrained(folder)


def save_vit(folder):
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, image_size=32, patch_size=8,
        hidden_dropout_prob=0.5, num_labels=3,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)


def save_timm(folder):
    """With depthwise convolutions, and those that pad as TensorFlow does."""
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_efficientnet", num_classes=3, pad_type="same")
    timm.models.save_for_hf(model, folder, safe_serialization=True, model_args={"pad_type": "same"})


BACKBONES = {"resnet": save_resnet, "vit": save_vit, "timm": save_timm}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each backbone, saved once: `folders("vit")`."""
    made = {}

    def folder(name):
        if name not in made:
            torch.manual_seed(0)
            made[name] = tmp_path_factory.mktemp("backbones") / name
            BACKBONES[name](made[name])
        return str(made[name])

    return folder


@pytest.fixture(params=BACKBONES)
def backbone(request, folders):
    return folders(request.param)


def build(backbone, seed=1, **lora):
    torch.manual_seed(seed)
    args = ModelArguments(model_name_or_path=backbone, lora={"r": RANK, "lora_alpha": ALPHA} | lora)
    return build_model(args, CLASSES)


def plain(backbone):
    return build_model(ModelArguments(model_name_or_path=backbone), CLASSES)


def images(seed=3):
    return torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def steps(model, number=3):
    """Train in training mode, so that adapters are not zero; return the last loss."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    labels = torch.tensor([0, 1, 1, 0, 1, 1])
    for _ in range(number):
        loss = nn.functional.cross_entropy(model.train()(pixel_values=images()).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def product(before, weights, name):
    """The change of a weight by its adapter, from the two factors; a convolution by 1 x 1 follows a larger one."""
    first, second = (weights[f"{name}.lora_{letter}.default.weight"].double() for letter in "AB")
    change = second.flatten(1) @ first.flatten(1)
    return change.reshape(before[f"{name}.weight"].shape) * ALPHA / RANK


def test_adapters_and_head_are_all_that_is_trained(backbone):
    model = build(backbone)
    head = head_parameters(model.config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps(model)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert changed == trained, "no weight of the backbone, and no statistics of batch normalization"
    assert head < trained
    assert all(".lora_A." in name or ".lora_B." in name for name in trained - head)


def test_merged_weights_differ_from_the_start_by_the_product_of_the_adapters(backbone):
    model = build(backbone)
    start = plain(backbone).state_dict()
    head = head_parameters(model.config)
    steps(model)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = {name.partition(".lora_A.")[0] for name in weights if ".lora_A." in name}
    merge_lora(model)
    merged = model.state_dict()
    assert merged.keys() == start.keys()
    for name, value in merged.items():
        layer = name.removesuffix(".weight")
        if name in head:
            assert torch.equal(value, weights[name]), name
        elif layer in adapted and name.endswith(".weight"):
            change = product(start, weights, layer)
            assert change.abs().max() > 0, name
            torch.testing.assert_close(value.double(), start[name].double() + change, rtol=0, atol=1e-6)
        else:
            assert torch.equal(value, start[name]), name


def test_every_layer_that_can_be_merged_is_adapted(backbone):
    model = build(backbone)
    whole = plain(backbone)
    adapted = {name.removesuffix(".lora_A.default") for name, _ in model.named_modules() if name.endswith("A.default")}
    expected = {
        name
        for name, part in whole.named_modules()
        if isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and part.groups == 1)
    }
    assert adapted == {name for name in expected if f"{name}.weight" not in head_parameters(whole.config)}
    assert len(adapted) > 5


@pytest.mark.parametrize("lora", [{}, {"use_dora": True}, {"use_rslora": True, "bias": "all"}], ids=str)
def test_merged_equals_unmerged(backbone, lora):
    model = build(backbone, **lora)
    at_first = model.eval()(pixel_values=images()).logits
    steps(model)
    with torch.no_grad():
        unmerged = model.eval()(pixel_values=images()).logits
        merge_lora(model)
        merged = model(pixel_values=images()).logits
    assert (unmerged - at_first).abs().max() > 1e-3, "the training changed something"
    torch.testing.assert_close(merged, unmerged, rtol=1e-6, atol=1e-6)


def test_a_merged_model_is_trained_no_differently_than_a_plain_one(folders):
    """Nothing of peft and no hook stays: batch normalization has its own mode again."""
    model = build(folders("resnet"))
    merge_lora(model)
    assert merge_lora(model) == {}
    assert not hasattr(model, "peft_config")
    assert {type(part).__module__.partition(".")[0] for part in model.modules()} <= {"torch", "transformers"}
    model.train()(pixel_values=images())
    assert all(part.num_batches_tracked > 0 for part in model.modules() if isinstance(part, nn.BatchNorm2d))


def test_statistics_would_drift_without_adapters(folders):
    """The negative control: the same network, trained as a whole."""
    model = plain(folders("resnet"))
    before = {name: value.clone() for name, value in model.named_buffers() if name.endswith("running_mean")}
    steps(model)
    assert not any(torch.equal(value, before[name]) for name, value in model.named_buffers() if name in before)


def test_dropout_acts_while_adapters_are_trained(folders):
    model = build(folders("vit")).train()
    assert not torch.equal(model(pixel_values=images()).logits, model(pixel_values=images()).logits)


def test_modules_that_are_named_are_trained_in_full(folders):
    """The head too, of which peft trains a copy."""
    model = build(folders("vit"), modules_to_save=["layernorm", "classifier"])
    assert numbers_of(model) == numbers_of(build(folders("vit"))) + 2 * 8
    steps(model)
    unmerged = model.eval()(pixel_values=images()).logits
    merge_lora(model)
    torch.testing.assert_close(model(pixel_values=images()).logits, unmerged, rtol=1e-6, atol=1e-6)
    start, merged = plain(folders("vit")).state_dict(), model.state_dict()
    assert start.keys() == merged.keys()
    assert not torch.equal(start["vit.layernorm.weight"], merged["vit.layernorm.weight"])


def numbers_of(model):
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def test_equal_seeds_give_equal_numbers(backbone):
    results = []
    for seed in (5, 5, 6):
        model = build(backbone, seed)
        torch.manual_seed(seed)
        results.append((steps(model), model.state_dict()))
    one, same, other = results
    assert one[0] == same[0] != other[0]
    assert all(torch.equal(value, same[1][name]) for name, value in one[1].items())


def test_the_number_of_trained_parameters(folders):
    """A ViT of width 8: four projections and two layers of 8 x 8 in each of two blocks, and 3 x 8 x 8 pixels to 8."""
    model = build(folders("vit"))
    adapters = 2 * 6 * RANK * (8 + 8) + RANK * (3 * 8 * 8 + 8)
    head = 2 * 8 + 2
    every = plain(folders("vit")).num_parameters() + adapters
    expected = {"trained_parameters": adapters + head, "parameters": every}
    assert merge_lora(model) == expected


@pytest.fixture(scope="module")
def fields(folders):
    """The fields of a tiny run with adapters; its best epoch is used."""
    return {
        "init": "pretrained", "model_kwargs": None, "model_name_or_path": folders("resnet"),
        "lora": {"r": 2, "lora_dropout": 0.1}, "optimizer_name": "adamw", "optimizer_kwargs": None,
        "learning_rate": 0.01, "num_train_epochs": 2, "load_best_model_at_end": True, "metric_for_best_model": "loss",
    }  # fmt: skip


def test_the_saved_model_is_plain_and_gives_the_predictions(run, tmp_path, monkeypatch):
    run = Path(shutil.copytree(run, tmp_path / "copy"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    folder = run / "fold-0" / "model"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    assert not re.search("lora|peft|adapter", (folder / "config.json").read_text(encoding="utf-8"), re.IGNORECASE)
    summarise(run)
    table = pd.read_csv(run / "fold-0" / "predictions.csv").set_index("file_name")
    location = Path(json.loads((run / "data.json").read_text())["location"])
    assert main(["predict", str(run), str(location), "--output", str(tmp_path / "rows.csv")]) == 0
    rows = pd.read_csv(tmp_path / "rows.csv").set_index("path")
    rows.index = [Path(name).name for name in rows.index]
    assert len(table) > 20
    np.testing.assert_allclose(rows.loc[table.index, "prob_malignant"], table["prob_malignant"], atol=1e-6)
    (published,) = publications(run, "user/lora", "fold:0", tmp_path / "publish")
    classify = pipeline("image-classification", str(published.folder))
    path = next(path for path in location.rglob("*.png") if path.name in table.index)
    answer = {one["label"]: one["score"] for one in classify(Image.open(path))}
    assert answer["malignant"] == pytest.approx(table["prob_malignant"][path.name], abs=1e-5)
    numbers, protocol = Run(run).fold(1).read_metrics(), Run(run).summary["protocol"]
    assert protocol["trained_parameters"] == numbers["trained_parameters"]
    share = f"{100 * numbers['trained_parameters'] / numbers['parameters']:.3g} %"
    words = f"LoRA of rank 2: {share} of the parameters trained"
    assert words in write_report(run).read_text(encoding="utf-8")
    assert f"{words}, merged into the weights" in (published.folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("step", [4, 10, None])
def test_a_run_that_was_stopped_or_killed_resumes_to_the_same_result(
    step, run, fields, tmp_path, recipe, same_run, signal_in_update, monkeypatch
):
    """In the first epoch, in the last update of all, and between the training and the test set."""

    def kill(*args):
        raise StoppedError(signal.SIGKILL)

    with monkeypatch.context() as patch:
        if step is None:
            patch.setattr(fold_module, "predict_part", kill)
        with signal_in_update(step or 0), pytest.raises(StoppedError):
            cross_validate(recipe(tmp_path / "stopped", **fields))
    assert (tmp_path / "stopped" / "fold-0" / "checkpoints" / f"checkpoint-{step or 10}").is_dir()
    assert cross_validate(recipe(tmp_path / "stopped", **fields))
    same_run(tmp_path / "stopped", run)


@pytest.mark.parametrize(
    "changes",
    [
        {"members": 2, "fold": "0"}, {"fold": "refit", "load_best_model_at_end": False}, {"carry_over": "model"},
        {"bf16": True, "channels_last": True, "fold": "0"},
    ],
    ids=str,
)  # fmt: skip
def test_other_kinds_of_runs_save_plain_models(changes, fields, folders, tmp_path, recipe):
    assert cross_validate(recipe(tmp_path / "run", **fields | {"num_train_epochs": 1} | changes))
    saved = sorted(path.parent for path in tmp_path.rglob("model.safetensors"))
    assert len(saved) == (2 if "members" in changes or "carry_over" in changes else 1)
    for folder in saved:
        saved_names = AutoModelForImageClassification.from_pretrained(folder).state_dict().keys()
        assert saved_names == plain(folders("resnet")).state_dict().keys()
    for path in (tmp_path / "run").glob("*/metrics.json"):
        assert json.loads(path.read_text())["trained_parameters"] > 0
