"""Example images of a test set: the most confident correct predictions and errors, each class in turn."""

from pathlib import Path

import numpy as np
import pandas as pd
from datasets import Dataset
from PIL import Image

from hf_breakhis.data.counts import original_bytes
from hf_breakhis.data.filenames import picture_name
from hf_breakhis.data.open_image import open_image
from hf_breakhis.files import write_json
from hf_breakhis.folders import FolderKind, replace_folder
from hf_breakhis.run import INDEX

EXAMPLES = FolderKind("set of examples", ("*.png", INDEX))
NUM_EXAMPLES = 6
WIDTH = 224


def write_examples(folder: Path, predictions: pd.DataFrame, dataset: Dataset, rows: np.ndarray) -> None:
    """Write thumbnails and their index.

    Args:
        folder: `fold-i/examples`, which is replaced.
        predictions: of the test set of the fold, one row for each of `rows`.
        dataset: all images.
        rows: row numbers of the test set in `dataset`.
    """
    confidence = predictions.filter(like="prob_").max(axis=1)
    right = predictions["predicted"] == predictions["label"]
    index, pictures = [], {}
    for kind, chosen in (("right", right), ("wrong", ~right)):
        # mergesort keeps the order of equal values, so equal runs show equal images
        surest = confidence[chosen].sort_values(ascending=False, kind="mergesort").index
        # one of each pair of label and prediction in turn, so that both kinds of errors are shown
        turns = predictions.loc[surest].groupby(["label", "predicted"]).cumcount()
        for i in turns.sort_values(kind="mergesort").index[:NUM_EXAMPLES]:
            row = predictions.loc[i]
            name = picture_name(row["file_name"])
            pictures[name] = open_image(original_bytes(dataset[int(rows[i])]["image"]))
            index.append(
                {
                    "file_name": name,
                    "label": int(row["label"]),
                    "predicted": int(row["predicted"]),
                    "probability": float(confidence[i]),
                    "kind": kind,
                }
            )

    def fill(part: Path) -> None:
        for name, picture in pictures.items():
            thumbnail(picture).save(part / name)
        write_json(part / INDEX, index)

    replace_folder(folder, fill, EXAMPLES)


def thumbnail(picture: Image.Image) -> Image.Image:
    """Return the image at most `WIDTH` pixels wide, without the metadata of the original."""
    width = min(WIDTH, picture.width)
    small = picture.convert("RGB").resize(
        (width, max(1, round(picture.height * width / picture.width))), Image.Resampling.BOX
    )
    small.info.clear()
    return small
