"""Clustering: how alike the images of one specimen are, and how many independent images they are worth."""

from typing import Any

import numpy as np


def describe_clustering(right: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
    """Return intra-class correlation of being correct, design effect and effective number of images.

    Args:
        right: (n,) whether each image was classified correctly.
        codes: (n,) number of each image's group, from 0.

    Returns:
        `intraclass_correlation` (of the analysis of variance, at least 0), `design_effect` (by what the variance of
        the accuracy exceeds that of as many independent images) and `effective_images`; each None where all images
        are correct or all wrong, or no group has two images.

    Source:
        Donner and Koval 1980, The estimation of intraclass correlation in the analysis of family data, Biometrics
        36(1); design effect of groups of unequal size: Kish 1965, Survey Sampling, section 5.4.
    """
    values = np.asarray(right, dtype=float)
    sizes = np.bincount(codes)
    sizes = sizes[sizes > 0]
    total, count = len(values), len(sizes)
    names = ("intraclass_correlation", "design_effect", "effective_images")
    if np.ptp(values) == 0 or not 1 < count < total:
        return dict.fromkeys(names)
    means = np.bincount(codes, weights=values)[np.bincount(codes) > 0] / sizes
    between = float((sizes * (means - values.mean()) ** 2).sum() / (count - 1))
    within = float((sizes * means * (1 - means)).sum() / (total - count))
    usual = (total - (sizes**2).sum() / total) / (count - 1)
    correlation = max(0.0, (between - within) / (between + (usual - 1) * within))
    effect = 1 + ((sizes**2).sum() / total - 1) * correlation
    return dict(zip(names, (correlation, float(effect), float(total / effect)), strict=True))
