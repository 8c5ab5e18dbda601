"""How fast a network trains: transformers' way, bare loops on tensors in memory, and a whole run of ours.

    python benchmarks/train.py [--num_images 96] [--rounds 3] [--json benchmarks/train.json]

ResNet-50, random weights, 224 pixels, batches of 32, SGD, on generated pictures of 700x460. In each round every way
trains one epoch on the same images, one way after the other; the median over the rounds counts. Start-up and the first
epoch of each way are left out. "Ours" is the Trainer of a fold as `hf-breakhis train` builds it, its pixels from the
cache; "transformers" is its image-classification example restated: a plain Trainer over `imagefolder`, with its
transforms, that decodes each image in each epoch. The usual ways run in a process of their own, with memory
handled as in any other; the bare loops beside ours keep freed memory as ours does. Prints a table and writes JSON.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context, set_start_method
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from machine import machine
from torch.nn.functional import cross_entropy
from torchvision.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.data.pixels.transforms import MEAN, SD, normalize
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import Fold
from hf_breakhis.files import write_json
from hf_breakhis.hardware import find_hardware, keep_memory
from hf_breakhis.recipe import Recipe, build_recipe
from hf_breakhis.training.fold import Job, make_trainer
from hf_breakhis.training.modeling import build_model
from hf_breakhis.training.trainer import BreakHisTrainer

SIZE, BATCH = 224, 32
CLASSES = ["benign", "malignant"]
EXAMPLE, CONTIGUOUS = "transformers' example", "bare loop, contiguous"
TRAINING = {"batch_size": BATCH, "learning_rate": 0.01, "max_grad_norm": 0.0, "weight_decay": 0.01, "use_cpu": True,
            "disable_tqdm": True}  # fmt: skip


class Clock(TrainerCallback):
    """Note the seconds of each epoch."""

    def __init__(self) -> None:
        self.begin = 0.0
        self.seconds: list[float] = []

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        """Note the time."""
        wait_for_device()
        self.begin = time.perf_counter()

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """Note how long the epoch took."""
        wait_for_device()
        self.seconds.append(time.perf_counter() - self.begin)


def bare_loop(job: Job, channels_last: bool) -> Callable[[], float]:
    """A plain loop over normalised batches that lie in the memory of the device."""
    args = job.recipe.training
    model: Any = build_model(job.recipe.model, job.classes)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(args.device, memory_format=layout).train()
    batches = []
    for rows in np.array_split(np.arange(len(job.table)), range(args.batch_size, len(job.table), args.batch_size)):
        taken = {
            name: value.to(args.device) for name, value in job.images(rows).__getitems__(range(len(rows))).items()
        }
        pixels = normalize(taken["pixel_values"], how=job.preprocessing)
        batches.append((pixels.contiguous(memory_format=layout), taken["labels"]))
    kind, kwargs = BreakHisTrainer.get_optimizer_cls_and_kwargs(args)
    optimizer = kind(model.parameters(), weight_decay=args.weight_decay, **kwargs)

    def epoch() -> float:
        begin = time.perf_counter()
        for pixels, labels in batches:
            optimizer.zero_grad()
            with torch.autocast(args.device.type, torch.bfloat16, enabled=args.bf16):
                logits = model(pixels).logits
            cross_entropy(logits.float(), labels).backward()
            optimizer.step()
        wait_for_device()
        return time.perf_counter() - begin

    return epoch


def wait_for_device() -> None:
    """Wait until a GPU, if any, has done what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


@cache
def usual_way(pictures: Path, num_images: int, out: Path, name: str) -> Callable[[], float]:
    """One of the ways of other people, in their process."""
    set_start_method("fork", force=True)  # of loading processes, as everywhere
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if name == EXAMPLE:
        return transformers_way(pictures, num_images, out)
    job, _ = prepare(num_images, out / "job", pictures)
    epoch = bare_loop(job, channels_last=False)
    epoch()
    return epoch


def time_usual(*given: Any) -> float:
    """Return the seconds of an epoch of `usual_way`."""
    return usual_way(*given)()


def ours(job: Job, folder: Path) -> Callable[[], float]:
    """The Trainer of a fold, one epoch at a call, from fresh weights each time."""
    rows = np.arange(len(job.table))
    fold = Fold(0, train=rows)

    def epoch() -> float:
        trainer = make_trainer(job, fold, folder, None)
        return timed(trainer)

    return epoch


