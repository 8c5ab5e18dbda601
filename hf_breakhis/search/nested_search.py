"""The nested search: trials, the selected fields of each outer fold, and the recipe for `train`."""

import dataclasses
import math
import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import yaml
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from hf_breakhis.files import InputError, reason_of, write_csv, write_json, write_text
from hf_breakhis.recipe import Recipe
from hf_breakhis.results.formatting import MEASURES
from hf_breakhis.results.search import BEST, TRIALS
from hf_breakhis.search.claims import LOCKS, REASON, SECONDS, Board, Claim
from hf_breakhis.search.fitting import FAILURES, fit, fit_folds, is_watched, quiet
from hf_breakhis.search.inner_folds import FINAL, Part
from hf_breakhis.search.space import Searched
from hf_breakhis.training.fold import Job
from hf_breakhis.training.progress import say

PREDICTIONS_FOLDER, WORK = "predictions", ".work"
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Search:
    """What the workers of a search share.

    Attributes:
        folder: of the search.
        searched: the recipe and the space.
        job: images and vectors, with the base recipe.
        parts: the searches, the final one last.
        metric: the score that selects a trial.
        board: the trials.
        deadline: time of `time.monotonic` after which no trial begins; None for no limit.
    """

    folder: Path
    searched: Searched
    job: Job
    parts: list[Part]
    metric: str
    board: Board
    deadline: float | None = None

    def job_of(self, labels: dict[str, Any]) -> Job:
        """Return the job with the recipe of a trial.

        Raises:
            InputError: its fields contradict each other.
        """
        recipe = self.searched.recipe(self.searched.space.values(labels))
        return dataclasses.replace(self.job, recipe=quiet(recipe))

    @property
    def work(self) -> Path:
        """The folder for temporary files of this process."""
        return self.folder / WORK / self.board.worker

    def predictions(self, part: str, slot: int) -> Path:
        """Return the path of the predictions of a trial, or of the retrained trial of an outer fold."""
        return self.folder / PREDICTIONS_FOLDER / f"{part}-trial-{slot}.csv"


def train_trials(search: Search) -> None:
    """Train trials until none is left, or the time is over; wait for those of other workers.

    Raises:
        StoppedError: after SIGTERM or Ctrl-C.
    """
    while True:
        search.job.stop.raise_if_requested()
        is_over = search.deadline is not None and time.monotonic() > search.deadline
        has_all = all(search.board.ended(part) for part in range(len(search.parts)))
        claim, is_waiting = search.board.claim(more=not (is_over and has_all))
        if claim is not None:
            _train(search, claim)
        elif is_waiting:
            time.sleep(_POLL_SECONDS)
        else:
            return


def _train(search: Search, claim: Claim) -> None:
    """Train one trial and store its end."""
    part = search.parts[claim.part]
    begin = time.perf_counter()

    def is_hopeless(value: float, number: int) -> bool:
        claim.trial.report(value, number)
        if search.job.vectors is None:  # of networks, a trial takes long
            say(f"{part.name}, trial {claim.slot}, fold {number + 1} of {len(part.folds)}: {value:.3f} so far")
        return claim.trial.should_prune()

    try:
        job = search.job_of(claim.labels)
        table, value, is_pruned = fit_folds(job, part.folds, search.metric, search.work, is_hopeless)
    except FAILURES as error:
        search.job.stop.raise_if_requested()
        reason = reason_of(error)
        search.board.tell(claim, time.perf_counter() - begin, None, reason)
        say(f"{part.name}, trial {claim.slot}: failed. {reason}")
        return
    if is_pruned:
        search.board.tell(claim, time.perf_counter() - begin, None, pruned=True)
        say(f"{part.name}, trial {claim.slot}: {value:.3f}, stopped early")
        return
    before = best_of(search.board.ended(claim.part))
    highest = -math.inf if before is None else _value(search.board.ended(claim.part)[before])
    if part.outer is None and value >= highest:  # the predictions of the best trial are compared with the nested ones
        write_csv(search.predictions(FINAL, claim.slot), table)
    search.board.tell(claim, time.perf_counter() - begin, value)
    say(f"{part.name}, trial {claim.slot}: {value:.3f} (best {max(value, highest):.3f})")


def best_of(trials: dict[int, FrozenTrial]) -> int | None:
    """Return the number of the complete trial with the highest score, the first one of equals; None without one."""
    complete = {slot: trial for slot, trial in trials.items() if trial.state == TrialState.COMPLETE}
    return min(complete, key=lambda slot: (-_value(complete[slot]), slot), default=None)


def _value(trial: FrozenTrial) -> float:
    return -math.inf if trial.value is None else trial.value


