"""What a thousand, ten thousand and a hundred thousand images cost: time and memory of each stage.

    python benchmarks/scale_data.py [--sizes 1000 10000 100000] [--folder FOLDER] [--json scale_data.json]

Small twin images (64x42) under names like those of BreakHis go through index, check with manifest, split, pixel cache
and one epoch of training, each size in a process of its own; then a second process opens what the first prepared. The
same images, exported as Parquet, are opened once and then again, in two more processes. Memory is the highest resident
set of a stage, as Linux counts it. Prints a table and writes JSON.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIZES = (1_000, 10_000, 100_000)
WIDTH, HEIGHT, IMAGE_SIZE = 64, 42, 32
RECIPE: dict[str, Any] = {
    "dataset": "twin",
    "split_by": "specimen",
    "num_folds": 5,
    "image_size": IMAGE_SIZE,
    "augmentation": "dihedral",
    "init": "random",
    "model_kwargs": {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "optimizer_name": "sgd",
    "learning_rate": 0.01,
    "num_train_epochs": 1,
    "batch_size": 256,
    "eval_strategy": "no",
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}
FIRST = ("start", "index", "check", "split", "cache", "epoch")
AGAIN = ("start", "index", "check", "cache")
PARTS = {"first": FIRST, "again": AGAIN, "opened once, Parquet": AGAIN, "opened again, Parquet": AGAIN}


def write_images(folder: Path, num_images: int) -> None:
    """Write the official tree with as many images: a drawn picture for each slide and magnification, and noise."""
    import numpy as np
    from PIL import Image, PngImagePlugin
    from tqdm import tqdm

    from hf_breakhis.data.filenames import MAGNIFICATIONS, parse_file_name
    from hf_breakhis.data.inventory import INVENTORY
    from hf_breakhis.data.twin.twin import FORMAT, TwinSettings, draw_picture
    from hf_breakhis.files import write_json

    series = [f"{slide.patient_id}-{m.removesuffix('X')}" for slide in INVENTORY for m in MAGNIFICATIONS]
    settings = TwinSettings(width=WIDTH, height=HEIGHT)
    marks = PngImagePlugin.PngInfo()
    marks.add_text("Software", "hf_breakhis twin")
    bar = tqdm(total=num_images, desc="Writing images", unit=" images", disable=None)
    for i, stem in enumerate(series):
        base = draw_picture(f"{stem}-001.png", settings).astype(np.int16)
        rng = np.random.default_rng(i)
        for number in range(1, num_images // len(series) + 1 + (i < num_images % len(series))):
            name = f"{stem}-{number:03d}.png"
            noise = rng.integers(-8, 9, base.shape, dtype=np.int16)
            stream = io.BytesIO()
            picture = Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8))
            picture.save(stream, "PNG", pnginfo=marks, compress_level=1)
            path = folder / parse_file_name(name).path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(stream.getvalue())
            bar.update()
    write_json(folder / "twin.json", {"format": FORMAT, "settings": settings.to_dict()})


class Stages:
    """Seconds and highest memory of each stage."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a block."""
        Path("/proc/self/clear_refs").write_text("5")  # the highest memory is counted from now on
        begin = time.perf_counter()
        yield
        seconds = time.perf_counter() - begin
        status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
        kib = {key: int(status[key].split()[0]) for key in ("VmHWM", "VmRSS")}
        self.rows[name] = {"seconds": seconds, "highest_mib": kib["VmHWM"] / 1024, "after_mib": kib["VmRSS"] / 1024}


def prepare(folder: Path, run: Path, train: bool) -> dict[str, dict[str, float]]:
    """Walk through the stages and return what they cost."""
    stages = Stages()
    with stages.stage("start"):
        from hf_breakhis.data.integrity.check_images import check_images
        from hf_breakhis.data.sources.table import load_images
        from hf_breakhis.data.splits import split_images
        from hf_breakhis.recipe import build_recipe
        from hf_breakhis.training.fold import Job, make_trainer
    dataset = "twin" if (folder / "twin.json").is_file() else "breakhis"
    recipe = build_recipe({**RECIPE, "dataset": dataset, "data_dir": str(folder), "output_dir": str(run)}, {})
    with stages.stage("index"):
        images = load_images(recipe.data)
    with stages.stage("check"):
        manifest = check_images(images).manifest_sha256
    if train:
        with stages.stage("split"):
            folds = split_images(images.dataset, recipe.data)
    table = images.dataset.select_columns(["label"]).to_pandas()
    job = Job(run, recipe, images.dataset, table, list(images.classes), RECIPE["num_folds"], manifest)
    with stages.stage("cache"):
        assert job.pixels is not None  # noqa: S101
    if train:
        with stages.stage("epoch"):
            make_trainer(job, folds[0], run, None).train()
        stages.rows["epoch"]["images"] = len(folds[0].train)
    return stages.rows


def measure(folder: Path, num_images: int) -> dict[str, Any]:
    """Prepare a data set in a process, open it in another."""
    images = folder / f"images-{num_images}"
    if not (images / "twin.json").is_file():
        shutil.rmtree(images, ignore_errors=True)
        write_images(images, num_images)
    cache = folder / f"cache-{num_images}"
    shutil.rmtree(cache, ignore_errors=True)
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache)}
    parquet = folder / f"parquet-{num_images}"
    result: dict[str, Any] = {"num_images": num_images}
    for part in PARTS:
        place = parquet if "Parquet" in part else images
        command = [sys.executable, __file__, "--stages", part, str(place), str(folder / "run")]
        if place == parquet and not parquet.exists():
            export = [sys.executable, __file__, "--stages", "export", str(images), str(parquet)]
            subprocess.run(export, env=environment, check=True)  # noqa: S603
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
        result[part] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_parquet(images: Path, parquet: Path) -> None:
    """Export the images, as `hf-breakhis data export` does."""
    from hf_breakhis.cli.data import wanted_images
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.hub.dataset_export import export_images

    export_images(load_images(wanted_images("twin", str(images), None, None)), parquet)


def print_table(results: list[dict[str, Any]], write: Callable[[str], Any] = print) -> None:
    """Print the table that docs/data.md shows."""
    head = " | ".join(f"{result['num_images']:,} images" for result in results)
    write(f"| stage | {head} |")
    write("|---" * (len(results) + 1) + "|")
    for part, names in PARTS.items():
        for name in names:
            cells = [f"{r[part][name]['seconds']:.2f} s, {r[part][name]['highest_mib']:,.0f} MiB" for r in results]
            prefix = {"first": "", "again": "opened again: "}.get(part, f"{part}: ")
            write(f"| {prefix}{name} | {' | '.join(cells)} |")
    highest = [max(row["highest_mib"] for row in result["first"].values()) for result in results]
    for before, after, small, large in zip(results, results[1:], highest, highest[1:], strict=False):
        sizes = f"from {before['num_images']:,} to {after['num_images']:,} images"
        write(f"Highest memory {sizes}: {100 * (large / small - 1):+.1f} %")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--folder", type=Path, help="Where images and caches go; a temporary folder by default.")
    parser.add_argument("--json", default="scale_data.json")
    parser.add_argument("--stages", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stages:
        part, images, run = args.stages
        if part == "export":
            write_parquet(Path(images), Path(run))
            return
        print(json.dumps(prepare(Path(images), Path(run), part == "first")))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        results = [measure(folder, size) for size in args.sizes]
    print_table(results)
    from machine import machine  # not before the processes of the stages have started without it

    Path(args.json).write_text(json.dumps({"sizes": results, "machine": machine()}, indent=2) + "\n")
    print(f"written: {args.json}")


if __name__ == "__main__":
    main()
