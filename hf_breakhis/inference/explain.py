"""Heat maps of a fold's most confident right and wrong images, and whether the maps point at what moves the score."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn

from hf_breakhis.data.filenames import picture_name
from hf_breakhis.files import InputError, write_json
from hf_breakhis.folders import FolderKind, replace_folder, require_place
from hf_breakhis.inference.fold_images import FoldImages
from hf_breakhis.inference.heatmap import GRID, grad_cam, occlusion, overlay
from hf_breakhis.inference.model import Weights, load_classifier
from hf_breakhis.run import EXPLAINED, INDEX, PREDICTIONS

METHODS: dict[str, Callable[..., torch.Tensor]] = {"grad_cam": grad_cam, "occlusion": occlusion}
EXPLAIN = FolderKind("set of heat maps", ("*.png", INDEX), INDEX)
STEPS = 16  # of a deletion curve
MARGIN = 0.01  # a smaller difference of two areas is called none
RANDOM_ORDERS = 5


def explain_fold(weights: Weights, num_images: int = 4, num_curves: int = 24) -> dict[str, Any]:
    """Write `fold-i/explain/`: pictures and `index.json`; return what is in the latter.

    Args:
        weights: of a fold of a run.
        num_images: of the most confident right ones, and as many of the wrong ones, that get pictures.
        num_curves: test images, evenly spread over the test set, whose deletion curves are averaged.

    Raises:
        InputError: the weights are of no fold, or no method fits the model.
    """
    if weights.run is None or weights.fold == "refit":
        raise InputError(f"{weights.folder} has no test set; give a run and the number of a fold.")
    require_place(weights.output / EXPLAINED, EXPLAIN)
    model, images = load_classifier(weights), FoldImages(weights)
    table = pd.read_csv(weights.output / PREDICTIONS)
    test = table[table["part"] == "test"].reset_index(drop=True)
    methods = _fitting(model, images, images.rows_named(test["file_name"][:1]))
    rows, pictures = [], {}
    for row in choose_explained(test, num_images):
        pixels = torch.from_numpy(images.pixels.take(images.rows_named([row["file_name"]])))
        stem = picture_name(row["file_name"]).removesuffix(".png")
        row["pictures"] = {"image": f"{stem}.png"}
        pictures[f"{stem}.png"] = pixels[0]
        for name in methods:
            heat = METHODS[name](model, images.normalized(pixels), row["predicted"])
            row["pictures"][name] = f"{stem}-{name}.png"
            pictures[f"{stem}-{name}.png"] = overlay(pixels[0], heat)
        rows.append(row)
    sample = test.iloc[np.unique(np.linspace(0, len(test) - 1, min(num_curves, len(test))).round().astype(int))]
    index = {
        "made_by": EXPLAIN.made_by, "format": 1, "fold": int(weights.fold), "classes": list(images.classes),
        "weights_sha256": weights.one_network.sha256,
        "methods": methods, "images": rows, "deletion": _curves(model, images, sample, methods),
    }  # fmt: skip

    def fill(beside: Path) -> None:
        for name, picture in pictures.items():
            Image.fromarray(picture.permute(1, 2, 0).numpy()).save(beside / name)
        write_json(beside / INDEX, index)

    replace_folder(weights.output / EXPLAINED, fill, EXPLAIN)
    return index


def choose_explained(test: pd.DataFrame, num_images: int) -> list[dict[str, Any]]:
    """Return the most confident wrong images, then the right ones, of each truth and answer in turn.

    So that misses have their place beside false alarms. Equals keep their order.
    """
    confidence = test.filter(like="prob_").max(axis=1)
    right = test["predicted"] == test["label"]
    chosen = []
    for kind, rows in (("wrong", ~right), ("right", right)):
        surest = confidence[rows].sort_values(ascending=False, kind="mergesort").index
        turns = test.loc[surest].groupby(["label", "predicted"]).cumcount()
        for i in turns.sort_values(kind="mergesort").index[:num_images]:
            row = test.loc[i]
            chosen.append({
                "file_name": str(row["file_name"]), "label": int(row["label"]), "predicted": int(row["predicted"]),
                "probability": float(confidence[i]), "kind": kind,
            })  # fmt: skip
    return chosen


def _fitting(model: nn.Module, images: FoldImages, rows: np.ndarray) -> list[str]:
    """Return the methods that work for this network: not every one has a feature map."""
    values = images.normalized(images.pixels.take(rows))
    fitting = []
    for name, method in METHODS.items():
        try:
            method(model, values, 0)
        except ValueError:  # `methods` in index.json names those that were used
            continue
        fitting.append(name)
    if not fitting:
        raise InputError(f"No method of {sorted(METHODS)} fits a {type(model).__name__}.")
    return fitting


def _curves(model: nn.Module, images: FoldImages, sample: pd.DataFrame, methods: list[str]) -> dict[str, Any]:
    """Return the mean deletion curves of the methods and of random orders, with their areas."""
    curves: dict[str, list[np.ndarray]] = {name: [] for name in [*methods, "random"]}
    rng = np.random.default_rng(0)
    for row in sample.to_dict("records"):
        values = images.normalized(images.pixels.take(images.rows_named([row["file_name"]])))
        target = int(row["predicted"])
        for name in methods:
            curves[name].append(deletion_curve(model, values, target, METHODS[name](model, values, target)))
        orders = [torch.from_numpy(rng.random(values.shape[-2:])) for _ in range(RANDOM_ORDERS)]
        curves["random"].append(np.mean([deletion_curve(model, values, target, order) for order in orders], axis=0))
    deletion: dict[str, Any] = {
        "what": "mean probability of the predicted class when the share of the image that a map points at first is "
                "replaced by the mean colour; a smaller area than that of random orders: the map points at what moves "
                "the score",
        "num_images": len(sample), "share_deleted": np.linspace(0, 1, STEPS + 1), "random_orders": RANDOM_ORDERS,
        "curves": {name: np.mean(values, axis=0) for name, values in curves.items()},
        "area": {name: float(np.mean([area(curve) for curve in values])) for name, values in curves.items()},
    }  # fmt: skip
    deletion["better_than_random"] = {
        name: num_better([area(curve) for curve in curves[name]], [area(curve) for curve in curves["random"]])
        for name in methods
    }
    deletion["margin"] = MARGIN
    return deletion


def num_better(areas: list[float], random_areas: list[float]) -> int:
    """Return for how many images the area is smaller than that of random orders by at least `MARGIN`."""
    return sum(other - own >= MARGIN for own, other in zip(areas, random_areas, strict=True))


def area(curve: np.ndarray) -> float:
    """Return the area under a curve (n,) over shares from 0 to 1."""
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def deletion_curve(model: nn.Module, pixel_values: torch.Tensor, target: int, heat: torch.Tensor) -> np.ndarray:
    """Return the probability of a class as more and more of an image is covered, hottest places first.

    Petsiuk, Das and Saenko 2018 (RISE), deletion; in cells of twice `GRID` a side instead of pixels, so that random
    orders do not win by scattering holes.

    Args:
        model: a classifier of transformers in evaluation mode.
        pixel_values: (1, 3, height, width) float32, normalised.
        target: number of a class.
        heat: (height, width); places with the same heat go in reading order.

    Returns:
        (STEPS + 1,) float: nothing covered first, everything last.
    """
    height, width = heat.shape
    cells = 2 * GRID
    mean = torch.nn.functional.adaptive_avg_pool2d(heat[None, None].double(), cells).flatten()
    rank = torch.empty(cells * cells, dtype=torch.long)
    rank[torch.argsort(mean, descending=True, stable=True)] = torch.arange(cells * cells)
    ranks = torch.nn.functional.interpolate(rank.view(1, 1, cells, cells).double(), (height, width))[0, 0]
    color = pixel_values.mean((2, 3), keepdim=True)
    shares = torch.linspace(0, cells * cells, STEPS + 1)
    with torch.inference_mode():
        covered = torch.cat([torch.where(ranks[None, None] < share, color, pixel_values) for share in shares])
        result: np.ndarray = model(pixel_values=covered).logits.softmax(-1)[:, target].numpy()
        return result
