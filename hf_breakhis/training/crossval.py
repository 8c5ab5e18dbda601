"""Cross-validation: train the folds of a recipe one after the other, each in its own folder."""

import dataclasses
import gc
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

from hf_breakhis.averaging import transforms_of
from hf_breakhis.data.counts import describe_data
from hf_breakhis.data.dealing import MIN_GROUPS
from hf_breakhis.data.groups import groups_of
from hf_breakhis.data.integrity.check_images import Findings
from hf_breakhis.data.pixels.checked import check_and_cache
from hf_breakhis.data.pixels.transforms import AUGMENTATIONS
from hf_breakhis.data.sources.table import Images, load_images, prepare_once
from hf_breakhis.data.splits import Fold, folds_table, resume_folds, split_images, thin_parts
from hf_breakhis.data.vectors import read_vectors, vectors_of
from hf_breakhis.files import InputError, counted, require_kind, require_writable, write_csv, write_json
from hf_breakhis.folders import FolderKind, clear_folder, require_replaceable
from hf_breakhis.hardware import find_hardware, keep_memory, use_tf32
from hf_breakhis.recipe import Recipe
from hf_breakhis.run import CHECKPOINTS, COLORS, DATA, FINISHED, FOLDS, INPUTS, RECIPE, REFIT, Run
from hf_breakhis.settings import frozen_objects, restored_settings
from hf_breakhis.training.environment import (
    FOLD,
    RUN,
    check_continues,
    require_run,
    write_recipe,
)
from hf_breakhis.training.fold import Job
from hf_breakhis.training.lock import held, preparing, require_free
from hf_breakhis.training.losses import LOSSES
from hf_breakhis.training.members import train_members
from hf_breakhis.training.modeling import cached_preprocessing, check_network, preprocessing_of
from hf_breakhis.training.optim import check_optim, lookup
from hf_breakhis.training.progress import check_trackers, say
from hf_breakhis.training.stopping import StopRequest
from hf_breakhis.training_arguments import BreakHisTrainingArguments


@restored_settings()
def cross_validate(recipe: Recipe) -> bool:
    """Train every fold of the recipe that is not finished.

    Args:
        recipe: its `output_dir` is the run folder.

    Returns:
        Whether anything was trained; False if the run was already finished.

    Raises:
        InputError: the images, the split, the model or the folder cannot be used; files already written are complete.
        StoppedError: after SIGTERM or Ctrl-C; the same recipe resumes the run.
    """
    require_kind(recipe, Recipe, "cross_validate takes a recipe", "Recipe.load('c3', data_dir=FOLDER)")
    data, training = recipe.data, recipe.training
    check_recipe(recipe)
    use_hardware(training)
    transformers_logging.disable_progress_bar()  # one for each checkpoint that is saved
    transformers_logging.get_logger("transformers.trainer_utils").setLevel(
        transformers_logging.ERROR
    )  # warnings about the order of checkpoints
    if training.disable_tqdm:
        disable_progress_bars()
    state = PartialState()
    require_one_precision(bool(training.bf16))
    runs = repeats_of(recipe)
    whole = Path(training.output_dir)
    restarts = training.restart and data.fold == "all"
    if len(runs) > 1:
        require_run(whole)
        if restarts:
            require_replaceable(whole, RUN)
        else:
            check_continues(whole, recipe)
    for run, repeat in runs.items():
        if training.restart:
            require_free(run)
        require_run(run)
        if training.restart:
            require_replaceable(*_to_clear(run, data.fold))
        if not training.restart or others(run, data.fold):  # one fold is restarted in a run of the same recipe
            check_continues(run, repeat)
        if not training.restart:
            Run(run).require_unchanged(training=True)
            if state.is_main_process:
                delete_leftover_checkpoints(Run(run))
    if not training.restart and all(is_run_finished(run, repeat) for run, repeat in runs.items()):
        return False
    require_writable(whole / RECIPE)
    images = load_images(data)
    with prepare_once():  # one process decodes, the others read its cached findings
        findings = check_and_cache(images, cached_preprocessing(data, recipe.model))
    findings.raise_if_unusable()
    for message in images.cautions:
        say(f"warning: {message}")
    if len(runs) > 1 and state.is_main_process:
        if restarts:
            clear(whole, data.fold)
        with Run(whole).rewriting(RECIPE):
            write_recipe(whole, recipe)
    with StopRequest() as stop, frozen_objects():
        for run, repeat in runs.items():
            train_run(run, repeat, images, findings, stop)
    return True


def check_recipe(recipe: Recipe) -> None:
    """Check what can be checked before an image is read.

    Raises:
        InputError: augmentation, loss, optimizer, schedule, network or tracker cannot be used.
    """
    data, model, training = recipe.data, recipe.model, recipe.training
    lookup(AUGMENTATIONS, data.augmentation, "augmentation")
    transforms_of(data.tta)
    lookup(LOSSES, training.loss, "loss")
    check_optim(training, model.carry_over)
    if not data.features:
        check_network(model, data.image_size)
        preprocessing_of(data, model)
    check_trackers(training)


