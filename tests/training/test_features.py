"""A probe on features computed once is the probe of the long way."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    AutoModelForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.data.pixels.transforms import WholeBatches
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError
from hf_breakhis.training import fold as folds
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.features import Features, head_of, open_features, take_features
from hf_breakhis.training.modeling import build_model, freeze_backbone

SMALL = {"num_labels": 2, "id2label": {0: "benign", 1: "malignant"}}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A folder with a small network, as if pretrained: its batch norm has statistics of its own."""
    torch.manual_seed(3)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **SMALL)
    model = ResNetForImageClassification(config)
    model.train()
    for _ in range(5):
        model(torch.rand(8, 3, 32, 32) * 2 - 1)
    folder = tmp_path_factory.mktemp("backbone")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def probe(recipe, backbone):
    """Return the recipe of a probe: `probe(folder, **fields)`."""

    def build(folder, **fields):
        mine = {
            "init": "pretrained", "model_kwargs": None, "model_name_or_path": str(backbone), "model_revision": "main",
            "augmentation": "none", "freeze_backbone": True, "num_train_epochs": 2,
        }  # fmt: skip
        return recipe(folder, **mine | fields)

    return build


def scores(run):
    tables = [pd.read_csv(path) for path in sorted(run.glob("fold-*/predictions.csv"))]
    return pd.concat(tables, ignore_index=True)


def test_features_give_the_scores_of_the_long_way(probe, tmp_path, monkeypatch):
    cross_validate(probe(tmp_path / "short"))
    monkeypatch.setattr(folds, "open_features", lambda *arguments: None)
    cross_validate(probe(tmp_path / "long"))
    short, long = scores(tmp_path / "short"), scores(tmp_path / "long")
    for name in ("prob_malignant", "logit_benign", "logit_malignant"):
        np.testing.assert_allclose(short[name], long[name], atol=1e-5)
    for fold in ("fold-0", "fold-1"):
        reports = [
            json.loads((tmp_path / way / fold / "metrics.json").read_text())["test"] for way in ("short", "long")
        ]
        for name in ("accuracy", "roc_auc", "balanced_accuracy"):
            assert reports[0][name] == pytest.approx(reports[1][name], abs=1e-6)


def test_other_features_give_other_scores(probe, tmp_path, monkeypatch):
    """The negative control of the comparison above."""
    cross_validate(probe(tmp_path / "right"))
    take = folds.Features.take
    monkeypatch.setattr(folds.Features, "take", lambda self, rows: take(self, rows)[:, ::-1].copy())
    cross_validate(probe(tmp_path / "wrong"))
    right, wrong = scores(tmp_path / "right"), scores(tmp_path / "wrong")
    assert np.abs(right["prob_malignant"] - wrong["prob_malignant"]).max() > 1e-3


def test_the_backbone_sees_every_image_once(probe, tmp_path, monkeypatch, own_cache):
    passes = []
    forward = ResNetForImageClassification.forward

    def counted(self, pixel_values=None, **kwargs):
        passes.append(len(pixel_values))
        return forward(self, pixel_values, **kwargs)

    monkeypatch.setattr(ResNetForImageClassification, "forward", counted)
    cross_validate(probe(tmp_path / "run"))
    images = pd.read_csv(tmp_path / "run" / "folds.csv")["file_name"].nunique()
    assert sum(passes) == images + 2, "one more to check the network, and one to check that its head can be separated"


def test_what_is_saved_is_the_whole_model(probe, tmp_path):
    cross_validate(probe(tmp_path / "run"))
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "run" / "fold-0" / "model").eval()
    with torch.inference_mode():
        assert model(torch.rand(2, 3, 32, 32)).logits.shape == (2, 2)


def test_augmentation_disables_the_cache_with_a_message(probe, tmp_path, capsys):
    cross_validate(probe(tmp_path / "run", augmentation="dihedral", num_train_epochs=1))
    assert "Augmentation changes the features" in capsys.readouterr().err


@pytest.mark.parametrize("family", ["resnet", "vit"])
def test_heads_of_families_are_separated(family):
    if family == "resnet":
        model = ResNetForImageClassification(
            ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], **SMALL)
        )
    else:
        config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                           image_size=32, patch_size=16, **SMALL)  # fmt: skip
        model = ViTForImageClassification(config)
    model.eval()
    assert head_of(model) is None, "nothing is frozen"
    freeze_backbone(model)
    head, caught = head_of(model), []
    head.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    pixels = torch.rand(2, 3, 32, 32)
    whole = model(pixels).logits
    assert torch.equal(take_features(model)(caught[0]).logits, whole)


@pytest.mark.parametrize("damage", ["zeroed tail", "flipped bit", "rolled rows", "truncated", "empty"])
def test_damaged_features_are_computed_again(damage, backbone, small_breakhis, data_args):
    dataset = load_images(data_args(small_breakhis)).dataset
    images = WholeBatches(dataset, 32, "none", 0, None)
    network = ModelArguments(model_name_or_path=str(backbone), freeze_backbone=True)

    def open_again():
        return open_features(images, dataset, damage, lambda: build_model(network, ["benign", "malignant"]))

    first = open_again()
    expected, content = first.take(np.arange(24)), first.path.read_bytes()
    width = expected[0].nbytes
    damaged = {
        "zeroed tail": content[:-width] + bytes(width),
        "flipped bit": content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
        "rolled rows": content[:128] + content[128 + width :] + content[128 : 128 + width],
        "truncated": content[:-5],
        "empty": b"",
    }
    assert damaged[damage] != content
    first.path.unlink()
    first.path.write_bytes(damaged[damage])
    assert np.array_equal(open_again().take(np.arange(24)), expected)
    first.path.unlink()
    assert np.array_equal(first.select(np.array([2])).take(np.array([0])), expected[2:3]), "the open file stays"
    with pytest.raises(InputError, match="was deleted or changed"):
        Features(first.path)
