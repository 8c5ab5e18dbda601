"""Evaluations of a published model on other images, for the limits of its card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import InputError
from hf_breakhis.inference.model import Weights
from hf_breakhis.run import Run

SCORES = ("accuracy", "balanced_accuracy", "roc_auc")


def evaluations_of(folders: Sequence[Path], chosen: Sequence[Weights]) -> list[dict[str, Any]]:
    """Return what a card says of evaluated runs: title of the images, their number, and scores with intervals.

    Args:
        folders: runs that `hf-breakhis evaluate` wrote.
        chosen: weights that are published.

    Returns:
        A row for each folder; `weights_sha256` says of which weights. Names of folders may be private and are absent.

    Raises:
        InputError: a folder is no evaluated run, or a run of other weights.
    """
    rows = []
    for folder in folders:
        run = Run(folder)
        if not run.is_evaluated:
            raise InputError(f"{folder} is not an evaluated run. Give folders that `hf-breakhis evaluate` wrote.")
        checksum = run.evaluation["model"]["weights_sha256"]
        if checksum not in {weights.sha256 for weights in chosen}:
            raise InputError(
                f"{folder} evaluates other weights than those that are published. Evaluate these, or leave it out."
            )
        summary = run.summary
        scores = {row["score"]: row for row in summary["evaluation"]["scores"]}
        training = summary["evaluation"]["training"]
        rows.append(
            {
                "weights_sha256": checksum,
                "title": source_of(summary["data"]).title,
                "num_images": summary["protocol"]["num_tested"],
                "num_groups": summary["interval"]["num_groups"],
                "group": summary["interval"]["group"],
                "excluded": training["num_excluded"],
                "is_same_data": training["is_same_data"],
                "scores": [scores[name]["external"] if name in scores else None for name in SCORES],
                "difference": scores["accuracy"]["difference"],
            }
        )
    return rows
