"""Random numbers that belong to an image: the same whatever computes them, in whatever company and order."""

import hashlib
from collections.abc import Iterable
from itertools import chain

import numpy as np
import torch

from hf_breakhis.data.pixels.augmentations import NUM_DRAWS

_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio, odd
_MASK = 2**64 - 1


def image_keys(names: Iterable[str]) -> np.ndarray:
    """Return (n_images,) uint64: a number for each name, the same on every machine."""
    digests = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.fromiter(chain.from_iterable(digests), np.uint8).view("<u8")


def draw_numbers(keys: np.ndarray, seed: int, epoch: int) -> torch.Tensor:
    """Return (n_images, NUM_DRAWS) float64 in [0, 1), which depend on seed, epoch and key of each image alone.

    So neither workers, nor processes, nor the order of the images, nor resuming in mid-epoch change an augmentation.
    The numbers are hashes of (run, key, column), computed for the whole batch at once.

    Args:
        keys: (n_images,) uint64, from `image_keys`.
        seed: of the run, at least 0.
        epoch: at least 0.
    """
    run = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])
    columns = np.array([(run + column * _GOLDEN) & _MASK for column in range(1, NUM_DRAWS + 1)], dtype=np.uint64)
    numbers = _mix(_mix(keys.astype(np.uint64))[:, None] + columns)
    # 53 bits, as many as a float64 holds below 1.
    return torch.from_numpy((numbers >> np.uint64(11)) * 2.0**-53)


def _mix(numbers: np.ndarray) -> np.ndarray:
    """Return a hash of each of (...,) uint64, one to one: changing a bit changes each bit with probability one half.

    Source:
        The finaliser of SplitMix64: Steele, Lea and Flood 2014, OOPSLA; its constants are Stafford's "Mix13".
    """
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return result
