"""How far copies lie from their originals, how far different fields lie from each other, and what the search costs.

    python benchmarks/near_copies.py [--num_images 400] [--data_dir ../shared/breakhis] [--json near_copies.json]

On a twin, drawn once into the datasets cache, and on the images in `--data_dir` besides. Distances are in waves of 255
that differ; the threshold of a near copy has to lie between those of copies and those of different images. Reports
the share of copies that are found and of different pairs that raise a false alarm, and what hashing an image costs
relative to decoding it. Prints a table and writes JSON.
"""

import argparse
import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from machine import machine
from PIL import Image, ImageEnhance, ImageFilter
from tqdm import tqdm

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.integrity.duplicates import THRESHOLD, TURNS, near_pairs, shape_code
from hf_breakhis.data.sources.table import load_images
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


def distances_of_copies(images: list[Image.Image]) -> dict[str, dict[str, float]]:
    """Return median and largest distance of each change, and the share found, over all eight ways to lay one down."""
    table = {}
    for name, change in tqdm(CHANGES.items(), desc="Copies", disable=None):
        found = []
        for number, image in enumerate(images):
            ways = [None, *Image.Transpose]
            way = ways[number % len(ways)]  # each image in another way; all are exact in the code
            copy = change(image) if way is None else change(image).transpose(way)
            found += [pair[2] for pair in near_pairs([shape_code(image), shape_code(copy)], threshold=255)]
        share = float(np.mean(np.array(found) <= THRESHOLD))
        table[name] = {"median": int(np.median(found)), "max": max(found), "found": share}
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
        "false_alarm_rate": len(alarms) / total,
        "alarms": [f"{distance}: {name}" for distance, name in alarms[:50]],
    }


def milliseconds(contents: list[bytes]) -> dict[str, float]:
    """Return the processor time of each step of the check, mean over the images."""
    pictures = [Image.open(io.BytesIO(content)) for content in contents]
    steps: dict[str, Callable[[int], object]] = {
        "decoding": lambda i: pictures[i].load(),
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
    spent["hashing"] = sum(spent.values()) - spent["decoding"]
    return spent


def measure(arguments: DataArguments) -> dict[str, Any]:
    """Measure one data set."""
    images = load_images(arguments)
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
    spent = milliseconds(contents)
    return {
        "source": images.source,
        "images": len(codes),
        "images_copied": len(sample),
        "copies": distances_of_copies([Image.open(io.BytesIO(content)).convert("RGB") for content in contents]),
        "fields": distances_of_fields(codes, table, 255 if len(codes) <= 1000 else 95),
        "milliseconds_an_image": spent,
        "hashing_over_decoding": spent["hashing"] / spent["decoding"],
        "seconds_of_all_pairs": seconds,
    }


def print_table(found: dict[str, Any]) -> None:
    """Print what was measured on one data set."""
    title = f"{found['source']}, {found['images_copied']} of {found['images']} images copied"
    print(f"\n{title:<44}{'median':>8}{'max':>6}{'found':>8}")
    for name, row in found["copies"].items():
        print(f"{name:<44}{row['median']:>8}{row['max']:>6}{row['found']:>8.0%}")
    fields = found["fields"]
    within = f"{fields['pairs_within_a_slide_folder']:,} within a slide folder"
    print(f"\ndifferent images, {fields['pairs']:,} pairs, {within}: nearest")
    for where, nearest in fields["nearest"].items():
        print(f"{where:<44}{'over ' + str(fields['searched_up_to']) if nearest is None else nearest:>16}")
    print(f"{'false alarms':<44}{fields['at_most_threshold']:>16}", *fields["alarms"], sep="\n  ")
    print("\nmilliseconds an image, processor time")
    for name, spent in found["milliseconds_an_image"].items():
        print(f"{name:<44}{spent:>16.2f}")
    print(f"{'hashing over decoding':<44}{found['hashing_over_decoding']:>16.2f}")
    print(f"{'all pairs, seconds':<44}{found['seconds_of_all_pairs']:>16.3f}")


def main() -> None:
    """Measure, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=400, help="Of the twin, about.")
    parser.add_argument("--data_dir", help="BreakHis, archive or folder: measured besides.")
    parser.add_argument("--json", type=Path, default=Path("near_copies.json"))
    args = parser.parse_args()
    wanted = [DataArguments(dataset="twin", twin_kwargs={"scale": max(0.001, min(1.0, args.num_images / 7909))})]
    if args.data_dir is not None:
        wanted.append(DataArguments(dataset="breakhis", data_dir=args.data_dir))
    sets = [measure(arguments) for arguments in wanted]
    for found in sets:
        print_table(found)
    print(f"json: {write_json(args.json, {'threshold': THRESHOLD, 'sets': sets, 'machine': machine()})}")


if __name__ == "__main__":
    main()
