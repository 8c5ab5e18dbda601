"""What a GPU does here, in one go: training, input, prediction, compilation, exactness, and a run that is killed.

    python benchmarks/gpu.py [--scale 1] [--image_size 224] [--json benchmarks/gpu.json] [--parts training predict]

Without a GPU it says so and writes nothing. ResNet-50 with random weights on a twin, with the optimizers and
batches of C1 to C3.

* training: one epoch of each recipe, after one that warms up, beside a bare loop over batches in device memory, and
  the highest memory of each.
* input: batches from the pixel cache to the device, beside what the device consumes at its fastest.
* predict, compiled_predict: PNG files to rows, beside transformers' pipeline at its best batch size.
* float32: probabilities on the GPU beside those of the CPU, for the same weights and images.
* float64: weights after some epochs of the Trainer, beside those of plain torch.
* compiled_training: the same as training for C3 with `torch_compile`.
* resume: a run that is killed with SIGKILL after its first checkpoint and started again, beside an uninterrupted one,
  and two uninterrupted ones beside each other.

Each part is written when it ends; parts that the file has of the same device, versions and settings stay.
`--device cpu --network small` tries the script itself on a machine without a GPU. Its file says that it is no result.
"""

import argparse
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from machine import machine
from plain_torch import SMALL, against_plain_torch
from predict import BATCHES, difference, pipe, predicted
from train import bare_loop, timed, wait_for_device
from transformers.utils import logging

from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import Fold
from hf_breakhis.files import read_json, write_json, write_text
from hf_breakhis.inference.classifier import Classifier, CompiledClassifier, default_batch_size
from hf_breakhis.recipe import build_recipe, load_recipe
from hf_breakhis.run import PREDICTIONS, Run
from hf_breakhis.training.checkpoints import damage_of
from hf_breakhis.training.fold import Job, make_trainer, save_model
from hf_breakhis.training.trainer import BreakHisTrainer

RECIPES = ("c1", "c2", "c3")
CLASSES = ["benign", "malignant"]
NUM_PREDICTED = 256
SMOKE_TEST = "A test of the script without a GPU: no result."
Rows = list[dict[str, Any]]


