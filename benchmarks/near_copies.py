"""How many changed copies are found, by kind of change, how many alarms are false, and what the search costs.

    python benchmarks/near_copies.py [--num_images 400] [--data_dir DIR ...] [--json near_copies.json]

On a twin, drawn once into the datasets cache, and on the images in each folder of `--data_dir` besides. Copies of 20
images are put among at most 150 images, once for each change. A copy is found if it and its original are a near
copy. A false alarm is a near copy of two images of the set itself. The time of the search is divided by the time of
decoding the same images, in the same run. Prints a table and writes JSON.
"""

import argparse
import io
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from machine import machine
from PIL import Image, ImageEnhance, ImageFilter
from tqdm import tqdm

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.integrity.duplicates import LIMITS, NEAR, OVERLAP, find_copies
from hf_breakhis.data.integrity.features import LocalFeatures, find_features
from hf_breakhis.data.integrity.overlaps import find_overlaps
from hf_breakhis.data.integrity.waves import near_pairs, shape_code
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import write_json

MOST_CHANGED = 20  # images that copies are made of
MOST_AMONG = 150  # images among which the copies are searched
Change = Callable[[Image.Image], Image.Image]


def jpeg(quality: int) -> Change:
    """Return what encodes an image as JPEG and decodes it."""

    def change(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return Image.open(stream).convert("RGB")

    return change


def scaled(share: float) -> Change:
    """Return what makes an image smaller."""
    return lambda image: image.resize([round(side * share) for side in image.size], Image.Resampling.BICUBIC)


def cropped(left: float, top: float, right: float, bottom: float, back: bool = False) -> Change:
    """Return what cuts shares of width and height off the sides, and enlarges the rest if asked."""

    def change(image: Image.Image) -> Image.Image:
        w, h = image.size
        box = (round(w * left), round(h * top), round(w * (1 - right)), round(h * (1 - bottom)))
        return image.crop(box).resize(image.size, Image.Resampling.BICUBIC) if back else image.crop(box)

    return change


def square(image: Image.Image) -> Image.Image:
    """Cut out the centre square and make it 224x224."""
    w, h = image.size
    side = min(w, h)
    left, top = (w - side) // 2, (h - side) // 2
    part = image.crop((left, top, left + side, top + side))
    return part.resize((224, 224), Image.Resampling.BILINEAR)


def rotated(angle: float, expand: bool = False) -> Change:
    """Return what rotates an image; the corners are black."""
    return lambda image: image.rotate(angle, Image.Resampling.BILINEAR, expand=expand)


def rotated_inside(angle: float) -> Change:
    """Return what rotates an image and cuts out the largest frame of its proportions without corners."""

    def change(image: Image.Image) -> Image.Image:
        w, h = image.size
        cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
        share = min(w / (w * cos + h * sin), h / (w * sin + h * cos))
        x, y = (side * (1 - share) / 2 for side in (w, h))
        turned = image.rotate(angle, Image.Resampling.BILINEAR)
        return turned.crop((round(x), round(y), round(w - x), round(h - y)))

    return change


def shifted(x: float, y: float) -> Change:
    """Return what shifts an image by shares of its sides; the rest is white."""

    def change(image: Image.Image) -> Image.Image:
        way = (1, 0, x * image.width, 0, 1, y * image.height)
        return image.transform(image.size, Image.Transform.AFFINE, way, fillcolor="white")

    return change


def stained(powers: tuple[float, float, float]) -> Change:
    """Return what multiplies the optical density of each channel."""
    return lambda image: Image.fromarray((255 * (np.asarray(image) / 255) ** powers).round().astype(np.uint8))


def noisy(levels: float) -> Change:
    """Return what adds noise of this many grey levels."""

    def change(image: Image.Image) -> Image.Image:
        noise = np.random.default_rng(0).normal(0, levels, (image.height, image.width, 3))
        return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))

    return change


def several(image: Image.Image) -> Image.Image:
    """Mirror, rotate by 30 degrees, crop, recolour and encode as JPEG."""
    turned = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(30, Image.Resampling.BILINEAR)
    return jpeg(50)(stained((1.2, 0.9, 1.0))(cropped(0.1, 0, 0, 0.1)(turned)))


