"""The command line: one module per command, with heavy imports inside the command."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hf_breakhis import __version__
from hf_breakhis.cli.audit import HELP as AUDIT_HELP
from hf_breakhis.cli.audit import audit
from hf_breakhis.cli.check import check
from hf_breakhis.cli.compare import compare
from hf_breakhis.cli.data import app as data_app
from hf_breakhis.cli.embed import embed
from hf_breakhis.cli.evaluate import HELP as EVALUATE_HELP
from hf_breakhis.cli.evaluate import evaluate
from hf_breakhis.cli.explain import explain
from hf_breakhis.cli.export import export
from hf_breakhis.cli.faults import fault_of
from hf_breakhis.cli.help.doctor import HELP as DOCTOR_HELP
from hf_breakhis.cli.help.doctor import doctor
from hf_breakhis.cli.help.recipes import app as recipes_app
from hf_breakhis.cli.predict import predict
from hf_breakhis.cli.score import HELP as SCORE_HELP
from hf_breakhis.cli.score import score
from hf_breakhis.cli.search import HELP as SEARCH_HELP
from hf_breakhis.cli.search import search
from hf_breakhis.cli.share.page import page
from hf_breakhis.cli.share.publish import publish
from hf_breakhis.cli.share.push import claim_before_training, publish_trained
from hf_breakhis.cli.share.space import space
from hf_breakhis.cli.start import READER_GONE, discard_output, prepare_command, reader_is_gone
from hf_breakhis.cli.study import HELP as STUDY_HELP
from hf_breakhis.cli.study import study
from hf_breakhis.files import InputError, reason_of
from hf_breakhis.run import PREDICTIONS, REFIT, REPORT, SCORES, SUMMARY, Run
from hf_breakhis.settings import rare_collections

# typer carries a click of its own, whose classes it exports only in part.
UsageError: type[Exception] = typer.BadParameter.__base__  # type: ignore[assignment]
STOPPED = (130, 143)  # exit codes after Ctrl-C and SIGTERM
RESUMED = ("train", "study", "search", "audit")
WHOLE = "files already written are complete; run the same command again"
RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

COMMAND_GROUPS = {
    "Run": ("train", "study", "search"),
    "Evaluate": ("report", "score", "evaluate", "compare", "audit", "check"),
    "Use": ("predict", "explain", "embed", "export"),
    "Share": ("publish", "space", "page"),
    "Data": ("data",),
    "Help": ("doctor", "recipes"),
}


class GroupedCommands(TyperGroup):
    """Lists the commands by what they are for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each group of commands."""
        for title, names in COMMAND_GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(200)) for name in names])


app = typer.Typer(
    help="Fine-tune and evaluate image classifiers on BreakHis with patients kept in one part of a split. "
    "For research, not for diagnosis.",
    cls=GroupedCommands,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(is_given: bool) -> None:
    if is_given:
        typer.echo(f"hf-breakhis {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


app.add_typer(data_app, name="data")
app.add_typer(recipes_app, name="recipes")
app.command(context_settings=RAW, help=AUDIT_HELP)(audit)
app.command()(check)
app.command()(compare)
app.command(context_settings=RAW, help=DOCTOR_HELP)(doctor)
app.command()(embed)
app.command(context_settings=RAW, help=EVALUATE_HELP)(evaluate)
app.command()(explain)
app.command()(export)
app.command()(page)
app.command()(publish)
app.command()(predict)
app.command(context_settings=RAW, help=SCORE_HELP)(score)
app.command(context_settings=RAW, help=SEARCH_HELP)(search)
app.command()(space)
app.command(context_settings=RAW, help=STUDY_HELP)(study)


@app.command(
    context_settings=RAW,
    help="Train and evaluate RECIPE [--field value ...] and write a report. Run the same command again to resume.",
)
def train(context: typer.Context) -> None:
    """Train, score and report one recipe."""
    from accelerate import PartialState

    from hf_breakhis.recipe import parse_recipe
    from hf_breakhis.results.report.page import is_reported
    from hf_breakhis.training.crossval import cross_validate, leave_group
    from hf_breakhis.training.stopping import StoppedError

    recipe = parse_recipe(context.args)
    run = Path(recipe.training.output_dir)
    if recipe.training.push_to_hub:
        claim_before_training(recipe)
    try:
        trained = cross_validate(recipe)
    except StoppedError as stopped:
        raise typer.Exit(stopped.code) from stopped
    leave_group()
    if not PartialState().is_main_process:
        return
    if recipe.data.fold == REFIT:
        typer.echo(f"refit: {Run(run).fold(REFIT).folder}")
    elif trained or not is_reported(run):
        show_report(run)
    else:
        typer.echo(f"{run} is already finished. Its report is {run / REPORT}. Use --restart to train it again.")
    if recipe.training.push_to_hub:
        publish_trained(recipe)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, for example outputs/c3.")],
    threshold_rule: Annotated[
        str | None,
        typer.Option(
            "--threshold_rule",
            help="Rule for the decision threshold: youden, sensitivity>=0.95, or cost=5 (a missed positive costs 5 "
            "false alarms). Default: the rule of the last report, or youden.",
        ),
    ] = None,
    prevalences: Annotated[
        str | None,
        typer.Option(
            "--prevalences",
            help="Shares of malignant cases for which errors per 1,000 are stated, such as 0.01,0.2. "
            "Default: those of the last report, or 0.01,0.05,0.2,0.5.",
        ),
    ] = None,
    guarantee: Annotated[
        str | None,
        typer.Option(
            "--guarantee",
            help="Largest share of malignant specimens in zone low, and of benign ones in zone high. Default: that of "
            "the last report, or 0.1.",
        ),
    ] = None,
    reseal: Annotated[
        bool, typer.Option("--reseal", help="Accept changed files of the run and write new checksums.")
    ] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output_dir", help="Write the report to a copy of the run in this folder. Default: the run folder."
        ),
    ] = None,
) -> None:
    """Compute the summary and write the figures and the report of a run again. No training, no GPU."""
    Run(run).field("split_by")  # the folder is a run
    if output_dir is not None:
        from hf_breakhis.training.environment import copy_run

        copy_run(run, output_dir)
    folder = output_dir or run
    one = Run(folder)
    if reseal:
        one.seal()
    changed = one.changes((), training=True)
    given = (threshold_rule, prevalences, guarantee)
    one.require_unchanged(written=(PREDICTIONS, SUMMARY) if given == (None, None, None) else SCORES)
    show_report(folder, *given)
    for name in changed:
        typer.echo(f"{name.split()[0]} had been changed and was written again.", err=True)


def show_report(
    run: Path, threshold_rule: str | None = None, prevalences: str | None = None, guarantee: str | None = None
) -> None:
    """Score a run from its files, write its report and print its table."""
    from hf_breakhis.results.report.page import write_report
    from hf_breakhis.results.report.terminal import terminal_table
    from hf_breakhis.results.scores.conformal import parse_error
    from hf_breakhis.results.scores.thresholds import parse_prevalences, parse_rule
    from hf_breakhis.results.summary import Choices, summarise

    choices = Choices(
        None if threshold_rule is None else parse_rule(threshold_rule),
        None if prevalences is None else parse_prevalences(prevalences),
        None if guarantee is None else parse_error(guarantee),
    )
    summary = summarise(run, choices)
    page = write_report(run)
    typer.echo(terminal_table(summary))
    typer.echo(f"report: {page}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, the code it ended with, or 2 after one line for input that cannot be used."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        argv = prepare_command(argv)
        with rare_collections():
            code = app(args=argv or ["--help"], prog_name="hf-breakhis", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        return _refuse(str(error))
    except UsageError as error:
        message = error.format_message()  # type: ignore[attr-defined]
        return _refuse(f"{message}{'' if message.endswith(('.', '?')) else '.'} Try --help.")
    except (SystemExit, BrokenPipeError) as end:
        broken = end.__context__ if isinstance(end, SystemExit) else end  # typer turns one into the other
        if not isinstance(broken, BrokenPipeError):
            raise
        if not reader_is_gone():
            return _refuse(f"a pipe to another process broke ({broken}); run the same command again.", 1)
        discard_output()
        return READER_GONE
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        # every process prints it, since the first one may be the one that has exited
        print(f"hf-breakhis: {fault.line.format(error=reason_of(error))}", file=sys.stderr)  # noqa: T201
        return fault.code
    if code in STOPPED:
        resumes = argv[0] in RESUMED
        return _refuse(
            f"stopped; {'finished work is saved, run the same command again to resume' if resumes else WHOLE}.", code
        )
    return code or 0  # a command that raises typer.Exit gives its code, every other one None


def _refuse(message: str, code: int = 2) -> int:
    if os.environ.get("RANK", "0") == "0":  # all processes of a run meet the same error, and one line is enough
        print(f"hf-breakhis: {message}", file=sys.stderr)  # noqa: T201
    return code
