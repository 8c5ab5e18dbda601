"""What a network refuses is one line, before any image is read."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageClassification, ViTConfig, ViTForImageClassification

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.files import InputError
from hf_breakhis.training import modeling
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.modeling import check_network

VIT = ViTConfig(
    hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32, patch_size=8
)


@pytest.fixture
def vit(tmp_path):
    ViTForImageClassification(VIT).save_pretrained(tmp_path / "vit")
    return str(tmp_path / "vit")


def refusal(network, image_size=32, **fields):
    with pytest.raises(InputError) as refused:
        check_network(ModelArguments(model_name_or_path=network, **fields), image_size)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_network_for_another_size_names_its_own(vit, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_breakhis.training.crossval.load_images", lambda data: pytest.fail("images were read"))
    given = {"model_name_or_path": vit, "model_kwargs": None, "init": "pretrained"}
    with pytest.raises(InputError, match=r"`image_size` is 48, .* Set image_size to 32\.$"):
        cross_validate(recipe(tmp_path / "run", image_size=48, **given))
    check_network(ModelArguments(model_name_or_path=vit), 32)


def test_a_network_that_takes_no_colour_is_refused(vit):
    assert "Choose another image_size or network." in refusal(vit, model_kwargs={"num_channels": 1})


def test_a_missing_package_is_named_with_its_remedy(vit, monkeypatch):
    def fail(*args, **kwargs):
        raise ImportError("\nTimmWrapperModel requires the timm library but it was not found. Checkout\nthe page.")

    monkeypatch.setattr(AutoModelForImageClassification, "from_config", fail)
    assert refusal(vit).endswith("requires the timm library but it was not found). Install it: pip install timm.")
    monkeypatch.setattr(AutoConfig, "from_pretrained", fail)
    assert refusal(vit).endswith("Install it: pip install timm.")


def test_a_network_without_a_head_cannot_be_frozen(vit, monkeypatch):
    check_network(ModelArguments(model_name_or_path=vit, freeze_backbone=True), 32)
    monkeypatch.setattr(modeling, "head_parameters", lambda config: frozenset())
    assert "`freeze_backbone` trains a new head, but no parameter of ViT" in refusal(vit, freeze_backbone=True)


def test_a_network_that_needs_numbers_is_asked_again_with_numbers(vit, monkeypatch):
    forward = ViTForImageClassification.forward

    def needs_numbers(self, pixel_values, **kwargs):
        pixel_values.sum().item()
        return forward(self, pixel_values=pixel_values, **kwargs)

    monkeypatch.setattr(ViTForImageClassification, "forward", needs_numbers)
    check_network(ModelArguments(model_name_or_path=vit), 32)


def test_the_check_draws_no_number_of_the_recipe(vit):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    modeling._pass_zeros(VIT, ModelArguments(model_name_or_path=vit), 32, "cpu")
    assert torch.rand(1) == expected
