"""Augmentations do what they say: the eight movements of the square, and jitters around the picture itself."""

import numpy as np
import pytest
import torch

from hf_breakhis.data.pixels.augmentations import (
    _STAINS,
    AUGMENTATIONS,
    NUM_DRAWS,
    flip,
    jitter_color,
    jitter_stain,
    turn,
)
from hf_breakhis.data.pixels.draws import draw_numbers, image_keys

MIDDLE = torch.full((1, NUM_DRAWS), 0.5, dtype=torch.float64)


@pytest.fixture
def square():
    """(1, 3, 8, 8) picture without any symmetry."""
    return torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def draws():
    return draw_numbers(image_keys([str(i) for i in range(4000)]), seed=0, epoch=0)


def shares(augment, square, draws):
    """How often each outcome comes, by its bytes."""
    results = augment(square.expand(len(draws), -1, -1, -1), draws)
    outcomes, counts = np.unique([image.numpy().tobytes() for image in results], return_counts=True)
    return dict(zip(outcomes, counts / len(draws), strict=True))


def test_dihedral_is_the_eight_movements_equally_often(square, draws):
    turned = [np.rot90(square[0].numpy(), k, (1, 2)) for k in range(4)]
    expected = {image.tobytes() for image in turned} | {image[:, :, ::-1].tobytes() for image in turned}
    found = shares(turn, square, draws)
    assert len(expected) == 8
    assert set(found) == expected
    assert all(share == pytest.approx(1 / 8, abs=0.02) for share in found.values())


def test_flips_are_four_equally_often(square, draws):
    image = square[0].numpy()
    expected = {i.tobytes() for i in (image, image[:, ::-1], image[:, :, ::-1], image[:, ::-1, ::-1])}
    found = shares(flip, square, draws)
    assert set(found) == expected
    assert all(share == pytest.approx(1 / 4, abs=0.03) for share in found.values())


@pytest.mark.parametrize("jitter", [jitter_stain, jitter_color])
def test_a_jitter_in_the_middle_of_its_range_changes_nothing(jitter, square):
    difference = jitter(square, MIDDLE).int() - square.int()
    assert difference.abs().max() <= 1


def test_stain_jitter_scales_the_stain_and_leaves_the_rest(square):
    """Paint with known amounts of both stains, jitter, and read the amounts back."""
    amounts = torch.tensor([[0.9, 0.0], [0.0, 0.7], [0.5, 0.6]], dtype=torch.float64)
    density = amounts @ _STAINS[:2]
    pixels = (256 * torch.exp(-density) - 1).round().to(torch.uint8).T[None, :, None, :].expand(-1, -1, 3, -1)
    draws = MIDDLE.clone()
    draws[0, 3] = 1.0  # haematoxylin to 1.2 times as much
    result = jitter_stain(pixels, draws, scale=0.2)[0, :, 0].double()
    found = torch.log(256 / (result + 1)).T @ torch.linalg.inv(_STAINS)
    expected = torch.cat([amounts * torch.tensor([1.2, 1.0]), torch.zeros(3, 1)], dim=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("name", ["stain", "color"])
def test_jitters_are_visible_and_mild(name, draws):
    pink = torch.tensor([215, 160, 200], dtype=torch.uint8)[None, :, None, None].expand(500, 3, 4, 4)
    change = (AUGMENTATIONS[name](pink, draws[:500]).float() - pink).abs().mean((1, 2, 3))
    assert 3 < change.mean() < 25


def test_a_combination_shares_no_draws(square, draws):
    """Each movement goes with every colour: movement and jitter read different draws."""
    draws = draws[:200]
    squares = square.expand(200, -1, -1, -1)
    both = AUGMENTATIONS["dihedral_stain"](squares, draws)
    assert torch.equal(both, jitter_stain(turn(squares, draws), draws))
    for column in range(3):
        moved = draws.clone()
        moved[:, column] = 0.1
        assert torch.equal(jitter_stain(squares, moved), jitter_stain(squares, draws))