class Bench:
    """The jobs of all parts, on one twin.

    Args:
        given: the command line.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.pictures = given.work / f"twin-{given.scale:g}-{given.image_size}"
        self.is_smoke = given.device == "cpu"

    def fields(self, name: str, folder: str, **changes: Any) -> dict[str, Any]:
        """Return a recipe of the package, on the twin and with random weights."""
        size = self.given.image_size
        twin = {"width": 700 * size // 224, "height": 460 * size // 224, "scale": self.given.scale}
        return {
            **load_recipe(name), "dataset": "twin", "twin_kwargs": twin, "data_dir": str(self.pictures),
            "init": "random", "model_kwargs": SMALL if self.given.network == "small" else None, "image_size": size,
            "use_cpu": self.is_smoke, "disable_tqdm": True, "num_train_epochs": 2,
            "output_dir": str(self.given.work / folder), **changes,
        }  # fmt: skip

    def job(self, name: str, folder: str, **changes: Any) -> Job:
        """Return what trains a recipe on all images."""
        # All images are trained on, so there is no loss to watch, and nothing is saved.
        changes |= {"scheduler_name": "constant", "scheduler_kwargs": None, "save_strategy": "no"}
        recipe = build_recipe(self.fields(name, folder, **changes), {})
        images = load_images(recipe.data)
        table = images.dataset.remove_columns("image").to_pandas()
        key = f"benchmark {images.location} {len(table)}"
        return Job(self.given.work / folder, recipe, images.dataset, table, CLASSES, 1, key)

    def trainer(self, job: Job) -> BreakHisTrainer:
        """Return the Trainer of a fold of all images."""
        return make_trainer(job, Fold(0, train=np.arange(len(job.table))), job.run / "fold-0", None)

    def training(self) -> Rows:
        """Return images per second and the highest memory of each recipe, in float32 and bfloat16."""
        return self.trained([(name, bf16, False) for name in RECIPES for bf16 in (False, True)])

    def compiled_training(self) -> Rows:
        """Return the same of c3 with `torch_compile`."""
        return self.trained([("c3", True, True)])

    def trained(self, kinds: list[tuple[str, bool, bool]]) -> Rows:
        """Return images per second and the highest memory of recipes, with or without bfloat16 and `torch_compile`."""
        rows = []
        for name, bf16, compiled in kinds:
            words = f"{name}, {'bfloat16' if bf16 else 'float32'}{', torch_compile' * compiled}"
            job = self.job(name, "training", bf16=bf16, torch_compile=compiled)
            bare, bare_memory = measured(partial(self.bare, job))
            ours, memory = measured(lambda job=job: timed(self.trainer(job)))
            rows.append({
                "what": f"{words}: images/s over the bare loop's", "value": bare / ours, "to_reach": ">= 0.97",
                "images_per_second": len(job.table) / ours, "bare_images_per_second": len(job.table) / bare,
                "highest_mib": memory, "bare_highest_mib": bare_memory,
                "tf32": job.recipe.training.tf32, "compared_with": "a bare loop that is not compiled",
            })  # fmt: skip
            print(rows[-1], flush=True)
        return rows

    def bare(self, job: Job) -> float:
        """Return the seconds of the second epoch of a bare loop."""
        epoch = bare_loop(job, channels_last=True)
        epoch()
        return epoch()

    def input(self) -> Rows:
        """Return how many times faster batches reach the device than it consumes them."""
        job = self.job("c3", "input", bf16=True)
        consumed = len(job.table) / self.bare(job)
        trainer = self.trainer(job)
        loader = trainer.get_train_dataloader()
        seconds = []
        for _ in range(2):  # the first starts the processes that load
            begin = time.perf_counter()
            for batch in loader:
                trainer._prepare_inputs(batch)
            wait_for_device()
            seconds.append(time.perf_counter() - begin)
        read = len(job.table) / seconds[-1]
        row = {"what": "input from the pixel cache over what the device consumes", "value": read / consumed}
        return [{**row, "to_reach": ">= 1.2", "images_per_second": read, "consumed_images_per_second": consumed}]

    def model(self) -> Path:
        """Return the folder of a network that was trained for an epoch on this device, in float32."""
        folder: Path = self.given.work / "model"
        job = self.job("c1", "predict", bf16=False, num_train_epochs=1)
        trainer = self.trainer(job)
        trainer.train()
        save_model(trainer.accelerator.unwrap_model(trainer.model), job.preprocessing, folder)
        return folder

    def files(self) -> list[str]:
        """Return pictures of the twin, evenly spread."""
        every = sorted(str(path) for path in self.pictures.rglob("*.png"))
        return [every[i] for i in np.linspace(0, len(every) - 1, min(NUM_PREDICTED, len(every))).astype(int)]

    def predict(self, compiled: bool = False) -> Rows:
        """Return images per second of `predict` over those of transformers' pipeline."""
        folder, files = self.model(), self.files()
        size = default_batch_size()
        sizes = {n: [pipe(str(folder), files, n, self.given.device) for _ in range(2)][-1] for n in (*BATCHES, size)}
        best, seconds = min(sizes, key=sizes.__getitem__), min(sizes.values())
        rows = []
        plain = predicted(Classifier(folder), files)()
        for bf16 in (False, True):
            words = f"predict{' --bf16' * bf16}{' --compile' * compiled}"
            way = predicted(CompiledClassifier(folder, size, bf16) if compiled else Classifier(folder, bf16), files)
            way()
            begin = time.perf_counter()
            scored = way()
            ours = time.perf_counter() - begin
            rows.append({
                "what": f"{words}: images/s over the pipeline's", "value": seconds / ours, "to_reach": ">= 3",
                "images_per_second": len(files) / ours, "pipeline_images_per_second": len(files) / seconds,
                "pipeline_batch_size": best, "against_predict": difference(plain, scored),
            })  # fmt: skip
        return rows

    def float32(self) -> Rows:
        """Return the largest difference of a probability from that of the CPU."""
        folder, files = self.model(), self.files()
        here, cpu = Classifier(folder), Classifier(folder)
        cpu.device, cpu.model = None, cpu.model.to("cpu")
        found = difference(predicted(cpu, files)(), predicted(here, files)())
        return [{"what": "largest difference of a float32 probability from the CPU's", **found,
                 "value": found["largest_difference"], "to_reach": "<= 1e-4"}]  # fmt: skip

    def float64(self) -> Rows:
        """Return the largest difference of a weight between the Trainer and plain torch, by recipe."""
        words = "largest difference of a float64 weight from plain torch's"
        return [
            {"what": f"{name}: {words}", "value": against_plain_torch(name, self.is_smoke), "to_reach": "<= 1e-8"}
            for name in RECIPES
        ]

    def resume(self) -> Rows:
        """Return how far a killed and resumed run, and an equal uninterrupted one, lie from an uninterrupted one."""
        changes = {"num_folds": 1, "test_size": 0.15, "save_strategy": "epoch", "num_train_epochs": 3}
        recipe = self.given.work / "resume.yaml"
        fields = self.fields("c3", "resume", bf16=False, **changes)
        write_text(recipe, yaml.safe_dump({key: value for key, value in fields.items() if value is not None}))
        first, again, killed = (self.given.work / name for name in ("uninterrupted", "again", "killed"))
        for run in (first, again):
            start(recipe, run, restart=True).check_returncode()
        at_step = kill(recipe, killed)
        start(recipe, killed).check_returncode()
        tables = [pd.read_csv(Run(run).fold(0).folder / PREDICTIONS) for run in (first, again, killed)]
        far = [(table["prob_malignant"] - tables[0]["prob_malignant"]).abs().max() for table in tables]
        row = {"what": "largest difference of a probability after SIGKILL and resuming", "value": far[2]}
        return [{**row, "to_reach": "that of equal runs", "of_equal_runs": far[1], "killed_after_step": at_step}]


