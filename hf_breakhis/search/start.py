"""Start or resume a search: check everything, write its plan, and train."""

import math
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from accelerate import PartialState
from datasets import disable_progress_bars
from transformers.utils import logging as transformers_logging

from hf_breakhis.arguments import require
from hf_breakhis.data.counts import describe_data
from hf_breakhis.data.pixels.checked import check_and_cache
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import split_images
from hf_breakhis.data.vectors import read_vectors, vectors_of
from hf_breakhis.files import InputError, nearest, require_writable, write_json
from hf_breakhis.recipe import Recipe, resolved_fields
from hf_breakhis.results.search import FORMAT
from hf_breakhis.results.study import read_plan
from hf_breakhis.results.summary import DATA_FIELDS
from hf_breakhis.run import PLAN
from hf_breakhis.search.claims import LOCKS, PRUNERS, SAMPLERS, Board, TrialPlan, open_storage
from hf_breakhis.search.inner_folds import check_split, search_parts
from hf_breakhis.search.nested_search import WORK, Search, finish, remove_work, train_trials
from hf_breakhis.search.space import Searched, check_space
from hf_breakhis.settings import frozen_objects, restored_settings
from hf_breakhis.study import SCORES
from hf_breakhis.training.crossval import use_hardware, warn_of_thin_parts
from hf_breakhis.training.environment import changed_fields, few_changes
from hf_breakhis.training.fold import Job
from hf_breakhis.training.lock import preparing
from hf_breakhis.training.modeling import cached_preprocessing
from hf_breakhis.training.progress import say
from hf_breakhis.training.stopping import StopRequest

LOGS = ".logs"  # output of further processes of a command
_SAME = ("sampler", "pruner", "metric", "inner_folds", "storage", "space")


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        trials: number of trials of each outer fold and of the final search; None without a limit.
        hours: time after which no trial begins; None without a limit.
        sampler: one of `SAMPLERS`.
        pruner: one of `PRUNERS`.
        metric: the score that selects a trial, one of `SCORES`.
        inner_folds: number of inner folds.
        storage: URL of a database; None for a journal file in the folder.
        command: the command line, for the page.
    """

    trials: int | None = None
    hours: float | None = None
    sampler: str = "tpe"
    pruner: str = "median"
    metric: str = "balanced_accuracy"
    inner_folds: int = 3
    storage: str | None = None
    command: str = ""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: names the option and what is allowed.
        """
        for name, allowed in (("sampler", SAMPLERS), ("pruner", PRUNERS), ("metric", SCORES)):
            value = getattr(self, name)
            wrong = f"--{name} is {value}, but has to be one of {', '.join(allowed)}."
            require(value in allowed, f"{wrong}{nearest(value, allowed)}")
        require(
            self.trials is not None or self.hours is not None or self.sampler == "grid",
            "The search has no end. Give --trials N, --hours H, or --sampler grid.",
        )
        require(self.trials is None or self.trials > 0, f"--trials is {self.trials}, but has to be at least 1.")
        hours = self.hours
        require(hours is None or 0 < hours < math.inf, f"--hours is {hours}, but has to be above 0.")
        require(self.inner_folds > 1, f"--inner_folds is {self.inner_folds}, but has to be at least 2.")


