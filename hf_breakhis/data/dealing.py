"""Deal groups to folds at random, class by class, and keep the best balanced of many draws."""

from collections.abc import Callable

import numpy as np

MIN_GROUPS = 3  # of each class in every part
MAX_DRAWS, MIN_DRAWS = 4000, 10
CELLS = 2_000_000  # draws times groups in memory; many groups are balanced after few draws


def count_by_group(groups: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the group number of each image, (n_images,), and the images of each group, (n_groups, n_classes)."""
    number = np.unique(groups, return_inverse=True)[1]
    counts = np.zeros((number.max() + 1, labels.max() + 1), dtype=np.int64)
    np.add.at(counts, (number, labels), 1)
    return number, counts


def deal_folds(counts: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """Deal groups to folds that are alike in groups and images of every class.

    The groups of a class are shuffled and dealt one by one, so each fold gets the same number of them, or one more.
    Class by class, the one with the smallest `imbalance` of many such draws is kept.

    Args:
        counts: (n_groups, n_classes) images of each group and class. A group belongs to the class of most of them.
        num_folds: number of folds.
        seed: the same seed gives the same folds.

    Returns:
        (n_groups,) number of each group's fold.
    """

    def deal(rng: np.random.Generator, draws: int, total: int) -> np.ndarray:
        return (_shuffled(rng, draws, total) + rng.integers(num_folds, size=(draws, 1))) % num_folds

    return _best(counts, np.full(num_folds, 1 / num_folds), deal, seed)


def deal_part(counts: np.ndarray, share: float, leave: int, seed: int) -> np.ndarray:
    """Choose the groups of one part, such as validation: about `share` of the groups and of the images of every class.

    The part has at least `MIN_GROUPS` groups of a class if that is at most a third of them.

    Args:
        counts: (n_groups, n_classes) images of each group and class. A group belongs to the class of most of them.
        share: wanted share of the part.
        leave: number of groups of each class that are kept out of the part.
        seed: the same seed gives the same part.

    Returns:
        (n_groups,) bool, whether a group is in the part.
    """

    def deal(rng: np.random.Generator, draws: int, total: int) -> np.ndarray:
        wanted = max(1, min(MIN_GROUPS, total // 3), round(share * total))
        return (_shuffled(rng, draws, total) < min(wanted, max(0, total - leave))).astype(np.int64)

    return _best(counts, np.array([1 - share, share]), deal, seed).astype(bool)


def _best(
    counts: np.ndarray, shares: np.ndarray, deal: Callable[[np.random.Generator, int, int], np.ndarray], seed: int
) -> np.ndarray:
    """Deal the groups of one class after the other, and keep the best draw of each, given those before it."""
    kinds = counts.argmax(1)
    rng = np.random.default_rng(seed)
    draws = int(np.clip(CELLS // len(counts), MIN_DRAWS, MAX_DRAWS))
    folds = np.zeros(len(counts), dtype=np.int64)
    dealt = np.zeros(len(counts), dtype=bool)
    for kind in np.unique(kinds):
        drawn = np.tile(folds, (draws, 1))
        drawn[:, kinds == kind] = deal(rng, draws, int((kinds == kind).sum()))
        dealt |= kinds == kind
        folds = drawn[imbalance(drawn[:, dealt], counts[dealt], shares).argmin()]
    return folds


def imbalance(folds: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return how far folds are from the wanted shares, (draws,).

    For each class, the largest deviation over the folds of the share of its images, plus the same of its groups, since
    a score of few groups is uncertain, however many images they have; the mean over the classes. A fold that lacks a
    class adds 1.

    Args:
        folds: (draws, n_groups) number of each group's fold, from 0.
        counts: (n_groups, n_classes) images of each group and class. A group belongs to the class of most of them.
        shares: (n_folds,) wanted share of each fold.
    """
    images = _shares(folds, counts[:, counts.any(0)], shares)
    own = np.eye(counts.shape[1], dtype=np.int64)[counts.argmax(1)]
    groups = _shares(folds, own[:, own.any(0)], shares)
    deviations = [np.abs(found - shares[:, None]).max(1).mean(1) for found in (images, groups)]
    result: np.ndarray = sum(deviations) + (images == 0).sum((1, 2))
    return result


def _shares(folds: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the share of each column of `counts` in each fold, (draws, n_folds, n_columns)."""
    draws, num_folds = len(folds), len(shares)
    cells = (np.arange(draws)[:, None] * num_folds + folds).ravel()
    sums = [np.bincount(cells, np.broadcast_to(one, folds.shape).ravel(), draws * num_folds) for one in counts.T]
    result: np.ndarray = np.stack(sums, axis=1).reshape(draws, num_folds, -1) / counts.sum(0)
    return result


def _shuffled(rng: np.random.Generator, draws: int, count: int) -> np.ndarray:
    """Return the numbers from 0 in a random order for each draw, (draws, count)."""
    return rng.permuted(np.tile(np.arange(count), (draws, 1)), axis=1)
