"""Which weights are meant by a run and a fold, or by the folder of a model, and the images they never saw."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from transformers import AutoModelForImageClassification, PreTrainedModel
from transformers.utils import logging

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.pixels.transforms import MEAN, SD, DecodedPixels
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError, read_json
from hf_breakhis.inference.origin import require_classifier

DATA_FIELDS = ("dataset", "data_dir", "dataset_revision", "twin_kwargs", "magnifications", "tumor_types", "target")


@dataclass(frozen=True)
class Weights:
    """Trained weights and where they came from.

    Attributes:
        folder: holds config.json, model.safetensors and preprocessor_config.json.
        run: the run they are of, None for a folder of a model alone.
        fold: "0", "1", ... or "refit"; empty for a folder of a model alone.
    """

    folder: Path
    run: Path | None = None
    fold: str = ""

    @property
    def beside(self) -> Path:
        """The folder in which what is made of these weights belongs: `fold-i/`, `refit/`, or the model's own."""
        return self.folder if self.run is None else self.folder.parent


def find_weights(place: str | Path, fold: str = "0") -> Weights:
    """Return the weights of a finished run's fold, or those of a model folder.

    Raises:
        InputError: it is neither, the run is not finished, or it has no such fold.
    """
    place = Path(place)
    if (place / "config.json").is_file():
        return Weights(place)
    if not (place / "recipe.yaml").is_file():
        raise InputError(f"{place} is neither a run (recipe.yaml) nor the folder of a model (config.json).")
    if fold != "refit" and not (fold.isascii() and fold.isdigit()):
        raise InputError(f"--fold is {fold!r}, but has to be the number of a fold, or refit.")
    if fold != "refit" and not (place / "finished.json").is_file():
        raise InputError(f"The run {place} is not finished; `hf-breakhis train {place / 'recipe.yaml'}` continues it.")
    folder = place / ("refit" if fold == "refit" else f"fold-{int(fold)}") / "model"
    if not (folder / "config.json").is_file():
        there = sorted(path.parent.parent.name for path in place.glob("*/model/config.json"))
        hint = "; `train --fold refit` trains one" if fold == "refit" else ""
        raise InputError(f"{place} has no {folder.parent.name}/model, but {', '.join(there) or 'no model'}{hint}.")
    if not (folder.parent / "metrics.json").is_file():  # its last file: the weights may be there before it
        goes_on = (
            f"`hf-breakhis train {place / 'recipe.yaml'}{' --fold refit' if fold == 'refit' else ''}` continues it"
        )
        raise InputError(f"{folder.parent} is not finished; {goes_on}.")
    return Weights(folder, place, fold if fold == "refit" else str(int(fold)))


def load_classifier(weights: Weights) -> PreTrainedModel:
    """Return the classifier in evaluation mode; only safetensors is read, and no code of the folder is run.

    Raises:
        InputError: the folder holds no image classifier, or its files are damaged.
    """
    require_classifier(weights.folder, str(weights.folder))
    logging.disable_progress_bar()  # a file is read in no time
    try:
        model = AutoModelForImageClassification.from_pretrained(
            weights.folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=torch.float32
        )
    except Exception as error:  # a config.json that fits nothing makes transformers raise anything
        raise InputError(f"{weights.folder} cannot be loaded ({' '.join(str(error).split())[:200]}).") from error
    return model.eval()


def checksum(folder: Path) -> str:
    """Return the sha256 of a model's weights, so that what was made of earlier ones is not taken for theirs."""
    with (folder / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def square_size(weights: Weights) -> int:
    """Return the side in pixels to which this model's images are resized.

    Raises:
        InputError: its processor does something else than this package's own resize and normalisation.
    """
    told: dict[str, Any] = read_json(weights.folder / "preprocessor_config.json")
    told = told if isinstance(told, dict) else {}
    size = told["size"] if isinstance(told.get("size"), dict) else {}
    wanted = {"do_resize": True, "resample": 2, "do_normalize": True, "image_mean": list(MEAN), "image_std": list(SD)}
    odd = [name for name, value in wanted.items() if told.get(name) != value]
    side = size.get("height")
    if odd or told.get("do_center_crop") or type(side) is not int or side < 1 or side != size.get("width"):
        raise InputError(
            f"The processor of {weights.folder} is not that of a run ({', '.join(odd) or 'size or crop'}): only a "
            "bilinear resize of the whole frame to a square, with ImageNet's mean and deviation, is known here."
        )
    return side


class FoldImages:
    """The images of the run that weights are of, by part of their fold.

    Args:
        weights: of a run's fold.

    Raises:
        InputError: the weights are of no run, or its images are not where they were.
    """

    def __init__(self, weights: Weights) -> None:
        if weights.run is None:
            raise InputError(f"{weights.folder} is a model alone; give the run, whose images are known.")
        recipe = yaml.safe_load((weights.run / "recipe.yaml").read_text(encoding="utf-8"))
        self.images = load_images(
            DataArguments(**{name: recipe[name] for name in DATA_FIELDS if recipe.get(name) is not None})
        )
        self.classes = self.images.classes
        self.pixels = DecodedPixels(self.images.dataset, square_size(weights))
        self.row_of = {name: row for row, name in enumerate(self.images.dataset["file_name"])}
        folds = pd.read_csv(weights.run / "folds.csv", dtype={"file_name": str})
        self.parts = folds[folds["fold"].astype(str) == weights.fold]

    def rows(self, part: str) -> np.ndarray:
        """Row numbers (n,) int64 of a part in the data set.

        Raises:
            InputError: an image of the fold is no longer there.
        """
        names = self.parts.loc[self.parts["part"] == part, "file_name"]
        return self.rows_named(names)

    def rows_named(self, names: Any) -> np.ndarray:
        """Row numbers (n,) int64 of file names.

        Raises:
            InputError: one is not there.
        """
        lost = [name for name in names if name not in self.row_of]
        if lost:
            raise InputError(f"{lost[0]} is no longer among the images of {self.images.location}; give its data back.")
        return np.array([self.row_of[name] for name in names], dtype=np.int64)

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Labels (n,) int64."""
        return np.asarray(self.images.dataset["label"])[rows]
