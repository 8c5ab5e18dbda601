"""How fast batches reach a model: the usual way, ours without the pixel cache, ours with it, and the limit.

    python benchmarks/data_path.py [--num_images 512] [--data_dir FOLDER] [--rounds 5] [--json data_path.json]

All ways see the same images in the same order, 224 pixels, batches of 64, one after the other in each round; a round
is one epoch, and the median over the rounds counts. The first round, which starts workers, is left out. Images are a
twin of 700x460, drawn once into the datasets cache, or those of an official tree. Prints a table and writes JSON.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from machine import machine
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.pixels.cache import open_cache
from hf_breakhis.data.pixels.decode import decode_rgb, decoder
from hf_breakhis.data.pixels.transforms import MEAN, SD, WholeBatches, normalize, whole_batch
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import write_json

SIZE, BATCH, WORKERS = 224, 64, 2
TWIN = {"width": 700, "height": 460}
Epoch = Callable[[], int]  # walks through all batches and returns how many images there were
EVALUATION = Compose([Resize((SIZE, SIZE)), CenterCrop(SIZE), ToTensor(), Normalize(MEAN, SD)])


def usual_way(folder: Path, order: list[int]) -> Epoch:
    """Transformers' example of image classification, restated: its evaluation transform, on Pillow images."""
    images = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train")
    images = images.select(order).with_transform(see)
    loader = DataLoader(images, BATCH, num_workers=WORKERS, persistent_workers=True, collate_fn=stack)
    return lambda: sum(len(batch["labels"]) for batch in loader)


def see(examples: dict[str, list]) -> dict[str, list]:
    """Turn a batch of Pillow images into tensors."""
    examples["pixel_values"] = [EVALUATION(picture.convert("RGB")) for picture in examples["image"]]
    return examples


def stack(examples: list[dict]) -> dict[str, torch.Tensor]:
    """Make a batch of single images."""
    pixels = torch.stack([example["pixel_values"] for example in examples])
    return {"pixel_values": pixels, "labels": torch.tensor([example["label"] for example in examples])}


def our_way(images: WholeBatches, order: list[int], workers: int, normalized: bool) -> Epoch:
    """Batches as a fold's Trainer takes them; normalised into one reused buffer, or left as bytes for a device."""
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    loader = DataLoader(
        images, batch_sampler=batches, collate_fn=whole_batch, num_workers=workers, persistent_workers=workers > 0
    )
    buffer = torch.empty(BATCH, 3, SIZE, SIZE)

    def epoch() -> int:
        count = 0
        for batch in loader:
            pixels = batch["pixel_values"]
            if normalized:
                normalize(pixels, out=buffer[: len(pixels)])
            count += len(pixels)
        return count

    return epoch


def memcpy(num_images: int, dtype: torch.dtype) -> Epoch:
    """Copy as many bytes, a batch at a time: what no loader can beat."""
    source = torch.zeros(num_images, 3, SIZE, SIZE, dtype=dtype)
    target = torch.empty(BATCH, 3, SIZE, SIZE, dtype=dtype)

    def epoch() -> int:
        for part in source.split(BATCH):
            target[: len(part)].copy_(part)
        return num_images

    return epoch


class Contents(Dataset):
    """Decodes files and keeps nothing: the part of building the cache that cannot be saved."""

    def __init__(self, files: datasets.Dataset) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, rows: list[int]) -> int:
        """Decode some files and return how many."""
        for image in self.files[rows]["image"]:
            decode_rgb(Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"])
        return len(rows)


def time_building(dataset: datasets.Dataset, rounds: int) -> dict[str, Any]:
    """Compare building the cache with decoding alone, both with all cores and the same kind of workers."""
    files = dataset.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
    cores = len(os.sched_getaffinity(0))
    seconds: dict[str, list[float]] = {"decoding": [], "building": []}
    for i in range(rounds):
        loader = DataLoader(Contents(files), 16, num_workers=cores, collate_fn=lambda count: count)
        seconds["decoding"].append(clock(lambda loader=loader: sum(loader))[1])
        pixels, taken = clock(lambda i=i: open_cache(dataset, SIZE, f"benchmark {os.getpid()} {i}"))
        seconds["building"].append(taken)
        for name in pixels.path.parent.glob(f"{pixels.path.stem}.*"):
            name.unlink()
    ratios = [built / decoded for built, decoded in zip(seconds["building"], seconds["decoding"], strict=True)]
    return {
        "decoder": decoder(),
        "decoding_images_per_second": len(dataset) / statistics.median(seconds["decoding"]),
        "building_images_per_second": len(dataset) / statistics.median(seconds["building"]),
        "building_over_decoding": statistics.median(ratios),
    }


def clock(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `run` returned and the seconds it took."""
    begin = time.perf_counter()
    result = run()
    return result, time.perf_counter() - begin


def time_ways(ways: dict[str, Epoch], rounds: int) -> Iterator[dict[str, float]]:
    """Yield the images per second of each way, once a round, after a first round that warms up."""
    for i in range(rounds + 1):
        rates = {}
        for name, epoch in ways.items():
            count, seconds = clock(epoch)
            rates[name] = count / seconds
        if i:
            yield rates


def load(data_dir: str | None, num_images: int) -> tuple[Path, datasets.Dataset, str]:
    """Return folder, images and source."""
    kwargs: dict[str, Any] = {"dataset": "breakhis", "data_dir": data_dir}
    if data_dir is None:
        kwargs = {"dataset": "twin", "twin_kwargs": {**TWIN, "scale": num_images / 7909}}
    images = load_images(DataArguments(**kwargs))
    return Path(images.location), images.dataset, images.source


def print_table(rows: Iterable[tuple]) -> None:
    """Print rows of name, images per second, ratio to the usual way, and the target, if any."""
    print(f"{'':58}{'images/s':>10}{'times (a)':>11}  to reach")
    for name, rate, ratio, target in rows:
        print(f"{name:58}{rate:>10,.0f}{ratio:>11.1f}  {target}")


TARGETS = {
    "(b) ours without cache, 2 workers, uint8": "1.5",
    "(c) ours with cache, evaluation, uint8": "20, and 3,500 images/s",
    "(d) ours with cache, dihedral, uint8": "20, and 3,500 images/s",
    "(c) ours with cache, evaluation, float32": "15",
    "(d) ours with cache, dihedral, float32": "15",
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--num_images", type=int, default=512, help="About how many images the twin is to have.")
    parser.add_argument("--data_dir", help="An official tree in place of the twin; its images are repeated if few.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", default="data_path.json")
    args = parser.parse_args()
    folder, dataset, source = load(args.data_dir, args.num_images)
    repeats = max(1, round(args.num_images / len(dataset)))
    order = np.random.default_rng(0).permutation(np.tile(np.arange(len(dataset)), repeats)).tolist()
    building = time_building(dataset, args.rounds)
    pixels = open_cache(dataset, SIZE, f"benchmark {folder}")

    def ours(augmentation: str, workers: int, normalized: bool, cached: bool = True) -> Epoch:
        images = WholeBatches(dataset, SIZE, augmentation, source=pixels if cached else None)
        return our_way(images, order, workers, normalized)

    first = "(a) the usual way, Pillow, 2 workers, float32"
    ways = {
        first: usual_way(folder, order),
        "(b) ours without cache, 2 workers, uint8": ours("none", WORKERS, False, cached=False),
        "(b) ours without cache, 2 workers, float32": ours("none", WORKERS, True, cached=False),
    }
    for kind, normalized, dtype in (("uint8", False, torch.uint8), ("float32", True, torch.float32)):
        for letter, name, augmentation in (("c", "evaluation", "none"), ("d", "dihedral", "dihedral")):
            ways[f"({letter}) ours with cache, {name}, {kind}"] = ours(augmentation, 0, normalized)
            ways[f"({letter}) ours with cache, {name}, {kind}, 2 workers"] = ours(augmentation, WORKERS, normalized)
        ways[f"(e) memcpy of the same bytes, {kind}"] = memcpy(len(order), dtype)
    begin = os.getloadavg()[0]
    rounds = list(time_ways(ways, args.rounds))
    rates = {name: statistics.median(rates[name] for rates in rounds) for name in ways}
    ratios = {name: statistics.median(rates[name] / rates[first] for rates in rounds) for name in ways}
    print_table((name, rates[name], ratios[name], TARGETS.get(name, "")) for name in ways)
    print(
        f"building the cache: {building['building_images_per_second']:,.0f} images/s, decoding alone with "
        f"{building['decoder']} {building['decoding_images_per_second']:,.0f}: "
        f"{building['building_over_decoding']:.2f} times as long (to reach: 1.15)"
    )
    result = {
        "images_per_second": rates,
        "times_the_usual_way": ratios,
        "rounds": rounds,
        "building": building,
        "images": {"source": source, "different": len(dataset), "an_epoch": len(order), "image_size": SIZE},
        "machine": machine() | {"load_before": begin, "load_after": os.getloadavg()[0]},
    }
    print(f"written: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
