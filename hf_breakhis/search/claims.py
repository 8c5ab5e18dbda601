"""Trials shared by several processes: who trains which, so that none is trained twice and none is lost."""

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from hf_breakhis.files import InputError, reason_of
from hf_breakhis.search.space import Parameter, Space

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("median", "none")
JOURNAL, LOCKS = "journal.log", ".locks"
SLOT, WORKER, REASON, SECONDS = "slot", "worker", "reason", "seconds"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_STARTUP = 10  # random trials before the first that TPE proposes


class _SystemLock:
    """The lock of Optuna's journal as a lock of the system, which is released when its process is killed."""

    def __init__(self, path: Path, lock: Path) -> None:
        self._path, self._lock = path, FileLock(lock)

    def acquire(self) -> bool:
        self._lock.acquire()
        _drop_torn_line(self._path)
        return True

    def release(self) -> None:
        self._lock.release()


def _drop_torn_line(path: Path) -> None:
    """Remove a last line without its end, which a killed process or a full disk leaves."""
    with path.open("rb+") as stream:
        size = stream.seek(0, 2)
        if not size:
            return
        stream.seek(size - 1)
        if stream.read(1) == b"\n":
            return
        stream.seek(0)
        stream.truncate(stream.read().rfind(b"\n") + 1)


def open_storage(folder: Path, url: str | None) -> BaseStorage:
    """Return the storage of the trials: the journal file in the folder, or a database.

    Raises:
        InputError: the database cannot be opened.
    """
    if url is None:
        path = folder / JOURNAL
        lock: Any = _SystemLock(path, folder / LOCKS / "journal.lock")
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return RDBStorage(url)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = reason_of(error, first_line=True)
        what = f"Cannot open the database of --storage ({reason})."
        raise InputError(f"{what} Give a URL like sqlite:///FILE.") from error


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return the distribution of Optuna for a field."""
    one = parameter
    if one.choices:
        return CategoricalDistribution(one.labels)
    if one.is_int:
        return IntDistribution(int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
    return FloatDistribution(float(one.low), float(one.high), log=one.log, step=one.step)


class _Given(BaseSampler):
    """Proposes one combination of a grid."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        return self._values[param_name]


@dataclass(frozen=True)
class TrialPlan:
    """How trials are proposed.

    Attributes:
        sampler: one of `SAMPLERS`.
        pruner: one of `PRUNERS`.
        seed: of the sampler.
        space: what is searched.
        limit: number of trials of each part; None for as many as the time allows.
    """

    sampler: str
    pruner: str
    seed: int
    space: Space
    limit: int | None

    def grid(self) -> list[dict[str, Any]]:
        """Return all combinations in a random order."""
        axes = [(one.field, one.grid()) for one in self.space.parameters]
        count = int(np.prod([len(values) for _, values in axes]))
        order = np.random.default_rng(self.seed).permutation(count)
        found = []
        for number in order:
            rest, cell = int(number), {}
            for field, values in axes:
                rest, place = divmod(rest, len(values))
                cell[field] = values[place]
            found.append(cell)
        return found

    def proposing(self, slot: int) -> BaseSampler:
        """Return the sampler of one trial.

        It is a new one for each trial, so that a resumed search proposes the same values. All parts have the same
        random values, so that the difference between the best trial and the nested score is due to the selection.
        """
        if self.sampler == "grid":
            return _Given(self.grid()[slot])
        seed = int(np.random.SeedSequence([self.seed, slot]).generate_state(1)[0])
        return RandomSampler(seed) if self.sampler == "random" else TPESampler(n_startup_trials=_STARTUP, seed=seed)


@dataclass(frozen=True)
class Claim:
    """A trial that this process trains.

    Attributes:
        part: number of the part.
        slot: number of the trial in its part.
        trial: of Optuna.
        labels: the proposed values.
    """

    part: int
    slot: int
    trial: Trial
    labels: dict[str, Any]


