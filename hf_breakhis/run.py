"""The run folder: names, readers and checksums of its files."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_breakhis import run_fields
from hf_breakhis.files import InputError, as_folder, changed_files, checksum, checksum_of_text, write_json, write_text
from hf_breakhis.tables import OPTIONAL_TEXT, read_mapping, read_mappings, read_yaml_mapping, require_fields

if TYPE_CHECKING:
    import pandas as pd

RECIPE, DATA = "recipe.yaml", "data.json"
FOLDS, COLORS, PREDICTIONS = "folds.csv", "colors.csv", "predictions.csv"
SUMMARY, DECISION = "summary.json", "decision.json"
COST = "cost.json"
PLAN = "plan.json"  # of a study or a search, which has runs in its folder
AUDIT, SHIFTS = "audit.json", "shifts.json"
FINISHED, CHECKSUMS = "finished.json", "checksums.json"
REPORT, FIGURES = "report.html", "figures"
METRICS, HISTORY = "metrics.json", "history.csv"
MODEL, WEIGHTS, CHECKPOINTS = "model", "model.safetensors", "checkpoints"
EXAMPLES, EXPLAINED = "examples", "explain"
TENSORBOARD, INDEX, REFIT = "tensorboard", "index.json", "refit"
FOLD_PREFIX, REPEAT_PREFIX, MEMBER_PREFIX = "fold-", "repeat-", "member-"
EVALUATION = "evaluation.json"  # of an evaluated run: the model and what it was trained on
EXCLUDED = "excluded.csv"  # of an evaluated run: images that the model was trained on, and copies of them
IMPORTED, EVALUATED = "imported", "evaluated"  # kinds of a run in its recipe; a trained run has none

INPUTS = (RECIPE, DATA, FOLDS, COLORS)  # written before training
OF_EVALUATION = (EVALUATION, EXCLUDED)
SCORES = (PREDICTIONS, DECISION, SUMMARY)  # written by `report`
FORMAT = 1
_RESTORE = "restore it, or train again with --restart"


@dataclass(frozen=True)
class FoldFolder:
    """The folder of a trained model: `fold-i/` of a fold, `refit/`, or `member-j/` in one of them for an ensemble."""

    folder: Path

    @property
    def is_member(self) -> bool:
        """Whether this is one network of an ensemble."""
        return self.folder.name.startswith(MEMBER_PREFIX)

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.folder.parent.parent if self.is_member else self.folder.parent

    @property
    def name(self) -> str:
        """The number of the fold as text, or "refit"."""
        folder = self.folder.parent if self.is_member else self.folder
        return folder.name.removeprefix(FOLD_PREFIX)

    @property
    def label(self) -> str:
        """The name, and the member if this is one: "0", "refit", "0, member 1"."""
        return f"{self.name}, {self.folder.name.replace('-', ' ')}" if self.is_member else self.name

    def member(self, number: int) -> "FoldFolder":
        """Return the folder of one network of an ensemble."""
        return FoldFolder(self.folder / f"{MEMBER_PREFIX}{number}")

    def members(self) -> list["FoldFolder"]:
        """Return the folders of the networks of an ensemble, finished or not; empty for a single network."""
        return [self.member(number) for number in _numbers(self.folder, MEMBER_PREFIX)]

    @property
    def model(self) -> Path:
        """The folder of weights, configuration and image processor; of an ensemble that of its first network."""
        return (self.member(0).folder if self.members() else self.folder) / MODEL

    @property
    def is_finished(self) -> bool:
        """Whether the model is trained and its parts are predicted; the checksums are written last."""
        return (self.folder / METRICS).is_file() and (self.folder / CHECKSUMS).is_file()

    @property
    def _remedy(self) -> str:
        return f"restore it, or train again with --fold {self.name} --restart"

    def read_metrics(self) -> dict[str, Any]:
        """Return the scores of each part, and the part that selected a checkpoint or a learning rate."""
        return read_mapping(self.folder / METRICS, {"selected_on": OPTIONAL_TEXT}, self._remedy)

    def read_history(self) -> "pd.DataFrame":
        """Return the learning curve, one row per epoch; a value that was not logged is NaN."""
        return run_fields.read_history(self.folder / HISTORY, self._remedy)

    def read_examples(self) -> list[dict[str, Any]]:
        """Return the rows of the example images; empty for a refit, which has no test set."""
        if self.name == REFIT and not (self.folder / EXAMPLES).exists():
            return []
        return read_mappings(self.folder / EXAMPLES / INDEX, run_fields.EXAMPLE, self._remedy)

    def read_explained(self) -> dict[str, Any] | None:
        """Return the index of the heat maps of the present weights; None if there are none."""
        path = self.folder / EXPLAINED / INDEX
        if not path.exists():
            return None
        remedy = f"`hf-breakhis explain {self.run} --fold {self.name}` writes it again"
        index = read_mapping(path, run_fields.EXPLAINED, remedy)
        return index if index["weights_sha256"] == checksum(self.model / WEIGHTS) else None

    def _sealed(self) -> list[Path]:
        """Return the files that have checksums."""
        paths = [self.folder / name for name in (PREDICTIONS, METRICS, HISTORY)]
        paths += [path for name in (MODEL, EXAMPLES) for path in (self.folder / name).rglob("*")]
        paths += [path for one in self.members() for path in (one.folder / CHECKSUMS, *one._sealed())]
        return [path for path in sorted(paths) if path.is_file()]

    def seal(self) -> None:
        """Write the checksums of the fold and its members if they are trained, and of recipe and folds of the run."""
        for member in self.members():
            member.seal()
        if (self.folder / METRICS).is_file():
            own = {path.relative_to(self.folder).as_posix(): checksum(path) for path in self._sealed()}
            of_run = {name: checksum(self.run / name) for name in (RECIPE, FOLDS)}
            write_json(self.folder / CHECKSUMS, {"format": FORMAT, "run": of_run, "sha256": own})

    def changes(self) -> list[str]:
        """Return the files that differ from their checksums; of an unfinished ensemble those of its members."""
        if not self.is_finished:
            return [name for member in self.members() for name in member.changes()]
        path = self.folder / CHECKSUMS
        sums = read_mapping(path, {"run": dict, "sha256": dict}, _reseal(self.run))
        own = self.folder.relative_to(self.run).as_posix()
        found = [f"{own}/{name}" for name in changed_files(self.folder, sums["sha256"])]
        if any(sums["run"].get(name) != checksum(self.run / name) for name in (RECIPE, FOLDS)):
            found.append(f"{own} (trained with another {RECIPE} or {FOLDS})")
        return found


@dataclass(frozen=True)
class Run:
    """A run folder with checked readers; code that writes it uses the names in this module.

    Every reader raises InputError for a file that is missing or damaged. Contents are cached: create a new
    object after a file was written.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", as_folder(self.folder))

    def __fspath__(self) -> str:
        """Return the folder, so that a run can be given wherever its folder can."""
        return str(self.folder)

    @classmethod
    def holding(cls, folder: Path, **content: Any) -> "Run":
        """Return a run with content instead of files, such as the `summary` of a page on several runs."""
        run = cls(folder)
        run.__dict__.update({"recipe": {}, "environment": {}, "histories": {}, "examples": {}} | content)
        return run

    @property
    def exists(self) -> bool:
        """Whether the folder contains a run, finished or not."""
        return (self.folder / RECIPE).exists()

    @property
    def is_finished(self) -> bool:
        """Whether all folds of the recipe are trained."""
        return (self.folder / FINISHED).exists()

    @property
    def is_scored(self) -> bool:
        """Whether the summary of the scores is written."""
        return (self.folder / SUMMARY).exists()

    def fold(self, name: int | str) -> FoldFolder:
        """Return the folder of a fold by its number, or of the refit by "refit"."""
        return FoldFolder(self.folder / (REFIT if name == REFIT else f"{FOLD_PREFIX}{name}"))

    def folds(self) -> list[FoldFolder]:
        """Return the folders of the folds, finished or not, by number; without the refit."""
        return [self.fold(number) for number in _numbers(self.folder, FOLD_PREFIX)]

    def models(self) -> list[FoldFolder]:
        """Return the folders of the finished folds, then that of a finished refit."""
        return [fold for fold in (*self.folds(), self.fold(REFIT)) if fold.is_finished]

    def repeat(self, number: int) -> "Run":
        """Return one repeat, which is a run itself."""
        return Run(self.folder / f"{REPEAT_PREFIX}{number}")

    def repeats(self) -> dict[int, "Run"]:
        """Return the repeats by number; empty for a run without repeats."""
        return {number: self.repeat(number) for number in _numbers(self.folder, REPEAT_PREFIX)}

    def every_repeat(self) -> dict[int, "Run"]:
        """Return the repeats by number; for a run without repeats, itself as number 0."""
        return self.repeats() or {0: self}

    @cached_property
    def _whole_recipe(self) -> dict[str, Any]:
        advice = "Give the folder that `train` wrote, for example outputs/c3."
        if not self.folder.is_dir():
            raise InputError(f"No run at {self.folder}. {advice}")
        if (self.folder / PLAN).is_file():
            advice = "It is the folder of a study or a search: use `hf-breakhis study` or `search`, or a run in it."
        if not self.exists:
            raise InputError(f"{self.folder} has no {RECIPE}, so it is not a run. {advice}")
        return read_yaml_mapping(self.folder / RECIPE, {"environment": dict}, _RESTORE)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The fields of the recipe, without the environment of the run."""
        return {name: value for name, value in self._whole_recipe.items() if name != "environment"}

    @cached_property
    def is_imported(self) -> bool:
        """Whether the run has predictions only and no models and histories: of another program, or evaluated."""
        return self.recipe.get("kind") in (IMPORTED, EVALUATED)

    @cached_property
    def is_evaluated(self) -> bool:
        """Whether the run has the predictions of a model on images that it was not trained on."""
        return self.recipe.get("kind") == EVALUATED

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """The model of an evaluated run, its locked decision, its internal scores and its training set."""
        remedy = "`hf-breakhis evaluate` writes it again"
        return read_mapping(self.folder / EVALUATION, run_fields.EVALUATION, remedy)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, commit, command line and hardware of the run."""
        environment: dict[str, Any] = self._whole_recipe["environment"]
        return environment

    def field(self, name: str) -> Any:
        """Return a required field of the recipe."""
        if name not in self.recipe:
            raise InputError(f"{self.folder / RECIPE} has no field `{name}`; {_RESTORE}.")
        return self.recipe[name]

    @cached_property
    def data(self) -> dict[str, Any]:
        """Source, counts, findings and warnings of the images."""
        return read_mapping(self.folder / DATA, run_fields.DATA, _RESTORE)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The scores of the run."""
        remedy = f"`hf-breakhis report {self.folder}` writes it, once a fold has ended"
        path = self.folder / SUMMARY
        summary = read_mapping(path, run_fields.SUMMARY, remedy)
        for caution in summary["warnings"]:
            require_fields(path, caution, run_fields.CAUTION, remedy)
        return summary

    @cached_property
    def decision(self) -> dict[str, Any]:
        """Decision threshold and temperature, with their rule."""
        remedy = f"`hf-breakhis report {self.folder} --threshold_rule youden` (or another rule) writes it again"
        return read_mapping(self.folder / DECISION, run_fields.DECISION, remedy)

    @cached_property
    def cost(self) -> dict[str, Any]:
        """Time, speed and memory of each fold, and the hardware."""
        path = self.folder / COST
        cost = read_mapping(path, run_fields.COST, _RESTORE)
        for fold in cost["folds"].values():
            require_fields(path, fold, run_fields.FOLD_COST, _RESTORE)
        return cost

    @cached_property
    def audit(self) -> dict[str, Any]:
        """The findings of `audit`; empty before it."""
        if not (self.folder / AUDIT).exists():
            return {}
        remedy = f"`hf-breakhis audit {self.folder}` writes it again"
        return read_mapping(self.folder / AUDIT, {"per_fold": list, "shares": dict, "unknown": list}, remedy)

    @cached_property
    def histories(self) -> dict[int, "pd.DataFrame"]:
        """The learning curve of each scored fold."""
        return {fold: self.fold(fold).read_history() for fold in self._scored_folds()}

    @cached_property
    def examples(self) -> dict[int, list[dict[str, Any]]]:
        """The example images of each scored fold."""
        return {fold: self.fold(fold).read_examples() for fold in self._scored_folds()}

    def _scored_folds(self) -> list[int]:
        above = self.repeats() or "protocol" not in self.summary  # a page of repeats, or of several runs
        return [] if above or self.is_imported else self.summary["protocol"]["folds_present"]

    def read_folds(self) -> "pd.DataFrame":
        """Return one row for each fold and image: names, groups, label and part."""
        return run_fields.read_folds(self.folder / FOLDS, _RESTORE)

    def read_colors(self) -> "pd.DataFrame":
        """Return mean and standard deviation of the color channels of each image, indexed by file name."""
        return run_fields.read_colors(self.folder / COLORS, _RESTORE)

    def write(self, name: str, text: str) -> None:
        """Write a file and its checksum, unless both are there already: a run that is up to date may be read-only."""
        path, digest = self.folder / name, checksum_of_text(text)
        if self._checksums().get(name) != digest or not path.is_file() or checksum(path) != digest:
            with self.rewriting(name):
                write_text(path, text)

    @contextmanager
    def rewriting(self, *names: str) -> Iterator[None]:
        """Remove the checksums of files before they are written, and write the new ones afterwards.

        So a killed command leaves a file without a checksum, and never a file with a wrong one.
        """
        before = self._checksums()
        kept = {name: value for name, value in before.items() if name not in names}
        if kept != before:  # the first file of a new run is its recipe
            self._write_checksums(kept)
        yield
        written = {name: checksum(self.folder / name) for name in names}
        self._write_checksums({**self._checksums(), **written})

    def _checksums(self) -> dict[str, str]:
        path = self.folder / CHECKSUMS
        if not path.exists():
            return {}
        sums: dict[str, str] = read_mapping(path, {"sha256": dict}, _reseal(self.folder))["sha256"]
        return sums

    def _write_checksums(self, sums: dict[str, str]) -> None:
        write_json(self.folder / CHECKSUMS, {"format": FORMAT, "sha256": dict(sorted(sums.items()))})

    def seal(self) -> None:
        """Accept changed files: write all checksums of the run, its folds and its repeats again."""
        for run in self.repeats().values():
            run.seal()
        for fold in (*self.folds(), self.fold(REFIT)):
            fold.seal()
        numbers = [int(fold.name) for fold in self.folds() if (fold.folder / METRICS).is_file()]
        if self.is_finished and not self._planned() <= set(numbers):
            (self.folder / FINISHED).unlink()
        names = [name for name in (*INPUTS, *OF_EVALUATION, *SCORES) if (self.folder / name).is_file()]
        self._write_checksums({name: checksum(self.folder / name) for name in names})

    def changes(
        self, folds: Iterable[str | int] | None = None, written: Sequence[str] = (), training: bool = False
    ) -> list[str]:
        """Return the files that have changed, are missing, or belong to another run.

        Args:
            folds: the folds whose files are checked; None for all, with the refit.
            written: names of files that the caller is about to write, which are not checked.
            training: accept files without a checksum too, which a killed training leaves.
        """
        sums = {name: value for name, value in self._checksums().items() if name not in written}
        found = changed_files(self.folder, sums)
        unknown = [name for name in (*INPUTS, *SCORES) if not training and name not in (*sums, *written)]
        found += [f"{name} (without a checksum)" for name in unknown if (self.folder / name).exists()]
        if self.is_finished:
            missing = self._planned() - {int(fold.name) for fold in self.folds() if fold.is_finished}
            found += [f"{FOLD_PREFIX}{number} (missing or not finished)" for number in sorted(missing)]
        if not found:  # every fold would name a changed file of the run again
            chosen = [*self.folds(), self.fold(REFIT)] if folds is None else [self.fold(name) for name in folds]
            found = [name for fold in chosen for name in fold.changes()]
        return found

    def require_unchanged(
        self, folds: Iterable[str | int] | None = None, written: Sequence[str] = (), training: bool = False
    ) -> None:
        """Raise InputError naming the files of the run and its repeats that `changes` finds."""
        found = [f"{REPEAT_PREFIX}{number}/{name}" for number, run in self.repeats().items()
                 for name in run.changes(folds, written, training)]  # fmt: skip
        found = found or self.changes(folds, written, training)
        if found:
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise InputError(
                f"Files of {self.folder} have changed: {', '.join(found[:5])}{more}. Restore them, "
                f"train again with --restart, or accept the change: {_reseal(self.folder)}."
            )

    def _planned(self) -> set[int]:
        """Return the numbers of the folds of the finished run."""
        folds = read_mapping(self.folder / FINISHED, {"folds": list}, _RESTORE)["folds"]
        return {fold for fold in folds if isinstance(fold, int)}


def _reseal(run: Path) -> str:
    return f"`hf-breakhis report {run} --reseal`"


def _numbers(folder: Path, prefix: str) -> list[int]:
    names = [path.name.removeprefix(prefix) for path in folder.glob(f"{prefix}*") if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())
