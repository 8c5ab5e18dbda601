"""`hf-breakhis search`: nested search of the fields of a recipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_breakhis.cli.jobs import start_job
from hf_breakhis.files import InputError

if TYPE_CHECKING:
    from hf_breakhis.search.space import Searched


USAGE = "RECIPE --space SPACE --trials N [--hours H] [--jobs N] [--output_dir DIR] [--field value ...]"
HELP = (
    "Search the best values of fields of a RECIPE (nested cross-validation, with Optuna). SPACE is a YAML file with a "
    "range or choices for each field, or one of this package. Writes best.yaml, a recipe for `train`, and the score "
    "to expect. Run the same command again to resume, or several times at once to share the trials. The folder of a "
    "search instead of RECIPE writes its table and page again."
)
OPTIONS = {
    "--space SPACE": "Fields to search, each with a range or choices: a YAML file, or one of the package.",
    "--trials N": "Number of trials of each outer fold and of the final search.",
    "--hours H": "Hours after which no new trial begins. Without --trials, the number of trials depends on it.",
    "--sampler NAME": "How values are proposed: tpe, random or grid. Default: tpe.",
    "--pruner NAME": "Stop a trial that is worse than the median so far: median or none. Default: median.",
    "--metric NAME": "Score that selects a trial: balanced_accuracy, accuracy, roc_auc or recognition_rate. Default: "
    "balanced_accuracy.",
    "--inner_folds N": "Number of inner folds. Default: 3.",
    "--jobs N": "Number of processes that share the trials on this machine. Default: 1.",
    "--storage URL": "Database for the trials, such as sqlite:///FILE. Default: a journal file in the output folder.",
}


def search(
    context: typer.Context,
    space: Annotated[str | None, typer.Option("--space", help=OPTIONS["--space SPACE"])] = None,
    trials: Annotated[int | None, typer.Option("--trials", help=OPTIONS["--trials N"])] = None,
    hours: Annotated[float | None, typer.Option("--hours", help=OPTIONS["--hours H"])] = None,
    sampler: Annotated[str, typer.Option("--sampler", help=OPTIONS["--sampler NAME"])] = "tpe",
    pruner: Annotated[str, typer.Option("--pruner", help=OPTIONS["--pruner NAME"])] = "median",
    metric: Annotated[str, typer.Option("--metric", help=OPTIONS["--metric NAME"])] = "balanced_accuracy",
    inner_folds: Annotated[int, typer.Option("--inner_folds", help=OPTIONS["--inner_folds N"])] = 3,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help=OPTIONS["--jobs N"])] = 1,
    storage: Annotated[str | None, typer.Option("--storage", help=OPTIONS["--storage URL"])] = None,
) -> None:
    """Search the fields of a recipe."""
    words = list(context.args)
    if not words or {"-h", "--help"} & set(words):
        options = "\n".join(f"{name:<16} {text}" for name, text in OPTIONS.items())
        typer.echo(f"Usage: hf-breakhis search {USAGE}\n\n{HELP}\n\n{options}")
        return
    if Path(words[0]).is_dir():
        if len(words) > 1 or space:
            raise InputError(f"{words[0]} is a folder. Give the recipe to search, or the folder alone for its page.")
        show_search(Path(words[0]))
        return
    if space is None:
        raise InputError("No space is given. Add --space SPACE, a YAML file with the fields to search.")
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            "The search needs a package that is not installed. Install it: pip install 'hf-breakhis[search]'."
        ) from error
    from hf_breakhis.search.start import Options, run_search
    from hf_breakhis.training.stopping import StoppedError

    how = Options(trials, hours, sampler, pruner, metric, inner_folds, storage, _command(storage))
    searched = _searched(words, space)
    names = ("trials", "hours", "sampler", "pruner", "metric", "inner_folds", "storage")
    given = [word for name in names if (value := getattr(how, name)) is not None for word in (f"--{name}", str(value))]
    helpers = _helpers([*words, "--space", space, *given], Path(searched.values["output_dir"]), jobs - 1)
    try:
        folder = run_search(searched, how, helpers)
    except StoppedError as stopped:
        raise typer.Exit(stopped.code) from stopped
    show_search(folder)
    typer.echo(f"best recipe: {folder / 'best.yaml'}")


def show_search(folder: Path) -> None:
    """Write the table, the figures and the page of a search from its files."""
    from hf_breakhis.results.search import score_search, search_table, write_search

    found = score_search(folder)
    page = write_search(folder, found)
    typer.echo(search_table(found))
    typer.echo(f"search: {page}")


@contextmanager
def _helpers(words: list[str], folder: Path, number: int) -> Iterator[None]:
    """Let other processes train trials of the same search, and end with them; their output is in `.logs/`."""
    from hf_breakhis.search.start import LOGS

    logs = [folder / LOGS / f"process-{one + 1}.txt" for one in range(number)]
    helpers = [start_job(["search", *words], log, number + 1) for log in logs]
    try:
        yield
    except BaseException:
        for helper in helpers:
            helper.terminate()
        raise
    finally:
        for helper in helpers:
            helper.wait()


def _searched(words: list[str], space: str) -> "Searched":
    """Return the recipe with the flags, and the space."""
    from hf_breakhis.recipe import load_recipe, parse_flags
    from hf_breakhis.search.space import Searched, read_space

    if words[0].startswith("-"):
        raise InputError(f"No recipe is given. Give one first, such as recipes/c3.yaml or c3: search {USAGE}.")
    values, flags, found = load_recipe(words[0]), parse_flags(words[1:]), read_space(space)
    both = next((one.field for one in found.parameters if one.field in flags), "")
    if both:
        raise InputError(f"`{both}` is searched by {space} and given as a flag. Keep one of them.")
    folder = f"outputs/{Path(words[0]).stem}-search"
    return Searched(words[0], {**values, "output_dir": folder, **flags}, found)


def _command(storage: str | None) -> str:
    """Return the command line without the credentials of a database."""
    from hf_breakhis.training.environment import command_line

    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    hidden = [word.replace(storage, "...") if storage and "@" in storage else word for word in words]
    return command_line(hidden)
