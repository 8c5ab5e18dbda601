"""Heat maps that `hf-breakhis explain` left in a run, as the report shows them."""

from pathlib import Path
from typing import Any

from hf_breakhis.results.report.inline import thumbnail_uri
from hf_breakhis.run import EXPLAINED, Run

NAMES = {"grad_cam": "Grad-CAM", "occlusion": "Occlusion", "image": "Image"}


def read_explained(run: Run) -> list[dict[str, Any]]:
    """Return the index of the heat maps of each fold that has them, with pictures as data URIs.

    Maps of weights that were trained anew since are left out: they explain another model.
    """
    found = []
    for fold in run.summary["protocol"]["folds_present"]:
        index = run.fold(fold).read_explained()
        if index is None:
            continue
        place = run.fold(fold).folder / EXPLAINED
        for row in index["images"]:
            # A name that leads out of the folder is not followed.
            row["pictures"] = {
                NAMES[kind]: thumbnail_uri(place / Path(name).name) for kind, name in row["pictures"].items()
            }
        area = index["deletion"]["area"]
        index["areas"] = [(NAMES[name], area[name], index["deletion"]["better_than_random"][name])
                          for name in index["methods"]]  # fmt: skip
        found.append(index)
    return found