CHANGES: dict[str, Change] = {
    "cropped, 5 % off each side": cropped(0.05, 0.05, 0.05, 0.05),
    "cropped, 10 % off each side": cropped(0.1, 0.1, 0.1, 0.1),
    "cropped, 20 % off each side": cropped(0.2, 0.2, 0.2, 0.2),
    "cropped, 20 % off left and top": cropped(0.2, 0.2, 0, 0),
    "cropped, 20 % off right, enlarged": cropped(0, 0, 0.2, 0, back=True),
    "centre square of 224x224": square,
    "rotated by 90 degrees": rotated(90, True),
    **{f"rotated by {angle} degrees": rotated(angle) for angle in (5, 15, 30, 45, 70, 160)},
    "rotated by 45 degrees, whole": rotated(45, True),
    "rotated by 17 degrees, without corners": rotated_inside(17),
    "rotated by 45 degrees, without corners": rotated_inside(45),
    "shifted by 3 %": shifted(0.03, 0),
    "shifted by 20 % and 10 %": shifted(0.2, -0.1),
    "half the size": scaled(0.5),
    "a quarter of the size": scaled(0.25),
    "squashed to 224x224": lambda image: image.resize((224, 224), Image.Resampling.BILINEAR),
    "JPEG quality 75": jpeg(75),
    "JPEG quality 30": jpeg(30),
    "brightness 0.7": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "contrast 0.7": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "stain 1.3, 0.8, 1.1": stained((1.3, 0.8, 1.1)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirrored, rotated, cropped, stained, JPEG": several,
    # beyond what is promised
    "cropped, 30 % off each side": cropped(0.3, 0.3, 0.3, 0.3),
    "blur of 3 pixels, rotated by 30 degrees": lambda image: rotated(30)(image.filter(ImageFilter.GaussianBlur(3))),
    "noise of 25 levels, rotated by 30 degrees": lambda image: rotated(30)(noisy(25)(image)),
}


class Found:
    """What is known of images: their names, codes and features."""

    def __init__(self, names: list[str], codes: list[str], features: list[LocalFeatures]) -> None:
        self.names, self.codes, self.features = names, codes, features

    def pairs(self) -> pd.DataFrame:
        """Return the pairs that show the same."""
        hashes = dict.fromkeys(("file_name", "content_sha256", "pixels_sha256"), self.names)
        files = pd.DataFrame({**hashes, "label": 0, "specimen_id": self.names, "shape": self.codes})
        return find_copies(files, self.features)

    def some(self, number: int, wanted: set[str]) -> "Found":
        """Return the wanted images and others, evenly spread, `number` in all."""
        others = [row for row, name in enumerate(self.names) if name not in wanted]
        spread = np.linspace(0, len(others) - 1, min(number - len(wanted), len(others)), dtype=int)
        rows = sorted({row for row, name in enumerate(self.names) if name in wanted} | {others[at] for at in spread})
        return Found(*([part[row] for row in rows] for part in (self.names, self.codes, self.features)))


def rates_of_copies(known: Found, images: dict[str, Image.Image]) -> dict[str, float]:
    """Return, for each change, the share of copies that are found among other images."""
    known = known.some(MOST_AMONG, set(images))
    rates = {}
    for name, change in tqdm(CHANGES.items(), desc="Copies", disable=None):
        copies = {f"copy of {original}": change(image) for original, image in images.items()}
        more = Found(
            [*known.names, *copies],
            [*known.codes, *(shape_code(copy) for copy in copies.values())],
            [*known.features, *(find_features(copy) for copy in copies.values())],
        )
        pairs = more.pairs()
        near = set(pairs["a"][pairs["kind"] == NEAR] + "|" + pairs["b"][pairs["kind"] == NEAR])
        rates[name] = sum(f"{original}|copy of {original}" in near for original in images) / len(images)
    return rates


def measure(source: str, contents: dict[str, bytes], specimens: dict[str, str]) -> dict[str, Any]:
    """Measure one data set: name -> bytes, and name -> specimen."""
    seconds = dict.fromkeys(("decoding", "shape codes", "features", "comparing"), 0.0)
    codes, features = [], []
    for content in tqdm(contents.values(), desc="Reading", disable=None):
        times = [time.thread_time()]
        picture = Image.open(io.BytesIO(content))
        picture.load()
        times.append(time.thread_time())
        codes.append(shape_code(picture))
        times.append(time.thread_time())
        features.append(find_features(picture))
        times.append(time.thread_time())
        for step, spent in zip(seconds, np.diff(times).tolist(), strict=False):
            seconds[step] += spent
    start = time.process_time()
    near_pairs(codes)
    find_overlaps(features)
    seconds["comparing"] = time.process_time() - start
    known = Found(list(contents), codes, features)
    pairs = known.pairs()
    where = Counter(specimens[a] == specimens[b] for a, b in zip(pairs["a"], pairs["b"], strict=True))
    sample = np.linspace(0, len(contents) - 1, min(MOST_CHANGED, len(contents)), dtype=int)
    names = [list(contents)[row] for row in sample]
    pictures = {name: Image.open(io.BytesIO(contents[name])).convert("RGB") for name in names}
    # The check of the images decodes them for the search too.
    cost = (sum(seconds.values()) - seconds["decoding"]) / seconds["decoding"]
    near = pairs[pairs["kind"] == NEAR]
    return {
        "source": source,
        "images": len(contents),
        "images_copied": len(names),
        "among": min(MOST_AMONG, len(contents)),
        "found": rates_of_copies(known, pictures),
        "pairs": len(contents) * (len(contents) - 1) // 2,
        "near_copies": [f"{row['a']} = {row['b']} ({row['turn']})" for row in near.to_dict("records")],
        "overlapping_fields": int((pairs["kind"] == OVERLAP).sum()),
        "across_specimens": where[False],
        "seconds": seconds,
        "cost_over_decoding": cost,
    }


def read(arguments: DataArguments) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the bytes and the specimens of the images of a source, by name."""
    rows = load_images(arguments).dataset.cast_column("image", datasets.Image(decode=False))
    contents = {
        name: image["bytes"] or Path(image["path"]).read_bytes()
        for name, image in zip(rows["file_name"], rows["image"], strict=True)
    }
    return contents, dict(zip(rows["file_name"], rows["specimen_id"], strict=True))


def print_table(sets: list[dict[str, Any]]) -> None:
    """Print what was measured."""
    print(f"{'copies found':<44}" + "".join(f"{one['source'][:12]:>14}" for one in sets))
    for name in CHANGES:
        print(f"{name:<44}" + "".join(f"{one['found'][name]:>14.0%}" for one in sets))
    for key in ("images", "pairs", "overlapping_fields", "across_specimens"):
        print(f"{key.replace('_', ' '):<44}" + "".join(f"{one[key]:>14,}" for one in sets))
    print(f"{'near copies in the set itself':<44}" + "".join(f"{len(one['near_copies']):>14}" for one in sets))
    for step in sets[0]["seconds"]:
        print(f"{step + ', seconds':<44}" + "".join(f"{one['seconds'][step]:>14.1f}" for one in sets))
    print(f"{'search over decoding':<44}" + "".join(f"{one['cost_over_decoding']:>14.2f}" for one in sets))
    for one in sets:
        print(*one["near_copies"], sep="\n")


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_images", type=int, default=400, help="Of the twin, about; 0 for no twin.")
    parser.add_argument("--data_dir", nargs="*", default=[], help="BreakHis, archive or folder: measured besides.")
    parser.add_argument("--json", type=Path, default=Path("near_copies.json"))
    args = parser.parse_args()
    scale = max(0.001, min(1.0, args.num_images / 7909))
    wanted = [("twin", DataArguments(dataset="twin", twin_kwargs={"scale": scale}))] if args.num_images else []
    for folder in args.data_dir:
        wanted.append((Path(folder).name, DataArguments(dataset="breakhis", data_dir=folder)))
    sets = [measure(name, *read(arguments)) for name, arguments in wanted]
    print_table(sets)
    print(f"json: {write_json(args.json, {'sets': sets, 'not_seen': LIMITS, 'machine': machine()})}")


if __name__ == "__main__":
    main()