def use_hardware(training: BreakHisTrainingArguments) -> None:
    """Set the number of threads and TensorFloat-32, keep freed memory, and warn of slow bfloat16."""
    if training.num_threads is not None:
        torch.set_num_threads(training.num_threads)
    if training.tf32 is not None:
        use_tf32(training.tf32)
    if training.device.type == "cpu":
        keep_memory()
    if training.bf16 and training.device.type == "cpu" and not find_hardware(use_cpu=True).cpu_bf16:
        say(
            "warning: this processor is not known to support bfloat16. Emulated bfloat16 is 14 times slower than "
            "float32; use --bf16 false for float32."
        )


def require_one_precision(bf16: bool) -> None:
    """Refuse different precisions in the processes of a run, which nodes with different hardware would choose.

    Raises:
        InputError: in every process.
    """
    if PartialState().num_processes > 1 and len(set(gather_object([bf16]))) > 1:
        raise InputError("`bf16` must be the same on all nodes. Set --bf16 true or false.")


def leave_group() -> None:
    """Wait for the other processes and leave their group; a process that exits early could abort all of them."""
    state = PartialState()
    state.wait_for_everyone()
    if state.num_processes > 1:
        gc.collect()  # a distributed model that still exists would keep the threads of the group
    state.destroy_process_group()


def train_run(run: Path, recipe: Recipe, images: Images, findings: Findings, stop: StopRequest) -> None:
    """Train the unfinished folds of one run; raise `StoppedError` after a stop request."""
    data, model, training = recipe.data, recipe.model, recipe.training
    dataset = images.dataset
    classes = dataset.features["label"].names
    table = dataset.remove_columns("image").to_pandas()
    folds = split_images(dataset, data)
    state = PartialState()
    if state.is_main_process and training.restart:  # only after all other checks
        clear(run, data.fold)
    state.wait_for_everyone()
    if (run / FOLDS).is_file():
        folds = resume_folds(run / FOLDS, dataset, data.split_by)
    if state.is_main_process:
        prepare_folder(run, recipe, images, findings, folds_table(folds, dataset))
    state.wait_for_everyone()
    batch_size = training.batch_size or training.train_batch_size * training.world_size
    check_small_parts(folds, batch_size, training.dataloader_drop_last)
    if data.split_by != "image":
        warn_of_thin_parts(folds, table, data.split_by, classes)
    vectors = vectors_of(dataset, data) if data.features else None
    job = Job(
        run, recipe, dataset, table, classes, len(folds), findings.manifest_sha256, stop, vectors, images.has_files
    )
    seen = np.zeros(len(table), dtype=bool)
    before = None
    for fold in folds:
        stop.raise_if_requested()
        folder = Run(run).fold(fold.index).folder
        if data.fold in ("all", str(fold.index)) and not Run(run).fold(fold.index).is_finished:
            with held(folder):
                if not Run(run).fold(fold.index).is_finished:  # by another process, before it gave the lock back
                    train_members(job, fold, folder, seen, before)
        if model.carry_over != "none":
            seen[fold.train] = True
            before = folder
    refit = Run(run).fold(REFIT)
    if data.fold == REFIT and not refit.is_finished:
        with held(refit.folder):
            train_members(job, refit_fold(folds, data.validation_size), refit.folder, seen)
    done = [fold.index for fold in folds if Run(run).fold(fold.index).is_finished]
    if state.is_main_process and len(done) == len(folds):
        write_json(run / FINISHED, {"folds": done})
    state.wait_for_everyone()


def repeats_of(recipe: Recipe) -> dict[Path, Recipe]:
    """Return the folder and the recipe of each repeat; without repeats those of the run."""
    data, training = recipe.data, recipe.training
    run = Run(Path(training.output_dir))
    if data.repeats == 1:
        return {run.folder: recipe}
    return {
        run.repeat(r).folder: Recipe(
            dataclasses.replace(data, repeats=1, split_seed=data.split_seed + r),
            recipe.model,
            dataclasses.replace(training, seed=training.seed + r, output_dir=str(run.repeat(r).folder)),
        )
        for r in range(data.repeats)
    }


def clear(run: Path, fold: str) -> None:
    """Delete a run, or one fold of it, before it is trained again.

    Raises:
        InputError: it is being trained, contains other files too, or cannot be deleted.
    """
    folder, kind = _to_clear(run, fold)
    require_free(folder)
    clear_folder(folder, kind)
    if fold.isdecimal():
        (run / FINISHED).unlink(missing_ok=True)


