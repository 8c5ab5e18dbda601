"""Low-rank adapters that cannot be trained or merged are refused in one line, before any image is read."""

import sys

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.modeling import check_network

pytest.importorskip("peft")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    """The folder of a small ResNet of bottlenecks."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("backbones") / "resnet"
    config = ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1], layer_type="bottleneck", num_labels=3)
    ResNetForImageClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def fields(resnet):
    return {"init": "pretrained", "model_kwargs": None, "model_name_or_path": resnet, "lora": {"r": 2}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_backbone": True}, "`lora` and `freeze_backbone` are both given"),
        ({"init": "random"}, "`lora` with `init: random` adapts random weights"),
        ({"features": ["vectors.csv"], "augmentation": "none"}, "`lora` adapts a network, but `features` are fixed"),
        ({"carry_over": "all"}, "`carry_over` is all, but the adapters of `lora` are new in each fold"),
        ({"lora": {"rank": 8}}, r"`lora` has `rank`, which is not supported\. .*Choose from r, lora_alpha"),
        ({"lora": {"use_dorra": True}}, r"Did you mean `use_dora`\?"),
        ({"lora": {"lora_alpha": 0}}, "`lora` has lora_alpha 0, but has to have a number above 0"),
        ({"lora": {"r": 0}}, r"`lora` is {'r': 0}, which is not valid \(.*positive"),
        ({"lora": {"lora_dropout": -0.5}}, r"which is not valid \(dropout probability"),
        ({"lora": {"exclude_modules": 5}}, "which is not valid"),
        ({"lora": {"target_modules": ["query"]}}, "matches no layer of ResNetForImageClassification"),
        ({"lora": {"target_modules": "(.*query|.*key)"}}, "matches no layer of ResNetForImageClassification"),
        ({"lora": {"exclude_modules": ".*"}}, "matches no layer of ResNetForImageClassification"),
        ({"lora": {"target_modules": ["convolution", "convolutoin"]}}, r"has `convolutoin`, which matches "
         r"no layer\. Did you mean `convolution`\?"),
        ({"lora": {"exclude_modules": ["clasifier"]}}, r"has `clasifier`, .* Did you mean `classifier`\?"),
        ({"lora": {"modules_to_save": ["normalisation"]}}, r"has `normalisation`, .* Did you mean `normalization`\?"),
        ({"lora": {"layers_to_transform": [1]}}, "give target_modules as a list of names"),
        ({"lora": {"bias": "some"}}, "which is not valid"),
        ({"lora": {"init_lora_weights": "zeros"}}, "which is not valid"),
        ({"lora": {"lora_bias": True}}, r"cannot be merged into resnet\..* Add `exclude_modules: \[.convolution.\]`"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_one_line_before_any_image_is_read(changes, message, fields, tmp_path, recipe, monkeypatch):
    monkeypatch.setattr("hf_breakhis.training.crossval.load_images", lambda data: pytest.fail("images were read"))
    with pytest.raises(InputError, match=message) as refused:
        cross_validate(recipe(tmp_path / "run", **fields | changes))
    assert "\n" not in str(refused.value)


def test_without_peft_the_command_says_what_to_install(fields, resnet, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "peft", None)
    flags = ["--lora", "{}", "--model_name_or_path", resnet, "--dataset", "twin", "--init", "pretrained"]
    flags += ["--image_size", "32", "--model_kwargs", "{}", "--output_dir", str(tmp_path / "run")]
    assert main(["train", "demo", *flags]) == 2
    printed = capsys.readouterr().err.splitlines()
    assert [line.partition("Install")[2] for line in printed] == [" it: pip install 'hf-breakhis[peft]'."]
    assert not (tmp_path / "run").exists()


class Standardized(nn.Conv2d):
    """A convolution whose output is not linear in its weight, as those of BiT and NFNet."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight / self.weight.std(), None, self.stride, self.padding)


class Uncalled(nn.Linear):
    """A layer whose owner uses its weight only, as that within torch's attention."""


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        (
            "convolution",
            lambda: Standardized(4, 2, 1, bias=False),
            r"cannot be merged into resnet\..*\.convolution\.",
        ),
        ("uncalled", lambda: Uncalled(4, 2), r"cannot be merged into resnet\..*\.0\.uncalled\."),
        ("convolution", lambda: nn.Conv2d(4, 2, 3, padding=2, dilation=2, bias=False), "does not fit ResNetFor"),
        ("convolution", lambda: nn.Conv2d(4, 2, 1, groups=2, bias=False), r"cannot be merged into resnet\..*\.0\."),
    ],
    ids=["standardized", "uncalled", "dilated", "grouped"],
)
def test_a_layer_that_cannot_be_merged_is_found(name, layer, message, resnet, monkeypatch):
    """By its output, and only if the recipe names it: by default it has no adapter."""
    init = ResNetForImageClassification.__init__

    def init_with_one(self, config):
        init(self, config)
        self.resnet.encoder.stages[0].layers[0].layer[0].register_module(name, layer())

    monkeypatch.setattr(ResNetForImageClassification, "__init__", init_with_one)
    with pytest.raises(InputError, match=message):
        check_network(ModelArguments(model_name_or_path=resnet, lora={"target_modules": [name]}), 32)
    check_network(ModelArguments(model_name_or_path=resnet, lora={"target_modules": None}), 32)
