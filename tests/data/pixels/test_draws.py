"""The numbers that decide an augmentation hang on seed, epoch and image alone, and are as good as random."""

import numpy as np
import pytest
import torch
from scipy import stats

from hf_breakhis.data.pixels.augmentations import NUM_DRAWS
from hf_breakhis.data.pixels.draws import _GOLDEN, _mix, draw_numbers, image_keys

MASK = 2**64 - 1


@pytest.fixture(scope="module")
def keys():
    return image_keys(f"SOB_M_DC-14-{i // 90}-40-{i % 90:03d}.png" for i in range(20_000))


def test_the_hash_is_that_of_splitmix64():
    """The first five outputs of the published generator, started at 1234567."""
    states = np.array([(1234567 + i * _GOLDEN) & MASK for i in range(1, 6)], dtype=np.uint64)
    assert _mix(states).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


def test_the_hash_agrees_with_whole_numbers_of_python():
    def mix(number):
        number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & MASK
        number = (number ^ (number >> 27)) * 0x94D049BB133111EB & MASK
        return number ^ (number >> 31)

    numbers = np.random.default_rng(0).integers(0, MASK, 100, dtype=np.uint64, endpoint=True)
    assert _mix(numbers).tolist() == [mix(number) for number in numbers.tolist()]


def test_a_draw_does_not_change_with_its_company(keys):
    draws = draw_numbers(keys, seed=3, epoch=1)
    assert draws.shape == (len(keys), NUM_DRAWS)
    assert draws.dtype == torch.float64
    rows = np.array([17, 3, 19_999])
    assert torch.equal(draw_numbers(keys[rows], 3, 1), draws[rows])
    assert torch.equal(draw_numbers(keys[:0], 3, 1), draws[:0])


@pytest.mark.parametrize("column", range(NUM_DRAWS))
def test_each_column_is_uniform(keys, column):
    values = draw_numbers(keys, seed=42, epoch=0)[:, column].numpy()
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-4


def test_columns_epochs_seeds_and_neighbours_are_uncorrelated(keys):
    now = draw_numbers(keys, seed=42, epoch=0).numpy()
    others = [
        draw_numbers(keys, 42, 1).numpy(),
        draw_numbers(keys, 43, 0).numpy(),
        draw_numbers(keys, 43, 1).numpy(),
        np.roll(now, 1, axis=0),
    ]
    table = np.concatenate([now, *others], axis=1)
    correlation = np.corrcoef(table, rowvar=False) - np.eye(table.shape[1])
    assert np.abs(correlation).max() < 5 / np.sqrt(len(keys))


def test_pairs_of_columns_fill_the_square_evenly(keys):
    """Catches what correlation does not see, such as equal values in two columns."""
    draws = draw_numbers(keys, seed=7, epoch=5).numpy()
    for i, j in ((0, 1), (1, 2), (0, 2), (3, 4), (2, 11)):
        counts = np.histogram2d(draws[:, i], draws[:, j], bins=8, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(counts.ravel()).pvalue > 1e-4


def test_numbers_in_a_row_serve_as_keys_too():
    """Keys need not be good hashes themselves."""
    draws = draw_numbers(np.arange(20_000, dtype=np.uint64), seed=0, epoch=0)[:, 0].numpy()
    assert stats.kstest(draws, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.03


def test_one_bit_of_the_key_changes_half_of_the_bits():
    numbers = np.random.default_rng(1).integers(0, MASK, 2000, dtype=np.uint64)
    for bit in (0, 1, 31, 63):
        changed = np.bitwise_count(_mix(numbers) ^ _mix(numbers ^ np.uint64(1 << bit)))
        assert changed.mean() == pytest.approx(32, abs=0.7)


def test_names_have_keys_of_their_own(keys):
    assert len(np.unique(keys)) == len(keys)
    assert image_keys(["a"]).tolist() == image_keys(["b", "a"]).tolist()[1:]
    assert image_keys([]).shape == (0,)