def _to_clear(run: Path, fold: str) -> tuple[Path, FolderKind]:
    return (Run(run).fold(fold).folder, FOLD) if others(run, fold) else (run, RUN)


def others(run: Path, fold: str) -> list[Path]:
    """Return the folders of all folds but `fold`; none if `fold` is all."""
    if fold == "all":
        return []
    every = [*Run(run).folds(), Run(run).fold(REFIT)]
    return [one.folder for one in every if one.folder.is_dir() and one.name != fold]


def delete_leftover_checkpoints(run: Run) -> None:
    """Delete the checkpoints of finished folds; a process that was killed at the end of a fold leaves them."""
    for fold in (*run.folds(), run.fold(REFIT)):
        for folder in (fold, *fold.members()):
            if folder.is_finished:
                shutil.rmtree(folder.folder / CHECKPOINTS, ignore_errors=True)


def is_run_finished(run: Path, recipe: Recipe) -> bool:
    """Return whether every fold of the recipe is finished."""
    fold = recipe.data.fold
    if fold == "all":
        return Run(run).is_finished
    return Run(run).fold(fold).is_finished


def prepare_folder(run: Path, recipe: Recipe, images: Images, findings: Findings, folds: pd.DataFrame) -> None:
    """Write the files that are known before training: recipe, data, colors and folds.

    Raises:
        InputError: the folder contains a run of other images or of another recipe, perhaps of another process.
    """
    with preparing(run):
        check_continues(run, recipe)
        described = describe_data(images, findings)
        if recipe.data.features:
            described["vectors_sha256"] = read_vectors(recipe.data.features).sha256
        _require_same_data(run, described)
        with Run(run).rewriting(*INPUTS):
            if not (run / RECIPE).is_file():
                write_recipe(run, recipe)
            write_json(run / DATA, described)
            write_csv(run / COLORS, findings.colors)
            write_csv(run / FOLDS, folds)


def _require_same_data(run: Path, described: dict[str, Any]) -> None:
    """Refuse other bytes, labels, groups or vectors under the same names; the images may have moved."""
    known = Run(run).data if (run / DATA).exists() else described
    if known.get("vectors_sha256") != described.get("vectors_sha256"):
        raise InputError(
            f"{run} contains a run on other feature vectors. Restore the files, give another --output_dir, or train "
            "it again with --restart."
        )
    before, now = known["manifest_sha256"], described["manifest_sha256"]
    if before != now:
        raise InputError(
            f"{run} contains a run on other images: the manifest was {before[:12]} and is now {now[:12]}. Restore the "
            "data (hf-breakhis data verify), give another --output_dir, or train it again with --restart."
        )


def refit_fold(folds: list[Fold], validation_size: float) -> Fold:
    """Return a fold that trains on all images but the reserve and the validation set of the first fold, if any."""
    first = folds[0]
    no_rows = np.array([], dtype=int)
    validation = first.validation if validation_size else no_rows
    everything = np.concatenate([first.train, first.validation, first.test])
    return Fold(-1, np.sort(np.setdiff1d(everything, validation)), no_rows, validation, no_rows)


def warn_of_thin_parts(folds: list[Fold], table: pd.DataFrame, split_by: str, classes: list[str]) -> None:
    """Print one line if some parts of folds have few groups of a class."""
    groups = groups_of(len(table), {name: list(table[name]) for name in ("patient_id", "specimen_id")}, split_by)
    thin = thin_parts(folds, table["label"].to_numpy(), groups, classes)
    if thin:
        unit = "patient" if split_by == "official" else split_by
        more = f" and {len(thin) - 3} more" if len(thin) > 3 else ""
        say(f"warning: some parts have fewer than {MIN_GROUPS} {unit}s of a class ({', '.join(thin[:3])}{more}).")


def check_small_parts(folds: list[Fold], batch_size: int, drop_last: bool) -> None:
    """Warn of training sets that do not fill their batches.

    Raises:
        InputError: short batches are left out, and a training set is smaller than one batch.
    """
    smallest = min(folds, key=lambda fold: len(fold.train))
    rests = {fold.index: len(fold.train) % batch_size for fold in folds if len(fold.train) % batch_size}
    if len(smallest.train) < batch_size:
        few_images = counted(len(smallest.train), "image")
        message = f"fold {smallest.index} trains on {few_images}, less than a batch of {batch_size}"
        if drop_last:
            raise InputError(f"{message}, and `dataloader_drop_last` leaves it out. Lower `batch_size`.")
        say(f"warning: {message}.")
    elif rests and not drop_last:
        fold, rest = min(rests.items(), key=lambda item: item[1])
        images = "1 image" if rest == 1 else f"{rest} images"
        advice = (
            " That is few for batch normalization; `dataloader_drop_last: true` leaves it out." if rest < 8 else ""
        )
        say(f"warning: the last batch of an epoch has {images} instead of {batch_size} (fold {fold}).{advice}")
