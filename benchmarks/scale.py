"""What the rooms after training cost with a thousand, ten thousand and a hundred thousand predictions.

    python benchmarks/scale.py [--sizes 1000 10000 100000] [--json benchmarks/scale.json]

A small run is trained once; its predictions are then written again for as many images as asked for, under names like
those of BreakHis, so that every room gets the files that it gets from a run. Each size is in a process of its own:
predictions read, summary with intervals, report with figures, audit of the folds, comparison with a second run. What
comes before, from the index of the images to an epoch of training, is in scale_data.py. Memory is the highest resident
set of a room, as Linux counts it. Prints a table and writes JSON.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import machine
from scale_data import Stages

from hf_breakhis.data.filenames import MAGNIFICATIONS, parse_file_name
from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.files import read_json, write_csv, write_json
from hf_breakhis.recipe import build_recipe
from hf_breakhis.training.crossval import cross_validate

SIZES = (1_000, 10_000, 100_000)
NUM_FOLDS = 3
FIELDS: dict[str, Any] = {
    "dataset": "twin", "twin_kwargs": {"scale": 0.02, "width": 70, "height": 46}, "num_folds": NUM_FOLDS,
    "image_size": 32, "init": "random", "num_train_epochs": 1, "batch_size": 32, "use_cpu": True, "bf16": False,
    "disable_tqdm": True,
    "model_kwargs": {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "optimizer_name": "adamw", "learning_rate": 0.002, "save_strategy": "no",
}  # fmt: skip
DESCRIBED = ["file_name", "label", "tumor_type", "patient_id", "specimen_id", "magnification"]


def images_of(num_images: int) -> pd.DataFrame:
    """Return the descriptions of as many images, spread over all slide folders and magnifications."""
    series = [f"{slide.patient_id}-{m.removesuffix('X')}" for slide in INVENTORY for m in MAGNIFICATIONS]
    names = []
    for i, stem in enumerate(series):
        count = num_images // len(series) + (i < num_images % len(series))
        names += [parse_file_name(f"{stem}-{number:03d}.png") for number in range(1, count + 1)]
    table = pd.DataFrame([[str(name), *(getattr(name, key) for key in DESCRIBED[1:])] for name in names])
    return table.set_axis(DESCRIBED, axis=1).sort_values("file_name", ignore_index=True)


def enlarge(small: Path, run: Path, num_images: int, seed: int) -> None:
    """Write the files of a run again with predictions of as many images, whose specimens differ as real ones do."""
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(small, run)
    images, rng = images_of(num_images), np.random.default_rng(seed)
    folds = pd.read_csv(small / "folds.csv")
    tested = folds[folds["part"] == "test"].drop_duplicates("specimen_id").set_index("specimen_id")["fold"]
    fold_of = images["specimen_id"].map(tested).fillna(0).astype(int)
    _, specimen = np.unique(images["specimen_id"], return_inverse=True)
    score = 1.2 * (2 * images["label"] - 1) + rng.normal(0, 1, specimen.max() + 1)[specimen]
    logit = score.to_numpy() + rng.normal(0, 0.8, num_images)
    prob = 1 / (1 + np.exp(-2 * logit))
    table = images.assign(
        fold=fold_of, part="test", seen_in_training=False, logit_benign=-logit, logit_malignant=logit,
        prob_benign=1 - prob, prob_malignant=prob, predicted=(logit > 0).astype(int),
    )  # fmt: skip
    for fold in range(NUM_FOLDS):
        write_csv(run / f"fold-{fold}" / "predictions.csv", table[fold_of == fold])
    parts = [
        images[["file_name", "patient_id", "specimen_id", "label"]].assign(
            fold=fold, part=np.where(fold_of == fold, "test", "train")
        )
        for fold in range(NUM_FOLDS)
    ]
    write_csv(run / "folds.csv", pd.concat(parts))
    colors = pd.read_csv(small / "colors.csv").sample(num_images, replace=True, random_state=seed, ignore_index=True)
    write_csv(run / "colors.csv", colors.assign(file_name=images["file_name"]))
    write_json(run / "data.json", read_json(small / "data.json") | {"num_images": num_images})


def rooms(run: Path, other: Path) -> dict[str, dict[str, float]]:
    """Walk through the rooms of a run and return what each costs."""
    stages = Stages()
    with stages.stage("start"):
        from hf_breakhis.results.audit import audit_folds
        from hf_breakhis.results.compare import compare
        from hf_breakhis.results.predictions import read_parts
        from hf_breakhis.results.report.comparison import write_comparison
        from hf_breakhis.results.report.page import write_report
        from hf_breakhis.results.summary import summarise
        from hf_breakhis.run import Run
    with stages.stage("predictions read"):
        read_parts(Run(run))
    with stages.stage("summary"):
        summarise(run)
    with stages.stage("report"):
        write_report(run)
    with stages.stage("audit"):
        audit_folds(Run(run).read_folds(), "none", None)
    with stages.stage("comparison"):  # both runs are summarised for it
        write_comparison(run.parent / "comparison", compare([run, other]))
    return stages.rows


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--work", type=Path, default=Path("outputs/scale-bench"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/scale.json"))
    parser.add_argument("--rooms", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.rooms:
        print(json.dumps(rooms(*args.rooms)))
        return
    small = args.work / "small"
    cross_validate(build_recipe({**FIELDS, "output_dir": str(small)}, {}))
    results = []
    for size in args.sizes:
        runs = [args.work / f"{name}-{size}" for name in ("one", "other")]
        for seed, run in enumerate(runs):
            enlarge(small, run, size, seed)
        command = [sys.executable, __file__, "--rooms", *map(str, runs)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
        results.append({"num_images": size, "rooms": json.loads(done.stdout.splitlines()[-1])})
    print(f"{'room':<18}" + "".join(f"{result['num_images']:>26,}" for result in results))
    for room in results[0]["rooms"]:
        found = [result["rooms"][room] for result in results]
        print(f"{room:<18}" + "".join(f"{row['seconds']:>13.2f} s{row['highest_mib']:>7,.0f} MiB" for row in found))
    print(f"json: {write_json(args.json, {'sizes': results, 'machine': machine()})}")


if __name__ == "__main__":
    main()