def transformers_way(folder: Path, num_images: int, out: Path) -> Callable[[], float]:
    """The example's form: imagefolder, its training transform, a plain Trainer with its defaults."""
    images = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    images = images.shuffle(seed=0).select(range(num_images))
    see = Compose([RandomResizedCrop(SIZE), RandomHorizontalFlip(), ToTensor(), Normalize(MEAN, SD)])

    def transform(examples: dict[str, list]) -> dict[str, list]:
        examples["pixel_values"] = [see(picture.convert("RGB")) for picture in examples["image"]]
        return examples

    def collate(examples: list[dict]) -> dict[str, torch.Tensor]:
        pixels = torch.stack([example["pixel_values"] for example in examples])
        return {"pixel_values": pixels, "labels": torch.tensor([example["label"] % 2 for example in examples])}

    images = images.with_transform(transform)

    def epoch() -> float:
        args = TrainingArguments(
            output_dir=str(out), num_train_epochs=2, per_device_train_batch_size=BATCH, learning_rate=0.01,
            optim="sgd", save_strategy="no", use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
            dataloader_num_workers=0,  # the default, and faster on two cores than 2
        )  # fmt: skip
        model: Any = build_model(ModelArguments(init="random"), CLASSES)
        return timed(Trainer(model, args, data_collator=collate, train_dataset=images))

    return epoch


def prepare(num_images: int, folder: Path, pictures: Path | None = None, bf16: bool = False) -> tuple[Job, Path]:
    """Return what a fold of ours needs, and the folder of the pictures."""
    twin = {"width": 700, "height": 460, "scale": num_images / 7909}
    fields = {"dataset": "twin", "twin_kwargs": twin, "init": "random", "image_size": SIZE, **TRAINING}
    fields |= {"bf16": bf16} | ({} if pictures is None else {"data_dir": str(pictures)})
    fields |= {"optimizer_name": "sgd", "optimizer_kwargs": {"momentum": 0.9}, "num_train_epochs": 2}
    recipe: Recipe = build_recipe({**fields, "output_dir": str(folder), "save_strategy": "no"}, {})
    images = load_images(recipe.data)
    dataset = images.dataset.shuffle(seed=0).select(range(num_images))
    table = dataset.remove_columns("image").to_pandas()
    return Job(folder, recipe, dataset, table, CLASSES, 1, f"benchmark {images.location}"), Path(images.location)


def timed(trainer: Trainer) -> float:
    """Train two epochs and return the seconds of the second."""
    clock = Clock()
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.seconds[-1]


def main() -> None:
    """Measure all ways in turn, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/train.json"))
    given = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    keep_memory()  # as a run does
    other = ProcessPoolExecutor(1, get_context("spawn"))
    with tempfile.TemporaryDirectory() as temporary, other as process:
        folder = Path(temporary)
        ways: dict[str, Callable[[], float]] = {}
        pictures: Path | None = None
        for bf16 in (False, True) if find_hardware(use_cpu=True).cpu_bf16 else (False,):
            kind = "bfloat16" if bf16 else "float32"
            job, pictures = prepare(given.num_images, folder, pictures, bf16)
            loop = bare_loop(job, channels_last=True)
            loop()
            ways |= {f"bare loop, channels_last, {kind}": loop, f"ours, {kind}": ours(job, folder / kind)}
        seconds: dict[str, list[float]] = {name: [] for name in (EXAMPLE, CONTIGUOUS, *ways)}
        for _ in range(given.rounds):
            for name in (EXAMPLE, CONTIGUOUS):
                started = process.submit(time_usual, pictures, given.num_images, folder / "usual", name)
                seconds[name].append(started.result())
            for name, epoch in ways.items():
                seconds[name].append(epoch())
    speeds = {name: given.num_images / statistics.median(values) for name, values in seconds.items()}
    print(f"{'':36}{'images/s':>10}{'times the example':>20}")
    for name, speed in speeds.items():
        print(f"{name:<36}{speed:>10.2f}{speed / speeds[EXAMPLE]:>20.2f}")
    result = {"images_per_second": speeds, "seconds": seconds, "num_images": given.num_images, "machine": machine()}
    print(f"json: {write_json(given.json, result)}")


if __name__ == "__main__":
    main()
