"""One trial: train on each fold of its part, score all folds together, stop if it is worse than the median."""

import dataclasses
import gc
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from hf_breakhis.data.splits import Fold
from hf_breakhis.files import InputError
from hf_breakhis.recipe import Recipe
from hf_breakhis.results.scores.paired import point_scores
from hf_breakhis.training.fold import Job, make_trainer, predict_part
from hf_breakhis.training.progress import PlainLines, TitledBars

# What a trial may end with: contradicting fields, or a network that does not fit into the memory.
FAILURES = (InputError, torch.OutOfMemoryError)


class DivergedError(InputError):
    """Training gave logits that are not finite."""


def is_watched(recipe: Recipe) -> bool:
    """Return whether evaluations during training decide something: a checkpoint, an early stop or a learning rate."""
    training = recipe.training
    stops = training.early_stopping_patience is not None
    return training.load_best_model_at_end or stops or training.scheduler_name == "plateau"


def quiet(recipe: Recipe) -> Recipe:
    """Return the recipe of a trial: without checkpoints, trackers and evaluations that decide nothing."""
    training = recipe.training
    changes: dict[str, Any] = {} if is_watched(recipe) else {"eval_strategy": "no"}
    changes |= {} if training.load_best_model_at_end else {"save_strategy": "no"}
    changes |= {"logging_strategy": "no", "report_to": "none", "disable_tqdm": True, "restart": False}
    return Recipe(recipe.data, recipe.model, dataclasses.replace(training, **changes))


def fit(job: Job, fold: Fold, work: Path) -> pd.DataFrame:
    """Train on a fold and return the predictions of its test set; no file stays.

    Args:
        job: with the recipe of the trial.
        fold: rows of each part.
        work: folder for temporary files.

    Raises:
        DivergedError: logits are not finite.
        StoppedError: after SIGTERM or Ctrl-C.
    """
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        trainer = make_trainer(job, fold, work / Path(folder).name, None)
        for lines in (PlainLines, TitledBars):
            trainer.remove_callback(lines)
        trainer.compute_metrics = _checked(trainer.compute_metrics if is_watched(job.recipe) else None)
        try:
            trainer.train()
            job.stop.raise_if_requested()
            table = predict_part(trainer, job, fold, "test", np.zeros(len(job.table), dtype=bool))
        finally:  # also after an error, so that the next trial has the memory of the GPU
            trainer.accelerator.free_memory()
            del trainer
            gc.collect()
    return table


def _checked(metrics: Callable[[Any], dict[str, float]] | None) -> Callable[[Any], dict[str, float]]:
    """Return the metrics of an evaluation, which refuse logits that are not finite."""

    def checked(output: Any) -> dict[str, float]:
        if not np.isfinite(output.predictions).all():
            raise DivergedError("Training diverged: the logits are not finite. Lower the learning rate.")
        return {} if metrics is None else metrics(output)

    return checked


def fit_folds(
    job: Job, folds: Sequence[Fold], metric: str, work: Path, is_hopeless: Callable[[float, int], bool]
) -> tuple[pd.DataFrame, float, bool]:
    """Train on folds one after the other.

    Args:
        job: with the recipe of the trial.
        folds: whose test sets are scored together.
        metric: one of `PAIRED`.
        work: folder for temporary files.
        is_hopeless: takes the score of the folds so far and the number of the last one; true stops the trial.

    Returns:
        The predictions, their score, and whether the trial was stopped before its last fold.

    Raises:
        InputError: as `fit`, or the score is not defined.
    """
    tables: list[pd.DataFrame] = []
    value = math.nan
    for number, fold in enumerate(folds):
        tables.append(fit(job, fold, work))
        value = point_scores(pd.concat(tables, ignore_index=True))[metric]
        if math.isnan(value):
            raise InputError(f"The score {metric} is not defined on these folds. Choose another --metric.")
        if is_hopeless(value, number) and number < len(folds) - 1:
            return pd.concat(tables, ignore_index=True), value, True
    return pd.concat(tables, ignore_index=True), value, False
