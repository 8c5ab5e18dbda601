"""Scores in bfloat16 are nearly those of float32, in steps as fine, and only where they were asked for."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import HGNetV2Config, HGNetV2ForImageClassification, SiglipConfig, SiglipForImageClassification

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.hardware import Hardware
from hf_breakhis.inference.classifier import Classifier, Float32Head, keep_head


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)) for _ in range(6)]


def is_coarse(logits):
    return (torch.from_numpy(logits).bfloat16().double().numpy() == logits).all()


def test_scores_are_close_and_not_in_coarse_steps(write_model, images):
    folder = write_model()
    full, half = Classifier(folder).logits(images), Classifier(folder, bf16=True).logits(images)
    difference = np.abs(full - half).max()
    assert 0 < difference < 0.05 * np.abs(full).max()
    assert not is_coarse(half)
    with torch.autocast("cpu", torch.bfloat16):  # which the last layer would be otherwise
        model = Classifier(folder).model.cpu()
        assert is_coarse(model(torch.stack(images).float()).logits.detach().double().numpy())


def test_weights_of_the_head_stay_those_of_the_file(write_model, images):
    full, half = (Classifier(write_model(), bf16=bf16).model for bf16 in (False, True))
    assert isinstance(half.classifier, Float32Head)
    assert not isinstance(half.base_model, Float32Head)
    for before, after in zip(full.parameters(), half.parameters(), strict=True):
        assert after.dtype == torch.float32
        assert torch.equal(before, after)


def siglip():
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = {**small, "image_size": 32, "patch_size": 16}
    return SiglipForImageClassification(SiglipConfig(text_config=small, vision_config=vision, num_labels=2))


def hgnet():
    return HGNetV2ForImageClassification(HGNetV2Config(num_labels=2))


@pytest.mark.parametrize("build", [siglip, hgnet])
def test_heads_of_other_models_are_found(build, images):
    """Their backbone is no child apart, as that of a ResNet is."""
    model = build().eval()
    assert keep_head(model)
    assert sum(isinstance(module, Float32Head) for module in model.modules()) == 1
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert model(torch.stack(images).float()).logits.dtype == torch.float32


class Hidden(torch.nn.Module):
    """A last layer that nothing outside tells apart."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, features):
        return self.layer(features)


def test_a_head_that_is_hidden_is_not_found(images):
    model = hgnet().eval()
    model.fc = Hidden(model.fc)
    assert not keep_head(model)
    assert not any(isinstance(module, Float32Head) for module in model.modules())
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert model(torch.stack(images).float()).logits.dtype == torch.bfloat16, "which is why it is refused"


def test_a_head_that_is_not_told_apart_is_refused(write_model, monkeypatch):
    monkeypatch.setattr("hf_breakhis.inference.classifier.keep_head", lambda model: False)
    with pytest.raises(InputError, match=r"ResNetForImageClassification, whose last layer .*; go without --bf16"):
        Classifier(write_model(), bf16=True)


def test_a_threshold_of_float32_is_told(run, draw_png, tmp_path, capsys):
    for flags in ([], ["--bf16"]):
        assert main(["predict", str(run), str(draw_png(tmp_path / "a.png")), *flags]) == 0
        assert ("fitted on float32 scores" in capsys.readouterr().err) == bool(flags)


def test_command_scores_in_bfloat16(write_model, draw_png, tmp_path, monkeypatch, capsys):
    folder, picture = write_model(), draw_png(tmp_path / "a.png")
    seen = {}
    for able in (True, False):
        monkeypatch.setattr("hf_breakhis.hardware.find_hardware", lambda able=able: Hardware(cpu_bf16=able))
        for flags in ([], ["--bf16"]):
            output = tmp_path / "scores.csv"
            assert main(["predict", str(folder), str(picture), "--output", str(output), *flags]) == 0
            warned = "not known to support bfloat16" in capsys.readouterr().err
            assert warned == (bool(flags) and not able)
            seen[bool(flags)] = pd.read_csv(output)["prob_malignant"].item()
    assert seen[True] == pytest.approx(seen[False], abs=0.02)
    assert seen[True] != seen[False]


def test_another_backend_has_no_bfloat16(write_model, draw_png, tmp_path, capsys):
    assert main(["predict", str(write_model()), str(draw_png(tmp_path / "a.png")), "--bf16", "--backend", "int8"]) == 2
    assert "--bf16 needs --backend torch, not int8" in capsys.readouterr().err