def finish(search: Search) -> None:
    """Retrain what each outer fold selected on its whole training set, and write the trials and the best recipe.

    Raises:
        InputError: every trial of a part failed.
        StoppedError: after SIGTERM or Ctrl-C.
    """
    best = []
    for number, part in enumerate(search.parts):
        slot = best_of(search.board.ended(number))
        if slot is None:
            raise InputError(_all_failed(part, search.board.ended(number)))
        best.append(slot)
    for number, part in enumerate(search.parts):
        if part.outer is not None:
            _retrain(search, number, best[number])
    for path in (search.folder / PREDICTIONS_FOLDER).glob(f"{FINAL}-trial-*.csv"):
        if path != search.predictions(FINAL, best[-1]):
            path.unlink(missing_ok=True)
    write_json(search.folder / TRIALS, {"parts": [_described(search, n, slot) for n, slot in enumerate(best)]})
    _write_best(search, best[-1])


def _retrain(search: Search, number: int, slot: int) -> None:
    """Train the selected trial of an outer fold on its whole training set, unless a worker has done so."""
    part = search.parts[number]
    path = search.predictions(part.name, slot)
    lock = FileLock(search.folder / LOCKS / f"{part.name}.lock")
    while not path.is_file():
        search.job.stop.raise_if_requested()
        try:
            lock.acquire(timeout=0)
        except Timeout:  # another worker trains it
            time.sleep(_POLL_SECONDS)
            continue
        try:
            if not path.is_file() and part.outer is not None:
                labels = search.board.ended(number)[slot].params
                write_csv(path, fit(search.job_of(labels), part.outer, search.work))
                say(f"{part.name}: trial {slot} trained on the whole training set")
        finally:
            lock.release()


def _all_failed(part: Part, trials: dict[int, FrozenTrial]) -> str:
    reasons = Counter(str(trial.user_attrs.get(REASON)) for trial in trials.values())
    first = str(next(iter(trials.values())).user_attrs.get(REASON)) if trials else "no trial was trained"
    more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    where = "the final search" if part.outer is None else f"outer fold {part.outer.index}"
    return (
        f"All {len(trials)} trials of {where} failed. First reason: {first.rstrip('.')}{more}. Change the space or "
        "the recipe, and give another --output_dir."
    )


def _described(search: Search, number: int, best: int) -> dict[str, Any]:
    """Return the trials of a part for the page."""
    part, space = search.parts[number], search.searched.space
    rows = [
        {
            "trial": slot,
            "state": trial.state.name.lower(),
            "value": trial.value if trial.state == TrialState.COMPLETE else None,
            "steps": [trial.intermediate_values[step] for step in sorted(trial.intermediate_values)],
            "fields": space.values(trial.params),
            "seconds": trial.user_attrs.get(SECONDS),
            "reason": trial.user_attrs.get(REASON),
        }
        for slot, trial in search.board.ended(number).items()
    ]
    path = search.predictions(part.name, best)
    return {
        "name": part.name,
        "outer_fold": None if part.outer is None else part.outer.index,
        "num_folds": len(part.folds),
        "best": best,
        "predictions": path.relative_to(search.folder).as_posix(),
        "importance": _importance(search.board.studies[number]),
        "trials": rows,
    }


def _importance(study: optuna.Study) -> dict[str, float] | None:
    """Return the importance of each field by Optuna; None where the trials are too few or all equal."""
    values = {trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    if len(values) < 2:
        return None
    found = optuna.importance.get_param_importances(study)
    return {name: float(value) for name, value in found.items()}


def _write_best(search: Search, slot: int) -> None:
    """Write the recipe of the best trial, which `train` takes."""
    trials = search.board.ended(len(search.parts) - 1)
    chosen = search.searched.space.values(trials[slot].params)
    recipe: Recipe = search.job.recipe
    name = MEASURES[search.metric]
    text = name if name.startswith("ROC") else name.lower()
    head = [
        f"# Selected by `hf-breakhis search`: trial {slot} of {len(trials)} by {text}.",
        f"# Its {text} is {_value(trials[slot]):.3f}. This number is optimistic, since it selected the trial.",
        "# search.html has the nested score, which is what to expect of new specimens.",
        f"# Searched fields: {', '.join(chosen)}.",
    ]
    values = {**search.searched.values, **chosen, "output_dir": str(Path(recipe.training.output_dir) / BEST)}
    if not is_watched(search.searched.recipe(chosen)):  # evaluations draw random numbers, so they would change the run
        values = {name: value for name, value in values.items() if name != "eval_steps"} | {"eval_strategy": "no"}
    content = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)
    write_text(search.folder / f"{BEST}.yaml", "\n".join([*head, content]))


def remove_work(search: Search) -> None:
    """Remove the temporary files of this process, and of processes that were killed."""
    folder = search.folder / WORK
    for own in list(folder.glob("*")):
        if own == search.work or not search.board.is_working(own.name):
            shutil.rmtree(own, ignore_errors=True)  # another process may remove it too
    with suppress(OSError):  # it has folders of other processes, or is gone
        folder.rmdir()
