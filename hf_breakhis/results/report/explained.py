"""Heat maps that `hf-breakhis explain` left in a run, as the report shows them."""

import hashlib
from pathlib import Path
from typing import Any

from hf_breakhis.files import read_json
from hf_breakhis.results.report.inline import thumbnail

NAMES = {"grad_cam": "Grad-CAM", "occlusion": "Occlusion", "image": "Image"}


def read_explained(folder: Path, folds: list[int]) -> list[dict[str, Any]]:
    """Return explain/index.json of each fold that has one, with pictures as data URIs.

    Maps of weights that were trained anew since are left out: they explain another model.

    Args:
        folder: the run.
        folds: those that ended.
    """
    told = []
    for fold in folds:
        place = folder / f"fold-{fold}" / "explain"
        weights = folder / f"fold-{fold}" / "model" / "model.safetensors"
        if not (place / "index.json").is_file() or not weights.is_file():
            continue
        index = read_json(place / "index.json")
        with weights.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != index["weights_sha256"]:
                continue
        for row in index["images"]:
            # A name that leads out of the folder is not followed.
            row["pictures"] = {
                NAMES[kind]: thumbnail(place / Path(name).name) for kind, name in row["pictures"].items()
            }
        area = index["deletion"]["area"]
        index["areas"] = [(NAMES[name], area[name], index["deletion"]["better_than_random"][name])
                          for name in index["methods"]]  # fmt: skip
        told.append(index)
    return told
