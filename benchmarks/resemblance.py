"""Does the synthetic twin resemble real BreakHis images? The same measurements on both, for the same names.

    python benchmarks/resemblance.py --images BreaKHis_v1.tar.gz --lite0 backbones/lite0
    python benchmarks/resemblance.py --settings '{"patient_effect": 1.5}' '{"class_signal": 0.5}'

The twin is drawn for the names of the real images, in their size, with its defaults and with the settings of the
demo. Measured by magnification: mean colour and its
spread between and within specimens; logistic regression on mean colour, and a linear head on frozen
EfficientNet-Lite0, by image and by specimen; the leakage premium; and the share of images whose nearest neighbour is
of the same specimen. benchmarks/real.py says how to write the backbone. `--settings` measures more twins.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import machine
from PIL import Image
from real import HEAD, MATERIAL, Part, study
from real import vectors_of as embed
from tqdm import tqdm

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.images import Images
from hf_breakhis.data.pixels.transforms import read_rgb
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.twin.tissue import draw_picture
from hf_breakhis.data.twin.traits import TwinSettings
from hf_breakhis.data.vectors import vectors_of
from hf_breakhis.files import write_json
from hf_breakhis.recipe import load_recipe
from hf_breakhis.results.signature import signature

DRAWN = {"width": 350, "height": 230}  # half the size of the archive
SIZE = (224, 224)  # of the public copies, which were resized like this
REPEATS = 3
MAGNIFICATIONS = ["100X", "200X"]
GROUPS = ["file_name", "label", "patient_id", "specimen_id", "magnification"]


def draw_image(name: str, settings: TwinSettings, folder: Path) -> None:
    """Draw the twin's image of one name, in the size of the real one."""
    place = folder / name
    if not place.is_file():
        Image.fromarray(draw_picture(name, settings)).resize(SIZE).save(place)


def draw_twin(real: Images, settings: dict[str, Any], folder: Path) -> Path:
    """Draw an image for each real one; a folder that an earlier call began is completed."""
    folder.mkdir(parents=True, exist_ok=True)
    one = partial(draw_image, settings=TwinSettings(**DRAWN, **settings), folder=folder)
    names = [Path(name).name for name in real.dataset["file_name"]]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(tqdm(pool.map(one, names, chunksize=8), total=len(names), desc=f"twin {settings}"))
    return folder


def colours(images: Images) -> dict[str, Any]:
    """Return mean colour, and its standard deviation between and within specimens; three channels of 0 to 255."""
    files = (image["path"] or image["bytes"] for image in images.dataset["image"])
    means = np.array([read_rgb(file).float().mean((1, 2)).numpy() for file in files], dtype=np.float64)
    table = pd.DataFrame(means, columns=["red", "green", "blue"])
    grouped = table.groupby(np.asarray(images.dataset["specimen_id"]))
    centre = grouped.transform("mean")
    return {
        "mean": table.mean().tolist(),
        "between_specimens": grouped.mean().std(ddof=1).tolist(),
        "within_specimens": ((table - centre) ** 2).mean().pow(0.5).tolist(),
    }


def measure(name: str, folder: Path, magnification: str, lite0: Path, work: Path) -> dict[str, Any]:
    """Measure one set of images at one magnification."""
    images = load_images(DataArguments(data_dir=str(folder), magnifications=[magnification]))
    vectors = embed(lite0, folder, magnification, work / name)
    part = Part(
        f"{name}, {magnification}",
        {**HEAD, "features": [vectors], "data_dir": str(folder), "magnifications": [magnification]},
        REPEATS,
        ("image", "specimen"),
    )
    rows = study(f"head-{magnification}", part, work / name)["rows"]
    table = images.dataset.select_columns(GROUPS).to_pandas()
    values = vectors_of(images.dataset, DataArguments(features=[vectors]))
    found = signature(values, table, set(table["file_name"]), "EfficientNet-Lite0")["rows"][-1]
    return {
        "images": len(table),
        "specimens": int(table["specimen_id"].nunique()),
        "colour": colours(images),
        "head": {level: rows[level]["scores"] for level in rows},
        "baseline": {level: rows[level]["baselines"]["mean_color"] for level in rows},
        "premium": rows["image"]["premium"],
        "signature": {
            "share": found["specimen"]["share"],
            "chance": found["specimen"]["chance"],
            **found["same_class"],
        },
    }


def line(name: str, found: dict[str, Any]) -> str:
    """Return one row of the printed table."""
    levels = ("image", "specimen")
    head = " ".join(f"{found['head'][level]['accuracy']['value']:.3f}" for level in levels)
    colour = " ".join(f"{found['baseline'][level]['accuracy']:.3f}" for level in levels)
    mean = " ".join(f"{value:.0f}" for value in found["colour"]["mean"])
    between, within = (np.mean(found["colour"][key]) for key in ("between_specimens", "within_specimens"))
    return (
        f"{name}: head {head}, colour {colour}, premium {found['premium']['accuracy']['value']:+.3f}, "
        f"same specimen {found['signature']['share']:.2f}, mean {mean}, sd between {between:.1f} within {within:.1f}"
    )


def main() -> None:
    """Draw, measure, print a line for each set and magnification, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=MATERIAL / "breakhis-224")
    parser.add_argument("--lite0", type=Path, default=Path("backbones/lite0"))
    parser.add_argument("--settings", nargs="*", default=[], help="settings of more twins, as JSON")
    parser.add_argument("--work", type=Path, default=Path("outputs/resemblance"))
    parser.add_argument("--json", type=Path, default=Path("benchmarks/resemblance.json"))
    args = parser.parse_args()
    for needed in (args.images, args.lite0):
        if not needed.exists():
            print(f"skipped: {needed} is absent")
            return
    real = load_images(DataArguments(data_dir=str(args.images), magnifications=MAGNIFICATIONS))

    sets = {"real": args.images}
    of_demo = {key: load_recipe("demo")["twin_kwargs"][key] for key in ("class_signal", "patient_effect", "noise")}
    twins = {"twin": {}, "demo": of_demo, **{f"twin {text}": json.loads(text) for text in args.settings}}
    for name, settings in twins.items():
        drawn = "-".join(f"{value:g}" for value in TwinSettings(**settings).to_dict().values())
        sets[name] = draw_twin(real, settings, args.work / "images" / f"twin-{drawn}")
    result: dict[str, Any] = {"machine": machine(), "repeats": REPEATS, "sets": {}}
    for name, folder in sets.items():
        found = {
            key: measure(folder.name if name != "real" else "real", folder, key, args.lite0, args.work)
            for key in MAGNIFICATIONS
        }
        result["sets"][name] = found
        for key, one in found.items():
            print(line(f"{name}, {key}", one), flush=True)
    print(f"json: {write_json(args.json, result)}")


if __name__ == "__main__":
    main()
