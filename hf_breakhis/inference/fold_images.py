"""The images of the run that weights are of, as the network sees them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.images import Images
from hf_breakhis.data.pixels.transforms import DecodedPixels, normalize
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError
from hf_breakhis.inference.model import Weights, saved_preprocessing

DATA_FIELDS = (
    "dataset", "data_dir", "dataset_revision", "twin_kwargs", "magnifications", "tumor_types", "target",
    "positive_class",
)  # fmt: skip


def images_of_recipe(recipe: dict[str, Any]) -> Images:
    """Load the images of a recipe of a run.

    Raises:
        InputError: they cannot be read.
    """
    return load_images(DataArguments(**{name: recipe[name] for name in DATA_FIELDS if recipe.get(name) is not None}))


def rows_named(images: Images, names: Iterable[str]) -> np.ndarray:
    """Return the row numbers (n,) int64 of file names in a data set.

    Raises:
        InputError: one is missing.
    """
    row_of = {name: row for row, name in enumerate(images.dataset["file_name"])}
    missing = [name for name in names if name not in row_of]
    if missing:
        raise InputError(f"Image {missing[0]} is missing from {images.location}. Restore it.")
    return np.array([row_of[name] for name in names], dtype=np.int64)


class FoldImages:
    """The images of the run that weights are of, by part of their fold.

    Args:
        weights: of a run's fold.

    Raises:
        InputError: the weights are of no run, or its images are not where they were.
    """

    def __init__(self, weights: Weights) -> None:
        run = weights.require_run()
        self.images = images_of_recipe(run.recipe)
        self.classes = self.images.classes
        self.preprocessing = saved_preprocessing(weights)
        self.pixels = DecodedPixels(self.images.dataset, self.preprocessing)
        folds = run.read_folds()
        self.parts = folds[folds["fold"].astype(str) == weights.fold]

    def normalized(self, pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return (n, 3, side, side) float32, the input of the network, for resized pixels of uint8."""
        return normalize(torch.as_tensor(pixels), how=self.preprocessing)

    def rows(self, part: str) -> np.ndarray:
        """Row numbers (n,) int64 of a part in the data set.

        Raises:
            InputError: an image of the fold is missing.
        """
        names = self.parts.loc[self.parts["part"] == part, "file_name"]
        return self.rows_named(names)

    def rows_named(self, names: Iterable[str]) -> np.ndarray:
        """Row numbers (n,) int64 of file names, see `rows_named`."""
        return rows_named(self.images, names)

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Labels (n,) int64."""
        result: np.ndarray = np.asarray(self.images.dataset["label"])[rows]
        return result
