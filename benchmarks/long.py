"""Half an hour of runs that are stopped and started again, reports and predictions, all in one process.

    python benchmarks/long.py [--minutes 30] [--json benchmarks/long.json] [--plot benchmarks/long.png]

Each round trains a small run on a twin with two loading processes, is asked to stop at random steps and goes on until
it ends, writes its report, scores all images with its model as `predict` does, and deletes the run. After each round
the resident memory, the open files, the threads and the child processes of this process are counted. What is flat
stays as it was after the first quarter. Draws the plot, prints a table and writes JSON.
"""

import argparse
import gc
import os
import random
import shutil
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from machine import machine
from transformers import TrainerCallback

from hf_breakhis.files import write_json
from hf_breakhis.inference.classifier import Classifier
from hf_breakhis.inference.inputs import find_images
from hf_breakhis.inference.output import Rows
from hf_breakhis.inference.predict import Prediction
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.summary import summarise
from hf_breakhis.training import fold as folds
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.stopping import StoppedError

FIELDS: dict[str, Any] = {
    "dataset": "twin", "twin_kwargs": {"scale": 0.02, "width": 70, "height": 46}, "num_folds": 2, "image_size": 32,
    "model_kwargs": {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "init": "random", "optimizer_name": "adamw", "learning_rate": 0.002, "num_train_epochs": 2, "batch_size": 32,
    "augmentation": "dihedral", "dataloader_num_workers": 2, "use_cpu": True, "bf16": False, "disable_tqdm": True,
}  # fmt: skip
COUNTED = {
    "memory": "Resident memory (MiB)",
    "files": "Open files",
    "threads": "Threads",
    "children": "Child processes",
}


class StopSoon(TrainerCallback):
    """Ask this process to stop, as a cluster would, at one of the next steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Count down and send the signal."""
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def train_with_stops(run: Path, draw: random.Random, most: int = 4) -> int:
    """Train to the end, stopped up to `most` times on the way; return how often it was."""
    make, stops = folds.make_trainer, 0
    while True:

        def make_and_stop(*given: Any) -> Any:
            trainer = make(*given)
            if stops < most:  # noqa: B023 (called within this round)
                trainer.add_callback(StopSoon(draw.randint(1, 10)))
            return trainer

        folds.make_trainer = make_and_stop
        try:
            cross_validate(build_recipe({**FIELDS, "output_dir": str(run)}, {}))
            return stops
        except StoppedError:
            stops += 1
        finally:
            folds.make_trainer = make


def one_round(work: Path, draw: random.Random) -> int:
    """Train, report, predict, delete; return the number of stops."""
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    stops = train_with_stops(run, draw)
    summarise(run)
    write_report(run)
    classifier = Classifier(run / "fold-0" / "model")
    location = build_recipe({**FIELDS, "output_dir": str(run)}, {})
    from hf_breakhis.data.sources.table import load_images

    found = find_images([load_images(location[0]).location], lambda _message: None)
    with (work / "scores.csv").open("w", encoding="utf-8") as stream:
        Prediction(classifier, Rows(classifier.classes, None, None), found).write(stream.write, as_json=False)
    return stops


def count() -> dict[str, float]:
    """Return what this process holds now."""
    gc.collect()
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "memory": int(status["VmRSS"].split()[0]) / 1024,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": len(children),
    }


def draw_plot(rows: list[dict[str, float]], path: Path) -> None:
    """Draw what was counted over the minutes."""
    mpl.use("agg")
    figure, axes = plt.subplots(len(COUNTED), 1, figsize=(7, 7), sharex=True, layout="constrained")
    minutes = [row["minute"] for row in rows]
    for axis, (name, title) in zip(axes, COUNTED.items(), strict=True):
        axis.plot(minutes, [row[name] for row in rows], color="#33557a", linewidth=1.2)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("Minutes")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Go round until the time is over, then draw, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--work", type=Path, default=Path("outputs/long-bench"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/long.json"))
    parser.add_argument("--plot", type=Path, default=Path("benchmarks/long.png"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    draw, begin, rows, stops = random.Random(0), time.monotonic(), [], 0
    while time.monotonic() - begin < 60 * args.minutes or len(rows) < 4:
        stops += one_round(args.work, draw)
        rows.append({"minute": (time.monotonic() - begin) / 60, **count()})
    quarter = max(1, len(rows) // 4)
    print(f"{len(rows)} rounds in {rows[-1]['minute']:.1f} minutes, {stops} stops\n")
    print(f"{'median of':<24}{'2nd quarter':>14}{'last quarter':>14}")
    flat = {}
    for name, title in COUNTED.items():
        parts = [[row[name] for row in part] for part in (rows[quarter : 2 * quarter], rows[-quarter:])]
        flat[name] = [statistics.median(part) for part in parts]
        print(f"{title:<24}{flat[name][0]:>14.1f}{flat[name][1]:>14.1f}")
    draw_plot(rows, args.plot)
    result = {"rounds": len(rows), "minutes": rows[-1]["minute"], "stops": stops, "quarters": flat, "rows": rows}
    result["machine"] = machine()
    print(f"plot: {args.plot}\njson: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
