"""Members of an ensemble: networks of one fold that differ in the training seed, and the mean probability."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from accelerate import PartialState

from hf_breakhis.averaging import mean_logits, with_scores
from hf_breakhis.data.splits import Fold
from hf_breakhis.files import InputError, write_csv, write_json
from hf_breakhis.run import EXAMPLES, HISTORY, METRICS, PREDICTIONS, FoldFolder
from hf_breakhis.run_fields import PARAMETERS
from hf_breakhis.tables import as_floats, read_table
from hf_breakhis.training.examples import write_examples
from hf_breakhis.training.fold import PARTS, Job, report_part, train_fold
from hf_breakhis.training_arguments import BreakHisTrainingArguments

SEED_STEP = 1000  # so that a member has another seed than the repeats, whose seeds follow one another
LARGEST_SEED = 2**32


def train_members(job: Job, fold: Fold, folder: Path, seen: np.ndarray, carry_from: Path | None = None) -> None:
    """Train a fold: one network, or the members of an ensemble and then the mean of their probabilities.

    Finished members are kept. Arguments as of `train_fold`.
    """
    count = job.recipe.training.members
    if count == 1:
        train_fold(job, fold, folder, seen, carry_from)
        return
    for number in range(count):
        member = FoldFolder(folder).member(number)
        if not member.is_finished:
            job.stop.raise_if_requested()
            train_fold(of_member(job, number), fold, member.folder, seen)
    if PartialState().is_main_process:
        write_ensemble(job, fold, FoldFolder(folder))
    PartialState().wait_for_everyone()


def of_member(job: Job, number: int) -> Job:
    """Return the job of one member, which has a training seed of its own; member 0 has the seed of the run."""
    recipe = job.recipe
    training = dataclasses.replace(recipe, training=with_seed(recipe.training, SEED_STEP * number))
    return dataclasses.replace(job, recipe=training, member=number)


def with_seed(training: BreakHisTrainingArguments, offset: int) -> BreakHisTrainingArguments:
    """Return the arguments with another seed for initial weights, order and augmentation."""
    data_seed = training.data_seed
    return dataclasses.replace(
        training,
        seed=(training.seed + offset) % LARGEST_SEED,
        data_seed=None if data_seed is None else (data_seed + offset) % LARGEST_SEED,
    )


def write_ensemble(job: Job, fold: Fold, folder: FoldFolder) -> None:
    """Write predictions, scores, learning curve and examples of the ensemble from the files of its members.

    The probability is the mean of the members' probabilities, and the logit is its logarithm. The learning curve is
    the mean of the members' curves.
    """
    members = [folder.member(number) for number in range(job.recipe.training.members)]
    selected = {member.read_metrics()["selected_on"] for member in members}
    part = next((name for name in ("test", "validation") if name in selected), None)
    reports = {}
    if any(len(getattr(fold, part)) for part in PARTS):
        table = mean_predictions([member.folder / PREDICTIONS for member in members], job.classes)
        write_csv(folder.folder / PREDICTIONS, table)
        table = table.assign(label=table["label"].astype(int))
        reports = {str(name): report_part(rows, job.classes) for name, rows in table.groupby("part", sort=False)}
        if len(fold.test):
            test = table[table["part"] == "test"].reset_index(drop=True)
            write_examples(folder.folder / EXAMPLES, test[: None if job.has_files else 0], job.dataset, fold.test)
    write_csv(folder.folder / HISTORY, mean_history([member.read_history() for member in members]))
    first = members[0].read_metrics()
    numbers = {name: first[name] for name in PARAMETERS if name in first}
    write_json(folder.folder / METRICS, {**reports, "selected_on": part, **numbers})
    folder.seal()


def mean_predictions(paths: list[Path], classes: list[str]) -> pd.DataFrame:
    """Return the predictions of the ensemble: the mean probability of each image over the files of its members.

    Args:
        paths: predictions.csv of each member.
        classes: names of the classes in the order of their numbers.

    Returns:
        The rows of the first file, as text but for the columns logit_CLASS, prob_CLASS and predicted.

    Raises:
        InputError: the members have different classes, or predicted different images.
    """
    names = [f"logit_{name}" for name in classes]
    tables = [read_table(path, ("file_name", "part", "label", *names)) for path in paths]
    first = tables[0]
    for path, table in zip(paths, tables, strict=True):
        if list(table.columns) != list(first.columns):
            raise InputError(f"{path} has other classes than {paths[0]}, so they are not members of one ensemble.")
        same = len(table) == len(first) and table[["file_name", "part"]].equals(first[["file_name", "part"]])
        if not same:
            raise InputError(f"{path} has other images than {paths[0]}, so they are not members of one ensemble.")
    logits = [
        np.column_stack([as_floats(table[name], path) for name in names])
        for path, table in zip(paths, tables, strict=True)
    ]
    return with_scores(first, mean_logits(logits), classes)


def mean_history(curves: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the mean learning curve, one row per epoch; an epoch that some members did not reach is of the others."""
    whole = pd.concat(curves, ignore_index=True)
    mean = whole.drop(columns="eval_part").groupby("epoch").mean()
    mean["step"] = whole.groupby("epoch")["step"].max()
    mean["eval_part"] = whole.groupby("epoch")["eval_part"].first()
    return mean.reset_index().reindex(columns=curves[0].columns)
