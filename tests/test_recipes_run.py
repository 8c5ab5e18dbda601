"""Every recipe of the package starts as a user starts it: no flag says on which device, and bfloat16 is left open."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import ResNetConfig, ResNetForImageClassification

from hf_breakhis import training_arguments
from hf_breakhis.data.twin.twin import TwinSettings, twin_file_names
from hf_breakhis.hardware import Hardware
from hf_breakhis.recipe import load_recipe, parse_recipe
from hf_breakhis.training import crossval

RECIPES = Path(__file__).parents[1] / "recipes"
ALL = sorted(str(p.relative_to(RECIPES)) for p in RECIPES.rglob("*.yaml") if p.parent.name != "accelerate")
LEAVES_BF16_OPEN = [name for name in ALL if "bf16" not in load_recipe(RECIPES / name)]
TWIN = {"scale": 0.01, "width": 70, "height": 46}
# Smaller and shorter; nothing about the device.
SMALLER = [
    "--dataset", "twin", "--twin_kwargs", json.dumps(TWIN), "--image_size", "16",
    "--num_train_epochs", "1", "--batch_size", "16", "--dataloader_num_workers", "0",
    "--dataloader_drop_last", "false", "--repeats", "1", "--fold", "0", "--disable_tqdm", "true",
]  # fmt: skip


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A tiny pretrained ResNet in a folder."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3)
    ResNetForImageClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def processor(monkeypatch):
    """Let this machine have no GPU, and a processor with or without instructions for bfloat16."""

    def set_hardware(bf16):
        found = Hardware("cpu", cores=1, cpu_bf16=bf16)
        monkeypatch.setattr(training_arguments, "find_hardware", lambda use_cpu: found)
        monkeypatch.setattr(crossval, "find_hardware", lambda use_cpu: found)

    return set_hardware


def start(name, backbone, folder):
    """Train the shortest run of a recipe, and return its resolved fields."""
    values = load_recipe(RECIPES / name)
    flags = ["--output_dir", str(folder), "--model_name_or_path", backbone, "--model_revision", "main"]
    flags += ["--carry_over", "none"] if values.get("carry_over") == "all" else []  # needs all folds
    flags += ["--model_kwargs", "{}"] if "model_kwargs" in values else []
    if "features" in values:
        names = twin_file_names(TwinSettings.from_kwargs(TWIN))
        vectors = pd.DataFrame(np.random.default_rng(0).normal(size=(len(names), 4)), columns=list("abcd"))
        vectors.assign(file_name=names).to_parquet(folder.parent / "vectors.parquet")
        flags += ["--features", str(folder.parent / "vectors.parquet")]
    assert crossval.cross_validate(parse_recipe([str(RECIPES / name), *SMALLER, *flags]))
    return yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_starts_without_a_word_about_the_device(name, processor, backbone, tmp_path):
    processor(bf16=True)
    assert start(name, backbone, tmp_path / "run")["bf16"] is (name in LEAVES_BF16_OPEN)


@pytest.mark.parametrize("name", LEAVES_BF16_OPEN)
def test_without_bfloat16_it_starts_in_float32(name, processor, backbone, tmp_path):
    processor(bf16=False)
    assert start(name, backbone, tmp_path / "run")["bf16"] is False


ENCODERS = [name for name in ALL if name.startswith("encoders/")]
OF_AN_ENCODER = {"model_name_or_path", "model_revision", "freeze_backbone", "features", "output_dir"}
OF_PIXELS = {"image_size", "normalization", "augmentation"}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_differ_in_the_encoder_alone(name):
    values, first = load_recipe(RECIPES / name), load_recipe(RECIPES / "encoders" / "resnet50.yaml")
    differ = {key for key in values | first if values.get(key) != first.get(key)}
    assert differ <= OF_AN_ENCODER | (OF_PIXELS if "features" in values else set())
    assert values["output_dir"] == f"outputs/{name.removesuffix('.yaml')}"
    assert values.get("freeze_backbone") is None if "features" in values else values["freeze_backbone"]
    listed = (RECIPES / "README.md").read_text(encoding="utf-8")
    assert f"(encoders/{name.partition('/')[2]})" in listed
