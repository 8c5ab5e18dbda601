"""What a frozen backbone costs in cross-validation: one pass over the images, or one for every fold and epoch.

    python benchmarks/crossval.py [--num_images 120] [--folds 3] [--epochs 3] [--json benchmarks/crossval.json]

`recipes/probe.yaml` on a twin, ResNet-50 with random weights at 224 pixels, saved as if pretrained. First the backbone
alone passes all images once, then the recipe is run as it is (features computed, then folds and epochs), once more
with its features at hand, and then the long way, in which each epoch of each fold passes the backbone. All in one
process, on the same decoded pixels. The scores of both ways are compared. Prints a table and writes JSON.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import torch
from machine import machine
from transformers import ResNetConfig, ResNetForImageClassification, set_seed

from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.pixels.transforms import normalize
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import read_json, write_json
from hf_breakhis.hardware import keep_memory
from hf_breakhis.recipe import build_recipe, load_recipe
from hf_breakhis.training import fold as folds
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.fold import Job
from hf_breakhis.training.modeling import RESNET_50, build_model

SCORES = ("accuracy", "balanced_accuracy", "roc_auc")


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def scores(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of all test images, and the scores of every fold."""
    tables = [pd.read_csv(path) for path in sorted(run.glob("fold-*/predictions.csv"))]
    reports = [read_json(path)["test"] for path in sorted(run.glob("fold-*/metrics.json"))]
    return pd.concat(tables)["prob_malignant"].to_numpy(), np.array([[r[name] for name in SCORES] for r in reports])


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=120)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("outputs/crossval-bench"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/crossval.json"))
    args = parser.parse_args()
    keep_memory()  # as a run does
    for name in ("cache", "backbone", "short", "again", "long"):
        shutil.rmtree(args.work / name, ignore_errors=True)
    datasets.config.HF_DATASETS_CACHE = args.work / "cache"  # features of an earlier run must not be found
    set_seed(0)
    ResNetForImageClassification(ResNetConfig(**RESNET_50, num_labels=3)).save_pretrained(args.work / "backbone")
    fields = load_recipe("probe") | {
        "dataset": "twin", "twin_kwargs": {"scale": args.num_images / 7909}, "num_folds": args.folds,
        "model_name_or_path": str(args.work / "backbone"), "model_revision": "main", "num_train_epochs": args.epochs,
        "use_cpu": True, "bf16": False, "disable_tqdm": True, "save_strategy": "no", "eval_strategy": "no",
        "batch_size": 32,
    }  # fmt: skip

    def run(name: str) -> Callable[[], object]:
        return lambda: cross_validate(build_recipe({**fields, "output_dir": str(args.work / name)}, {}))

    recipe = build_recipe({**fields, "output_dir": str(args.work / "short")}, {})
    images = load_images(recipe.data)
    table = images.dataset.remove_columns("image").to_pandas()
    manifest = check_images(images).manifest_sha256
    job = Job(args.work, recipe, images.dataset, table, list(images.classes), args.folds, manifest)
    if job.pixels is None:
        raise SystemExit("crossval.py: the pixel cache is needed")
    model = build_model(recipe.model, images.classes).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def one_pass() -> None:
        with torch.inference_mode():
            for start in range(0, len(table), 32):
                rows = np.arange(start, min(start + 32, len(table)))
                pixels = normalize(torch.from_numpy(job.pixels.take(rows)))  # type: ignore[union-attr]
                model.base_model(pixels.contiguous(memory_format=torch.channels_last))

    seconds = {"one pass of the backbone": timed(one_pass), "probe, first time": timed(run("short"))}
    seconds["probe, features at hand"] = timed(run("again"))
    folds.open_features = lambda *arguments: None  # type: ignore[assignment]
    seconds["the long way"] = timed(run("long"))
    short, long = scores(args.work / "short"), scores(args.work / "long")
    difference = {
        "scores": float(np.abs(short[1] - long[1]).max()), "probabilities": float(np.abs(short[0] - long[0]).max()),
    }  # fmt: skip
    one = seconds["one pass of the backbone"]
    print(f"{'':28}{'seconds':>10}{'passes':>10}")
    for name, value in seconds.items():
        print(f"{name:<28}{value:>10.1f}{value / one:>10.2f}")
    print(
        f"largest difference: {difference['scores']:.2g} in a score, "
        f"{difference['probabilities']:.2g} in a probability"
    )
    result = {"seconds": seconds, "difference": difference, "num_images": len(table)}
    result |= {"folds": args.folds, "epochs": args.epochs, "machine": machine()}
    print(f"json: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