@restored_settings()
def run_search(searched: Searched, options: Options, helpers: AbstractContextManager[Any] | None = None) -> Path:
    """Search, and write the trials, the predictions and the best recipe; return the folder.

    Args:
        searched: the recipe and the space.
        options: how to search.
        helpers: entered once everything is checked: starts further processes of the same search.

    Raises:
        InputError: the recipe, the space, the images or the folder cannot be used, or all trials of a part failed.
        StoppedError: after SIGTERM or Ctrl-C; the same call resumes.
    """
    begin = time.monotonic()
    recipe = searched.recipe()
    _check_recipe(recipe)
    plan = TrialPlan(options.sampler, options.pruner, recipe.training.seed, searched.space, options.trials)
    if options.sampler == "grid":
        plan.grid()
    folder = Path(recipe.training.output_dir)
    require_writable(folder / PLAN)
    _require_search(folder)
    check_space(searched)
    use_hardware(recipe.training)
    transformers_logging.disable_progress_bar()
    if recipe.training.disable_tqdm:
        disable_progress_bars()
    images = load_images(recipe.data)
    findings = check_and_cache(images, cached_preprocessing(recipe.data, recipe.model))
    findings.raise_if_unusable()
    for message in images.cautions:
        say(f"warning: {message}")
    dataset, classes = images.dataset, images.dataset.features["label"].names
    folds = split_images(dataset, recipe.data)
    parts = search_parts(dataset, recipe.data, folds, options.inner_folds)
    vectors = vectors_of(dataset, recipe.data) if recipe.data.features else None
    described = describe_data(images, findings)
    about = {name: described[name] for name in DATA_FIELDS}
    if recipe.data.features:
        about["vectors_sha256"] = read_vectors(recipe.data.features).sha256
    with preparing(folder):  # also since processes that create the tables of a database at once fail
        if options.storage is not None:
            open_storage(folder, options.storage)
        name = _write_plan(folder, searched, recipe, options, about, classes)
    table = dataset.remove_columns("image").to_pandas()
    if recipe.data.split_by != "image":
        warn_of_thin_parts(folds, table, recipe.data.split_by, classes)
    with quiet_optuna(), StopRequest() as stop, helpers or nullcontext():
        board = Board(folder, options.storage, name, [part.name for part in parts], plan)
        job = Job(folder, recipe, dataset, table, classes, len(folds), findings.manifest_sha256, stop, vectors,
                  images.has_files)  # fmt: skip
        deadline = None if options.hours is None else begin + 3600 * options.hours
        search = Search(folder, searched, job, parts, options.metric, board, deadline)
        with board.working():
            _train(search)
    return folder


def _train(search: Search) -> None:
    try:
        with frozen_objects():
            train_trials(search)
            finish(search)
    finally:
        remove_work(search)


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Let Optuna print warnings only, for a while."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _check_recipe(recipe: Recipe) -> None:
    """Refuse fields that a search does not support."""
    check_split(recipe.data)
    carried = recipe.model.carry_over
    require(carried == "none", f"`carry_over` is {carried}, but a search needs new models. Set carry_over to none.")
    training = recipe.training
    several = f"`members` is {training.members}, but a trial is one network. Set members to 1, and train best.yaml"
    require(training.members == 1, f"{several} with --members {training.members}.")
    require(not training.push_to_hub, "`push_to_hub` has no effect in a search. Train best.yaml and publish it.")
    require(not training.restart, "`restart` is not supported in a search. Give another --output_dir.")
    started = PartialState().num_processes
    several = f"A launcher has started {started} processes, but a search is one process. Start the command several"
    require(started == 1, f"{several} times: its workers share the trials.")


def _require_search(folder: Path) -> None:
    """Refuse a folder that exists and is not a search."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Give another --output_dir.")
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in names if name not in (LOCKS, WORK, LOGS) and not name.endswith(".part")]
    if others and PLAN not in names:
        raise InputError(f"{folder} contains {', '.join(others[:3])} and no {PLAN}. Give another --output_dir.")


def _write_plan(
    folder: Path, searched: Searched, recipe: Recipe, options: Options, data: dict[str, Any], classes: list[str]
) -> str:
    """Write what the search consists of, and return its name in the storage.

    Raises:
        InputError: the folder contains another search.
    """
    fields = resolved_fields(recipe)
    plan = {
        "format": FORMAT,
        "name": searched.space.name,
        "title": searched.space.title,
        "base": Path(searched.origin).stem,
        "space": {one.field: one.described() for one in searched.space.parameters},
        "sampler": options.sampler,
        "pruner": options.pruner,
        "metric": options.metric,
        "inner_folds": options.inner_folds,
        "storage": "journal" if options.storage is None else "database",
        "trials": options.trials,
        "hours": options.hours,
        "classes": classes,
        "data": data,
        "recipe": fields,
        "command": options.command,
    }
    search_id = uuid.uuid4().hex
    if (folder / PLAN).is_file():
        before = read_plan(folder, "search")
        search_id = before["id"]
        changed = {name: f"{name} {before[name]!r} -> {plan[name]!r}" for name in _SAME if before[name] != plan[name]}
        changed |= changed_fields(before["recipe"], fields)
        changed |= {
            name: f"{name} {str(before['data'].get(name))[:12]} -> {str(data.get(name))[:12]}"
            for name in ("manifest_sha256", "vectors_sha256")
            if before["data"].get(name) != data.get(name)
        }
        if changed:
            raise InputError(f"{folder} contains another search ({few_changes(changed)}). Give another --output_dir.")
    write_json(folder / PLAN, plan | {"id": search_id})
    return f"hf-breakhis/{search_id}"
