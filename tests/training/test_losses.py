"""Every loss is a mean over the global batch, and the focal loss with gamma 0 is the cross-entropy."""

import itertools
import math

import numpy as np
import pytest
import torch

from hf_breakhis.files import InputError
from hf_breakhis.recipe import build_recipe
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.losses import LOSSES, CrossEntropy, FocalLoss, build_loss
from hf_breakhis.training_arguments import BreakHisTrainingArguments

pytestmark = pytest.mark.usefixtures("small_figures")

WEIGHTS = torch.tensor([1.7, 0.8, 0.4], dtype=torch.float64)


@pytest.fixture
def batch():
    """Logits (12, 3) in float64, labels (12,), and soft labels (12, 3)."""
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(12, 3, generator=generator, dtype=torch.float64)
    soft = torch.rand(12, 3, generator=generator, dtype=torch.float64)
    return logits, torch.arange(12) % 3, soft / soft.sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("weights", "smoothing", "soft"), list(itertools.product((None, WEIGHTS), (0.0, 0.2), (False, True)))
)
def test_gamma_zero_is_the_cross_entropy_of_torch_in_value_and_gradient(batch, weights, smoothing, soft):
    logits, labels, shares = batch
    found = []
    for loss in (CrossEntropy(weights, smoothing), FocalLoss(weights, smoothing, gamma=0.0)):
        own = logits.clone().requires_grad_()
        value = loss({"logits": own}, shares if soft else labels, num_items_in_batch=5)
        value.backward()
        found.append((value.item(), own.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=0, abs=1e-12)
    assert torch.allclose(found[0][1], found[1][1], rtol=0, atol=1e-12)


def test_focal_loss_follows_the_formula_of_its_paper(batch):
    logits, labels, _ = batch
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    true = p[np.arange(12), labels.numpy()]
    by_hand = (WEIGHTS.numpy()[labels] * (1 - true) ** 1.5 * -np.log(true)).mean()
    ours = FocalLoss(WEIGHTS, gamma=1.5)({"logits": logits}, labels)
    assert ours.item() == pytest.approx(by_hand, rel=1e-12)
    assert ours.item() != pytest.approx(FocalLoss(WEIGHTS, gamma=0.5)({"logits": logits}, labels).item())


def test_the_gradient_of_a_certain_image_is_finite():
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    FocalLoss(gamma=0.5)({"logits": logits}, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_parts_of_a_batch_add_up_to_the_whole(name, batch):
    logits, labels, shares = batch
    args = BreakHisTrainingArguments(loss=name, label_smoothing_factor=0.1, use_cpu=True)
    loss = build_loss(args, WEIGHTS)
    for target in (labels, shares):
        whole = loss({"logits": logits}, target)
        parts = [loss({"logits": logits[i : i + 5]}, target[i : i + 5], num_items_in_batch=12) for i in (0, 5, 10)]
        assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_one_hot_shares_are_hard_labels(name, batch):
    logits, labels, _ = batch
    loss = LOSSES[name](WEIGHTS, 0.1)
    hard = torch.nn.functional.one_hot(labels, 3).float()
    assert loss({"logits": logits}, hard).item() == pytest.approx(loss({"logits": logits}, labels).item(), rel=1e-12)


def test_a_run_with_focal_loss_trains_otherwise_and_is_resumed(recipe, tmp_path):
    """Without training on another loss the weights would be those of the cross-entropy."""
    weights = {}
    for name, fields in {"plain": {}, "zero": {"loss": "focal", "focal_gamma": 0}, "focal": {"loss": "focal"}}.items():
        own = recipe(tmp_path / name, num_train_epochs=1, **fields)
        assert cross_validate(own)
        assert not cross_validate(own)
        from safetensors.torch import load_file

        weights[name] = load_file(tmp_path / name / "fold-0" / "model" / "model.safetensors")
    largest = {
        name: max(float((weights["plain"][key].double() - value.double()).abs().max()) for key, value in own.items())
        for name, own in weights.items()
    }
    assert largest["zero"] < 1e-4
    assert largest["focal"] > 1e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": "focall"}, r"Unknown loss `focall`. Did you mean `focal`\?"),
        ({"focal_gamma": 1.0}, "`focal_gamma` has no effect, since `loss` is cross_entropy"),
        ({"loss": "focal", "focal_gamma": -1}, "`focal_gamma` is -1, but has to be at least 0"),
        ({"label_smoothing_factor": 1.5}, "`label_smoothing_factor` is 1.5, but has to be between 0 and 1"),
        ({"mixup": math.inf}, "`mixup` is inf"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(recipe, tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        cross_validate(recipe(tmp_path / "run", **fields))


def test_pixels_of_feature_vectors_are_not_mixed():
    with pytest.raises(InputError, match="`mixup` mixes pixels, but `features` are fixed"):
        build_recipe({"features": ["a.csv"], "mixup": 0.2}, {})
