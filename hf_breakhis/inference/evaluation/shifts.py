"""The test sets of a run under simulated shifts, each image judged by the model of its own fold."""

import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from hf_breakhis.averaging import with_scores
from hf_breakhis.data.pixels.decode import decode_rgb
from hf_breakhis.data.pixels.shifts import SHIFTS, STRENGTHS, shifted
from hf_breakhis.files import InputError, nearest, require_writable, write_json
from hf_breakhis.hardware import count_cores
from hf_breakhis.inference.classifier import Classifier, default_batch_size, open_classifier
from hf_breakhis.inference.fold_images import images_of_recipe, rows_named
from hf_breakhis.inference.inputs import InputImage
from hf_breakhis.inference.model import find_model
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.shifts import describe_shifts
from hf_breakhis.run import SHIFTS as SHIFTS_FILE
from hf_breakhis.run import Run
from hf_breakhis.settings import restored_settings

TOLERANCE = 0.01  # of a probability: other hardware, other rounding
Variant = tuple[str, int]


def parse_shifts(text: str) -> list[str]:
    """Read "stain,blur", or "all".

    Raises:
        InputError: a name is not a shift.
    """
    names = list(SHIFTS) if text.strip() == "all" else [word.strip() for word in text.split(",")]
    for name in names:
        if name not in SHIFTS:
            raise InputError(
                f"--shifts has {name!r}, which is not a shift.{nearest(name, list(SHIFTS))} Choose from all, "
                f"{', '.join(SHIFTS)}."
            )
    return list(dict.fromkeys(names))


@restored_settings()
def evaluate_shifts(folder: str | Path, names: Sequence[str], batch_size: int | None = None) -> dict[str, Any]:
    """Score the test images of all folds under each shift and strength, and write shifts.json to the run.

    The model of a fold sees the images of its own test set only. What is measured is in `describe_shifts`.

    Args:
        folder: of a trained run.
        names: keys of SHIFTS.
        batch_size: images in the network at a time; by default it depends on the hardware.

    Raises:
        InputError: the run has no models or other than two classes, or its images are missing or have changed.
    """
    run = Run(Path(folder))
    _require_suitable(run)
    require_writable(run.folder / SHIFTS_FILE)
    test = gather(run)
    images = images_of_recipe(run.recipe)
    rows = rows_named(images, test["file_name"])
    variants: list[Variant] = [("none", 0), *((name, strength) for name in names for strength in STRENGTHS)]
    logits = {variant: np.full((len(test), len(images.classes)), np.nan) for variant in variants}
    with tqdm(total=len(test), desc="Shifts", unit=" images", disable=None) as bar:
        for fold in sorted(test["fold"].unique()):
            classifier = open_classifier(find_model(folder, str(fold)))
            own = np.flatnonzero(test["fold"] == fold)
            size = batch_size or default_batch_size()
            for start in range(0, len(own), size):
                places = own[start : start + size]
                chosen = images.dataset.select(rows[places], keep_in_memory=True)
                items = [InputImage(one["path"] or name, one["bytes"]) for one, name in
                         zip(chosen["image"], chosen["file_name"], strict=True)]  # fmt: skip
                for variant, batch in _prepared(items, variants, classifier):
                    logits[variant][places] = classifier.logits(batch)
                bar.update(len(places))
    tables = {variant: with_scores(test, found, images.classes) for variant, found in logits.items()}
    _require_same(run, test, tables["none", 0])
    found = describe_shifts(run, tables.pop(("none", 0)), tables)
    write_json(run.folder / SHIFTS_FILE, found)
    return found


def _require_suitable(run: Run) -> None:
    if run.is_imported:
        raise InputError(f"{run.folder} has no models of its own. --shifts needs a trained run: give its folder.")
    if run.repeats():
        example = next(iter(run.repeats().values())).folder
        raise InputError(f"{run.folder} holds repeats, each a run. Give one of them, such as {example}.")
    if run.recipe.get("features"):
        raise InputError(f"{run.folder} was trained on feature vectors. --shifts needs a run trained on images.")
    if len(run.summary["classes"]) != 2:
        raise InputError(f"--shifts needs two classes; {run.folder} has {len(run.summary['classes'])}. Give another.")
    if run.summary["image"]["pooled"]["roc_auc"]["value"] is None:
        raise InputError(f"No test set of {run.folder} has both classes, so there is no AUC. Give another run.")


def _prepared(
    items: Sequence[InputImage], variants: Sequence[Variant], classifier: Classifier
) -> Iterator[tuple[Variant, list[torch.Tensor]]]:
    """Yield each variant with the images as the network takes them; threads work on several images at a time."""

    def prepare(item: InputImage) -> list[torch.Tensor]:
        content = Path(item.path).read_bytes() if item.content is None else item.content
        pixels = decode_rgb(content, item.path)
        seed = zlib.crc32(content)
        return [classifier.prepare(np.array(shifted(pixels, *variant, seed))) for variant in variants]

    with ThreadPoolExecutor(count_cores()) as pool:
        prepared = list(pool.map(prepare, items))
    for number, variant in enumerate(variants):
        yield variant, [one[number] for one in prepared]


def _require_same(run: Run, test: pd.DataFrame, again: pd.DataFrame) -> None:
    """Raise InputError if the models of a run do not give its predictions."""
    columns = [name for name in test.columns if name.startswith("prob_")]
    difference = float((test[columns] - again[columns]).abs().to_numpy().max())
    if difference > TOLERANCE:
        raise InputError(
            f"The models of {run.folder} give other probabilities than its predictions (by up to {difference:.3f}). "
            "Its images have changed. Restore them."
        )