class Board:
    """The trials of all parts of a search, and this process as one of its workers.

    Args:
        folder: of the search; its locks are shared by all workers.
        url: of a database; None for the journal file.
        name: of the search in the storage.
        parts: names of the parts.
        plan: how trials are proposed.
    """

    def __init__(self, folder: Path, url: str | None, name: str, parts: Sequence[str], plan: TrialPlan) -> None:
        self.plan = plan
        self.worker = uuid.uuid4().hex[:12]
        self._locks = folder / LOCKS
        self._locks.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._locks / "claims.lock")
        self._alive = FileLock(self._locks / f"worker-{self.worker}.lock")
        self._distributions = {one.field: distribution(one) for one in plan.space.parameters}
        pruner = optuna.pruners.MedianPruner() if plan.pruner == "median" else optuna.pruners.NopPruner()
        with self._lock:
            try:
                storage = open_storage(folder, url)
                self.studies = [
                    optuna.create_study(
                        study_name=f"{name}/{part}", storage=storage, direction="maximize", pruner=pruner,
                        load_if_exists=True,
                    )
                    for part in parts
                ]  # fmt: skip
            except (json.JSONDecodeError, UnicodeDecodeError, KeyError) as error:
                what = f"{folder / JOURNAL} is damaged ({type(error).__name__})."
                raise InputError(f"{what} Restore it, or give another --output_dir.") from error

    @contextmanager
    def working(self) -> Iterator[None]:
        """Mark this process as alive, until it ends or is killed."""
        with self._alive:
            yield
        Path(self._alive.lock_file).unlink(missing_ok=True)

    def claim(self, more: bool = True) -> tuple[Claim | None, bool]:
        """Return a trial that no process has trained or is training, and whether another process is training one.

        Trials of the parts alternate. A trial of a process that was killed is trained again.

        Args:
            more: whether new trials may begin.
        """
        with self._lock:
            taken = [self._taken(study) for study in self.studies]
            for slot in range(self._limit(taken) if more else 0):
                for part, slots in enumerate(taken):
                    if slot not in slots:
                        return self._start(part, slot), False
            running = (TrialState.RUNNING,)  # those of killed processes have been marked as failed
            return None, any(study.get_trials(deepcopy=False, states=running) for study in self.studies)

    def _limit(self, taken: Sequence[Collection[int]]) -> int:
        """Return the number of trials of each part."""
        by_time = max(map(len, taken)) + 1
        limit = by_time if self.plan.limit is None else self.plan.limit
        return min(limit, len(self.plan.grid())) if self.plan.sampler == "grid" else limit

    def ended(self, part: int) -> dict[int, FrozenTrial]:
        """Return the trials of a part that ended, by slot; those of killed processes are left out."""
        trials = self.studies[part].get_trials(deepcopy=False, states=ENDED)
        kept = {trial.user_attrs[SLOT]: trial for trial in trials if not _was_killed(trial)}
        return dict(sorted(kept.items()))

    def tell(self, claim: Claim, seconds: float, value: float | None, reason: str = "", pruned: bool = False) -> None:
        """Store the end of a trial.

        Args:
            claim: the trial.
            seconds: time of training.
            value: its score; None if it failed or was pruned.
            reason: why it failed.
            pruned: whether it was stopped after some of its folds.
        """
        claim.trial.set_user_attr(SECONDS, round(seconds, 3))
        if reason:
            claim.trial.set_user_attr(REASON, reason)
        state = TrialState.PRUNED if pruned else TrialState.COMPLETE if value is not None else TrialState.FAIL
        self.studies[claim.part].tell(claim.trial, value, state)

    def _start(self, part: int, slot: int) -> Claim:
        study = self.studies[part]
        study.sampler = self.plan.proposing(slot)
        trial = study.ask(self._distributions)
        trial.set_user_attr(SLOT, slot)
        trial.set_user_attr(WORKER, self.worker)
        return Claim(part, slot, trial, dict(trial.params))

    def _taken(self, study: optuna.Study) -> set[int]:
        """Return the slots of a part that ended or are being trained; mark trials of killed processes as failed."""
        slots = set()
        for trial in study.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING and not self._is_alive(trial):
                study.tell(trial.number, state=TrialState.FAIL)
            elif not _was_killed(trial):
                slots.add(trial.user_attrs[SLOT])
        return slots

    def is_working(self, worker: str) -> bool:
        """Return whether the process of a worker exists."""
        with self._lock:
            return self._exists(worker)

    def _is_alive(self, trial: FrozenTrial) -> bool:
        """Return whether the process of a running trial exists."""
        worker = trial.user_attrs.get(WORKER)  # None if it was killed while it claimed
        return worker is not None and self._exists(worker)

    def _exists(self, worker: str) -> bool:
        if worker == self.worker:
            return True
        path = self._locks / f"worker-{worker}.lock"
        if not path.exists():
            return False
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        path.unlink(missing_ok=True)
        return False


def _was_killed(trial: FrozenTrial) -> bool:
    """Return whether a trial failed without a reason, since its process was killed."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs
