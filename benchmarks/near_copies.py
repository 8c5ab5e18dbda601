"""How far copies lie from their originals, how far different fields lie from each other, and what the search costs.

    python benchmarks/near_copies.py ../shared/breakhis [--dataset twin] [--json near_copies.json]

Prints a table and writes JSON. Distances are in waves of 255 that differ (hf_breakhis/data/duplicates.py); the
threshold of a near copy has to lie between the two. Images that lie nearer to each other than the threshold are told
one by one: they are copies, or false alarms.
"""

import argparse
import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from tqdm import tqdm

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.duplicates import THRESHOLD, TURNS, near_pairs, shape_code
from hf_breakhis.data.sources import load_images
from hf_breakhis.files import write_json

MOST_CHANGED = 80  # images that copies are made of


def jpeg(quality: int) -> Callable[[Image.Image], Image.Image]:
    """Return what encodes an image as JPEG and decodes it."""

    def change(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return Image.open(stream).convert("RGB")

    return change


def scaled(share: float) -> Callable[[Image.Image], Image.Image]:
    """Return what makes an image smaller."""
    return lambda image: image.resize([round(side * share) for side in image.size], Image.Resampling.BICUBIC)


def cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    """Return what cuts a share of the width and height off each side."""

    def change(image: Image.Image) -> Image.Image:
        x, y = round(image.width * share), round(image.height * share)
        return image.crop((x, y, image.width - x, image.height - y))

    return change


def stained(powers: tuple[float, float, float]) -> Callable[[Image.Image], Image.Image]:
    """Return what multiplies the optical density of each channel."""
    return lambda image: Image.fromarray((255 * (np.asarray(image) / 255) ** powers).round().astype(np.uint8))


def noisy(image: Image.Image) -> Image.Image:
    """Add noise of 5 grey levels."""
    noise = np.random.default_rng(0).normal(0, 5, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    **{f"JPEG quality {quality}": jpeg(quality) for quality in (95, 75, 50, 30)},
    "half the size": scaled(0.5),
    "a quarter of the size": scaled(0.25),
    "squashed to 224x224": lambda image: image.resize((224, 224), Image.Resampling.BILINEAR),
    "brightness 1.1": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "brightness 0.8": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "contrast 0.8": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "stain 1.1, 0.9, 1.0": stained((1.1, 0.9, 1.0)),
    "noise of 5 levels": noisy,
    "blur of 2 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "1 % cut off each side": cropped(0.01),
    "3 % cut off each side": cropped(0.03),
}


def distances_of_copies(images: list[Image.Image]) -> dict[str, dict[str, int]]:
    """Return median and largest distance of each change, over the images and all eight ways to lay them down."""
    table = {}
    for name, change in tqdm(CHANGES.items(), desc="Copies", disable=None):
        found = []
        for number, image in enumerate(images):
            ways = [None, *Image.Transpose]
            way = ways[number % len(ways)]  # each image in another way; all are exact in the code
            copy = change(image) if way is None else change(image).transpose(way)
            found += [pair[2] for pair in near_pairs([shape_code(image), shape_code(copy)], threshold=255)]
        table[name] = {"median": int(np.median(found)), "max": max(found)}
    return table


def distances_of_fields(codes: list[str], table: dict[str, list], limit: int) -> dict:
    """Return how near different images come, within a slide folder, a specimen, and across specimens."""
    pairs = near_pairs(codes, limit)
    _, counts = np.unique(table["patient_id"], return_counts=True)
    places = ("within a slide folder", "within a specimen", "across specimens")
    nearest: dict[str, list[tuple[int, str]]] = {place: [] for place in places}
    for i, j, distance, turn in pairs:
        name = f"{table['file_name'][i]} = {table['file_name'][j]} ({TURNS[turn]})"
        where = "across specimens"
        if table["patient_id"][i] == table["patient_id"][j]:
            where = "within a slide folder"
        elif table["specimen_id"][i] == table["specimen_id"][j]:
            where = "within a specimen"
        nearest[where].append((distance, name))
    total = len(codes) * (len(codes) - 1) // 2
    alarms = sorted(pair for group in nearest.values() for pair in group if pair[0] <= THRESHOLD)
    return {
        "pairs": total,
        "pairs_within_a_slide_folder": int((counts * (counts - 1) // 2).sum()),
        "searched_up_to": limit,
        "nearest": {where: min(group)[0] if group else None for where, group in nearest.items()},
        "at_most_threshold": len(alarms),
        "share": len(alarms) / total,
        "alarms": [f"{distance}: {name}" for distance, name in alarms[:50]],
    }


def milliseconds(contents: list[bytes]) -> dict[str, float]:
    """Return the processor time of each step of the check, mean over the images."""
    pictures = [Image.open(io.BytesIO(content)) for content in contents]
    steps: dict[str, Callable[[int], object]] = {
        "decode": lambda i: pictures[i].load(),
        "sha256 of the file": lambda i: hashlib.sha256(contents[i]).hexdigest(),
        "sha256 of the pixels": lambda i: hashlib.sha256(pictures[i].tobytes()).hexdigest(),
        "shape code": lambda i: shape_code(pictures[i]),
    }
    spent = {}
    for name, step in steps.items():
        start = time.thread_time()
        for i in range(len(contents)):
            step(i)
        spent[name] = 1e3 * (time.thread_time() - start) / len(contents)
    return spent


def main() -> None:
    """Measure one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("--dataset", default="breakhis")
    parser.add_argument("--json", type=Path, default=Path("near_copies.json"))
    args = parser.parse_args()
    images = load_images(DataArguments(dataset=args.dataset, data_dir=args.data_dir))
    rows = images.dataset.cast_column("image", datasets.Image(decode=False))
    table = {name: list(rows[name]) for name in ("file_name", "patient_id", "specimen_id")}

    def read(row: int) -> bytes:
        image = rows[row]["image"]
        return image["bytes"] or Path(image["path"]).read_bytes()

    bar = tqdm(range(len(rows)), desc="Reading", disable=None)
    codes = [shape_code(Image.open(io.BytesIO(read(row)))) for row in bar]
    sample = np.linspace(0, len(rows) - 1, min(MOST_CHANGED, len(rows)), dtype=int).tolist()
    contents = [read(row) for row in sample]
    start = time.thread_time()
    near_pairs(codes)
    seconds = time.thread_time() - start
    found = {
        "location": args.data_dir,
        "images": len(codes),
        "threshold": THRESHOLD,
        "copies": distances_of_copies([Image.open(io.BytesIO(content)).convert("RGB") for content in contents]),
        "fields": distances_of_fields(codes, table, 255 if len(codes) <= 1000 else 95),
        "milliseconds_an_image": milliseconds(contents),
        "seconds_of_all_pairs": seconds,
    }
    print(f"\n{'Copies of ' + str(len(sample)) + ' images':<34}{'median':>8}{'max':>8}")
    for name, row in found["copies"].items():
        print(f"{name:<34}{row['median']:>8}{row['max']:>8}")
    fields = found["fields"]
    within = fields["pairs_within_a_slide_folder"]
    print(f"\nDifferent images, {fields['pairs']:,} pairs, {within:,} within a slide folder: nearest")
    for where, nearest in fields["nearest"].items():
        print(f"{where:<34}{'over ' + str(fields['searched_up_to']) if nearest is None else nearest:>16}")
    print(f"at most {THRESHOLD}: {fields['at_most_threshold']} pairs", *fields["alarms"], sep="\n  ")
    print("\nMilliseconds an image, processor time")
    for name, spent in found["milliseconds_an_image"].items():
        print(f"{name:<34}{spent:>16.2f}")
    print(f"{'all pairs, seconds':<34}{found['seconds_of_all_pairs']:>16.2f}")
    print(f"json: {write_json(args.json, found)}")


if __name__ == "__main__":
    main()
