"""Mixed batches: shares add up, equal keys give equal batches, and a share of one changes nothing."""

import pytest
import torch
from torchvision.transforms import v2

from hf_breakhis.data.pixels.mixing import Mixing


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(6, 3, 16, 16, generator=generator), torch.tensor([0, 1, 1, 0, 1, 0])


def test_mixup_blends_neighbours_in_the_share_of_their_labels(batch):
    pixels, labels = batch
    mixed, shares = Mixing(1.0, 0.0, 2)(pixels, labels, (3, 1))
    one = next(i for i in range(6) if labels[i] != labels[i - 1])
    share = shares[one, labels[one]]
    assert 0 < share < 1
    assert torch.allclose(mixed[one], share * pixels[one] + (1 - share) * pixels[one - 1], atol=1e-6)
    assert torch.allclose(shares.sum(1), torch.ones(6))


def test_cutmix_pastes_a_rectangle_as_large_as_the_share_of_its_label(batch):
    pixels, labels = batch
    mixed, shares = Mixing(0.0, 1.0, 2)(pixels, labels, (3, 2))
    one = next(i for i in range(6) if labels[i] != labels[i - 1])
    own, pasted = ((mixed[one] == pixels[i]).all(0) for i in (one, one - 1))
    assert (own | pasted).all()
    assert own.float().mean().item() == pytest.approx(shares[one, labels[one]].item(), abs=1e-6)


def test_draws_depend_on_the_key_alone(batch):
    mixing = Mixing(0.4, 0.4, 2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = mixing(*batch, (7, 0, 3, 0))
    assert torch.equal(torch.get_rng_state(), before), "the generator of the Trainer is left as it was"
    torch.rand(10)
    again, other = mixing(*batch, (7, 0, 3, 0)), mixing(*batch, (7, 0, 4, 0))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


def test_with_both_each_batch_gets_one_of_them(batch, monkeypatch):
    called = []
    for kind in (v2.MixUp, v2.CutMix):
        monkeypatch.setattr(kind, "make_params", lambda self, inputs: called.append(type(self).__name__) or {
            "lam": 0.5, "lam_adjusted": 0.5, "box": (0, 0, 8, 16)})  # fmt: skip
    mixing = Mixing(0.4, 0.4, 2)
    for step in range(40):
        mixing(*batch, (1, step))
    assert 10 < called.count("MixUp") < 30
    assert called.count("MixUp") + called.count("CutMix") == 40


@pytest.mark.parametrize("alphas", [(0.4, 0.0), (0.0, 0.4)])
def test_a_share_of_one_changes_nothing(batch, alphas, monkeypatch):
    whole = {"lam": 1.0, "lam_adjusted": 1.0, "box": (0, 0, 0, 0)}
    for kind in (v2.MixUp, v2.CutMix):
        monkeypatch.setattr(kind, "make_params", lambda self, inputs: whole)
    pixels, shares = Mixing(*alphas, 2)(*batch, (1,))
    assert torch.equal(pixels, batch[0])
    assert torch.equal(shares, torch.nn.functional.one_hot(batch[1], 2).float())
