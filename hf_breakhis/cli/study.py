"""`hf-breakhis study`: train the rows of a study and compare them with its base."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_breakhis.cli.jobs import start_job
from hf_breakhis.files import InputError, nearest

if TYPE_CHECKING:
    from hf_breakhis.study import Study

LOGS, LOCKS = "logs", ".locks"
HELD = 75  # exit code of --row where another process trains the row: "try again" (EX_TEMPFAIL of sysexits.h)
USAGE = "STUDY [--base RECIPE] [--jobs N | --row NAME] [--output_dir DIR] [--field value ...]"
HELP = (
    "Train the rows of a STUDY, each of which changes some fields of a base recipe, and compare them with the base on "
    "the same folds, repeats and seeds. STUDY is a YAML file or one of this package (`hf-breakhis recipes` lists "
    "them). A field overrides the base of all rows. Run the same command again to resume: finished rows are kept. The "
    "folder of a study instead of STUDY writes its table and page again."
)


def study(
    context: typer.Context,
    base: Annotated[str | None, typer.Option("--base", help="Base recipe. Default: that of the study.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Number of rows trained at the same time.")] = 1,
    row: Annotated[
        str | None, typer.Option("--row", help="Train this row only, for a job array; `base` is the base.")
    ] = None,
) -> None:
    """Train and compare the rows of a study."""
    words = list(context.args)
    if not words or {"-h", "--help"} & set(words):
        options = (
            "--base RECIPE  Base recipe. Default: that of the study.",
            "--jobs N       Number of rows trained at the same time. Default: 1.",
            "--row NAME     Train this row only, for a job array; `base` is the base.",
        )
        typer.echo(f"Usage: hf-breakhis study {USAGE}\n\n{HELP}\n\n" + "\n".join(options))
        return
    from hf_breakhis.recipe import parse_flags
    from hf_breakhis.study import read_study

    if Path(words[0]).is_dir():
        if len(words) > 1 or base or row:
            raise InputError(f"{words[0]} is a folder. Give the study file to train, or the folder alone to compare.")
        show_study(Path(words[0]))
        return
    run_study(read_study(words[0], parse_flags(words[1:]), base), words, jobs, row)


def run_study(study: "Study", words: Sequence[str], jobs: int = 1, row: str | None = None) -> None:
    """Check every row, train those that are not finished, and write the page.

    Args:
        study: with the recipes of all rows.
        words: the study and the fields of the command line, which the processes of the rows get.
        jobs: number of processes.
        row: the only row to train.
    """
    from accelerate import PartialState

    from hf_breakhis.training.crossval import check_recipe, leave_group
    from hf_breakhis.training.lock import HeldError

    if row is not None and row not in study.rows:
        names = list(study.rows)
        raise InputError(f"The study has no row {row}.{nearest(row, names)} Choose from {', '.join(names)}.")
    for one in study.rows.values():
        try:
            check_recipe(one.recipe)
        except InputError as error:
            raise InputError(f"Row {one.name}: {error}") from error
    left_out = _left_out(study)
    state = PartialState()
    if jobs > 1 and state.num_processes > 1:
        raise InputError(f"--jobs is {jobs}, but a launcher has started {state.num_processes} processes. Use one.")
    if state.is_main_process:
        _write_plan(study, left_out)
    state.wait_for_everyone()
    names = [name for name in study.rows if name not in left_out]
    if row is not None:
        if row in left_out:
            raise InputError(f"Row {row} cannot be trained: {left_out[row]}")
        try:
            _train_row(study, row)
        except HeldError as error:
            if state.is_main_process:
                typer.echo(f"hf-breakhis: {error}", err=True)
            raise typer.Exit(HELD) from error
        leave_group()
        if state.is_main_process:
            typer.echo(f"row {row}: {study.folder / row}. `hf-breakhis study {study.folder}` compares the rows.")
        return
    failed = []
    if jobs > 1:
        failed = _in_processes(study, names, words, jobs)
    else:
        _one_after_the_other(study, names)
    leave_group()
    if state.is_main_process:
        show_study(study.folder)
        for line in failed:
            typer.echo(f"hf-breakhis: {line}", err=True)
    if failed:
        raise typer.Exit(2)


def show_study(folder: Path) -> None:
    """Write the table, the figures and the page of a study from the files of its rows."""
    from hf_breakhis.results.study import compare_rows, study_table, write_study

    found = compare_rows(folder)
    page = write_study(folder, found)
    typer.echo(study_table(found))
    typer.echo(f"study: {page}")


def _left_out(study: "Study") -> dict[str, str]:
    """Return the rows of a study on splits that its data does not allow, with the reason."""
    from hf_breakhis.data.sources.table import load_images

    if not study.may_change:
        return {}
    dataset = load_images(study.recipe.data).dataset
    columns = {"patient": "patient_id", "specimen": "specimen_id"}
    unknown = [level for level, column in columns.items() if not all(dataset[column])]
    found = {}
    for name, one in study.rows.items():
        data, carried = one.recipe.data, one.recipe.model.carry_over != "none"
        if data.split_by in unknown:
            found[name] = f"the source has no {data.split_by} ids."
        elif carried and data.num_folds == 1:
            found[name] = "a hold-out has no next fold to carry a model to."
    return found


def _write_plan(study: "Study", left_out: dict[str, str]) -> None:
    """Write what the study consists of.

    Raises:
        InputError: the folder contains a study of another base, or something else.
    """
    from hf_breakhis.files import write_json
    from hf_breakhis.recipe import resolved_fields
    from hf_breakhis.results.study import FORMAT, read_plan
    from hf_breakhis.run import AUDIT, PLAN
    from hf_breakhis.training.environment import changed_fields, few_changes
    from hf_breakhis.training.lock import preparing

    folder, fields = study.folder, resolved_fields(study.recipe)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Give another --output_dir.")
    with preparing(folder):
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        others = [name for name in names if name not in (AUDIT, LOCKS)]
        if PLAN in names:
            changed = changed_fields(read_plan(folder)["recipe"], fields)
            if changed and not study.recipe.training.restart:
                what = f"{folder} contains a study of another base ({few_changes(changed)})."
                raise InputError(f"{what} Give another --output_dir.")
        elif others:
            raise InputError(f"{folder} contains {', '.join(others[:3])} and no {PLAN}. Give another --output_dir.")
        rows = [{"name": row.name, "changes": row.changes, "reference": row.reference} for row in study.rows.values()]
        shown = {"name": study.name, "title": study.title, "base": Path(study.base).stem, "score": study.score}
        plan = {"format": FORMAT, **shown, "may_change": list(study.may_change), "repeats": study.recipe.data.repeats}
        write_json(folder / PLAN, plan | {"rows": rows, "left_out": left_out, "recipe": fields})


def _one_after_the_other(study: "Study", names: Sequence[str]) -> None:
    """Train rows in this process; one that another process is training is left to it."""
    from hf_breakhis.training.lock import HeldError
    from hf_breakhis.training.progress import say

    for number, name in enumerate(names, start=1):
        say(f"row {number} of {len(names)}: {name}")
        try:
            _train_row(study, name)
        except HeldError:
            say(f"row {name} is being trained by another process.")


def _train_row(study: "Study", name: str) -> None:
    """Train one row unless it is finished, and write its report.

    Raises:
        HeldError: another process is training it.
    """
    from accelerate import PartialState

    from hf_breakhis.results.report.page import is_reported, write_report
    from hf_breakhis.results.summary import summarise
    from hf_breakhis.training.crossval import cross_validate
    from hf_breakhis.training.lock import held
    from hf_breakhis.training.stopping import StoppedError

    recipe = study.rows[name].recipe
    run = Path(recipe.training.output_dir)
    with held(study.folder / LOCKS / name):
        try:
            trained = cross_validate(recipe)
        except StoppedError as stopped:
            raise typer.Exit(stopped.code) from stopped
        if PartialState().is_main_process and (trained or not is_reported(run)):
            summarise(run)
            write_report(run)


@dataclass
class _Process:
    """The process of a row, and the file of its output."""

    row: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"exit code {self.process.returncode}")


def _in_processes(study: "Study", names: Sequence[str], words: Sequence[str], jobs: int) -> list[str]:
    """Train rows in processes of their own; return one line for each that failed.

    After SIGTERM or Ctrl-C the processes save their work, and the command ends.
    """
    from hf_breakhis.training.progress import say
    from hf_breakhis.training.stopping import StopRequest

    waiting, failed = list(names), []
    running: list[_Process] = []
    with StopRequest() as stop:
        while (waiting and stop.signal_number is None) or running:
            while waiting and len(running) < jobs and stop.signal_number is None:
                running.append(_started(study, waiting.pop(0), words, jobs))
                say(f"row {running[-1].row}: started, output in {running[-1].log}")
            if stop.signal_number is not None:
                for one in running:
                    one.process.terminate()
                for one in running:
                    one.process.wait()
                raise typer.Exit(128 + stop.signal_number)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                if one.process.returncode == HELD:
                    say(f"row {one.row} is being trained by another process.")
                    continue
                if one.process.returncode:
                    failed.append(f"row {one.row} failed: {one.last_line().removeprefix('hf-breakhis: ')}")
                say(f"row {one.row}: {'failed' if one.process.returncode else 'finished'}")
            time.sleep(0.2)
    return failed


def _started(study: "Study", row: str, words: Sequence[str], jobs: int) -> _Process:
    log = study.folder / LOGS / f"{row}.txt"
    return _Process(row, start_job(["study", *words, "--base", study.base, "--row", row], log, jobs), log)
