"""Means of probabilities over transforms and networks, and the transforms themselves."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from hf_breakhis.averaging import DIHEDRAL, TTA, log_mean, mean_logits, transforms_of
from hf_breakhis.files import InputError

PIXELS = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)


def test_the_eight_transforms_are_those_of_the_square():
    found = {DIHEDRAL[name](torch.from_numpy(PIXELS)).numpy().tobytes() for name in DIHEDRAL}
    turned = [np.rot90(PIXELS, k, axes=(2, 3)) for k in range(4)]
    expected = {np.ascontiguousarray(one).tobytes() for each in turned for one in (each, each[..., ::-1])}
    assert len(expected) == 8
    assert found == expected


def test_without_test_time_augmentation_the_pixels_stay():
    assert list(TTA["none"]) == ["identity"]
    pixels = torch.from_numpy(PIXELS)
    assert TTA["none"]["identity"](pixels) is pixels


def test_the_mean_is_that_of_the_probabilities():
    logits = [np.random.default_rng(seed).normal(size=(7, 3), scale=5) for seed in range(4)]
    expected = np.mean([softmax(one, axis=1) for one in logits], axis=0)
    np.testing.assert_allclose(np.exp(mean_logits(logits)), expected, rtol=1e-12)
    # the mean of the logits is another one
    assert np.abs(softmax(np.mean(logits, axis=0), axis=1) - expected).max() > 0.01


def test_a_single_prediction_keeps_its_logits():
    logits = np.array([[3.5, -1.25], [0.0, 700.0]], dtype=np.float32)
    np.testing.assert_array_equal(mean_logits([logits]), logits)


def test_a_mean_of_means_is_the_mean_of_all():
    logits = torch.randn(6, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parts = torch.stack([log_mean(logits[:3]), log_mean(logits[3:])])
    torch.testing.assert_close(log_mean(parts), log_mean(logits))


def test_probabilities_of_zero_have_a_logit():
    assert np.isfinite(mean_logits([np.array([[900.0, -900.0]]), np.array([[800.0, -800.0]])])).all()


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(InputError, match=r"^`tta` is dihedrl, .* one of none, dihedral. Did you mean `dihedral`\?$"):
        transforms_of("dihedrl")
