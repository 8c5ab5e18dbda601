"""Maps of networks whose answer is known."""

import pytest
import torch
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification
from transformers.modeling_outputs import ImageClassifierOutput

from hf_breakhis.inference.heatmap import grad_cam, occlusion, overlay


class BrightSpot(nn.Module):
    """Class 1 scores the mean red value, so its map must follow red pixels."""

    def forward(self, pixel_values, output_hidden_states=False):
        red = pixel_values[:, :1]
        score = 40 * red.mean((1, 2, 3))
        return ImageClassifierOutput(logits=torch.stack([-score, score], dim=1), hidden_states=(red,))


@pytest.fixture
def red_corner():
    """(1, 3, 16, 16) black image whose top-left 4x4 pixels are red."""
    image = torch.zeros(1, 3, 16, 16)
    image[0, 0, :4, :4] = 1.0
    return image


def test_grad_cam_is_the_evidence(red_corner):
    assert torch.equal(grad_cam(BrightSpot().eval(), red_corner, target=1), red_corner[0, 0])


def test_grad_cam_is_empty_for_the_other_class(red_corner):
    assert grad_cam(BrightSpot().eval(), red_corner, target=0).max() == 0


def test_occlusion_is_highest_at_the_evidence_and_nothing_far_from_it(red_corner):
    heat = occlusion(BrightSpot().eval(), red_corner, target=1)
    assert heat[:2, :2].min() == pytest.approx(1)
    assert heat[8:, 8:].max() == 0


def test_occlusion_does_not_hang_on_the_batch(red_corner):
    model = BrightSpot().eval()
    torch.testing.assert_close(occlusion(model, red_corner, 1, batch=5), occlusion(model, red_corner, 1, batch=49))


@pytest.mark.parametrize("method", [grad_cam, occlusion])
def test_refuses_training_mode(red_corner, method):
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        method(BrightSpot(), red_corner, target=1)


def test_grad_cam_of_a_resnet_is_that_of_hooks_on_its_last_stage():
    """An independent way to the same equations: hooks, on frozen weights."""
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=2)
    model = ResNetForImageClassification(config).eval()
    image = torch.randn(1, 3, 32, 32)
    kept = {}
    stage = model.resnet.encoder.stages[-1]
    stage.register_forward_hook(lambda _m, _i, out: kept.update(map=out))
    logits = model(pixel_values=image).logits
    kept["map"].retain_grad()
    logits[0, 1].backward()
    raw = torch.relu((kept["map"].grad.mean((2, 3), keepdim=True) * kept["map"]).sum(1, keepdim=True))
    expected = nn.functional.interpolate(raw, (32, 32), mode="bilinear")[0, 0].detach()
    model.requires_grad_(False)
    torch.testing.assert_close(grad_cam(model, image, 1), expected / expected.max())


def test_a_transformer_without_a_feature_map_is_told():
    config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32)
    with pytest.raises(ValueError, match="no feature map"):
        grad_cam(ViTForImageClassification(config).eval(), torch.zeros(1, 3, 32, 32), 0)


def test_an_overlay_is_orange_where_it_is_hot_only():
    pixels = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    heat = torch.zeros(4, 4)
    heat[0, 0] = 1
    colored = overlay(pixels, heat)
    assert torch.equal(colored[:, 1:], pixels[:, 1:])
    assert colored[0, 0, 0] > 180 > colored[2, 0, 0]