def measured(work: Callable[[], float]) -> tuple[float, float]:
    """Return what `work` returns, and the highest memory of the GPU meanwhile, or of this process, in MiB."""
    if not torch.accelerator.is_available():
        return work(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    torch.accelerator.empty_cache()
    torch.accelerator.reset_peak_memory_stats()
    return work(), torch.accelerator.max_memory_allocated() / 2**20


def command(recipe: Path, run: Path, restart: bool) -> list[str]:
    """Return the command that trains a run."""
    flags = ["--output_dir", str(run), "--restart", str(restart).lower()]
    return [sys.executable, "-m", "hf_breakhis", "train", str(recipe), *flags]


def start(recipe: Path, run: Path, restart: bool = False) -> subprocess.CompletedProcess:
    """Train a run to its end."""
    return subprocess.run(command(recipe, run, restart), check=False)  # noqa: S603


def kill(recipe: Path, run: Path) -> int:
    """Train a run until its first checkpoint is complete, and kill it; return the step of the checkpoint."""
    process = subprocess.Popen(command(recipe, run, restart=True))  # noqa: S603
    checkpoints = Run(run).fold(0).folder / "checkpoints"
    started = time.time()
    while process.poll() is None:
        for found in checkpoints.glob("checkpoint-*"):
            if found.stat().st_mtime > started and damage_of(found) is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return int(read_json(found / "trainer_state.json")["global_step"])
        time.sleep(0.02)
    raise RuntimeError(f"the run in {run} ended with {process.returncode} before it could be killed")


PARTS: dict[str, Callable[[Bench], Rows]] = {
    "training": Bench.training, "input": Bench.input, "float32": Bench.float32, "float64": Bench.float64,
    "resume": Bench.resume, "predict": Bench.predict, "compiled_predict": partial(Bench.predict, compiled=True),
    "compiled_training": Bench.compiled_training,
}  # fmt: skip


def kept_rows(before: dict[str, Any], settings: dict[str, Any], here: dict[str, Any]) -> dict[str, Rows]:
    """Return the parts of an earlier file if they were measured with the same settings and versions."""
    same = settings.items() <= before.items() and before["machine"]["versions"] == here["versions"]
    return dict(before["rows"]) if same else {}


def main() -> None:
    """Measure every part and write JSON, or say that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="Share of the twin's 7,909 images.")
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--network", choices=("resnet-50", "small"), default="resnet-50")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--work", type=Path, default=Path("outputs/gpu-bench"))
    parser.add_argument("--json", type=Path, default=None, help="By default benchmarks/gpu.json; needed for a CPU.")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        print("skipped: no GPU")
        return
    if given.device == "cpu" and (torch.accelerator.is_available() or given.json is None):
        parser.error("--device cpu is for a machine without a GPU, and needs --json FILE")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    given.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(given)
    device = platform.processor() or "CPU" if bench.is_smoke else torch.cuda.get_device_name()
    settings = {"device": device, "scale": given.scale, "image_size": given.image_size, "network": given.network}
    path = given.json or Path("benchmarks/gpu.json")
    here = machine()
    rows = kept_rows(read_json(path), settings, here) if path.is_file() else {}
    result: dict[str, Any] = {
        "is_gpu_result": not bench.is_smoke, **({"note": SMOKE_TEST} if bench.is_smoke else {}), **settings,
        "rows": rows, "machine": here,
    }  # fmt: skip
    for name in given.parts:
        rows[name] = PARTS[name](bench)
        write_json(path, result)
    for row in (row for name in given.parts for row in rows[name]):
        print(f"{row['what']:<75}{row['value']:>12.3g}  to reach: {row['to_reach']}")
    print(f"json: {path}")


if __name__ == "__main__":
    main()
