"""`hf-breakhis evaluate`: evaluate any image classifier on any images."""

import argparse
import json
from pathlib import Path
from typing import Any, NoReturn

import typer

from hf_breakhis.files import InputError

USAGE = (
    "MODEL [--dataset imagefolder] [--data_dir DIR] [--classes Normal=benign,InSitu=malignant] [--fold 0] "
    "[--output_dir DIR] [--threshold_rule youden] | RUN --shifts all"
)
HELP = (
    "Evaluate any image classifier on any images: MODEL is a run, a fold, a model folder, or OWNER/NAME on the Hub. "
    "Images that it was trained on, and copies of them, are excluded. The threshold of the model is locked. Writes a "
    "run with its report."
)
CLASSES_HELP = (
    "Needed if the classes of data and model have different names: NAME=CLASS for each class of the data, for example "
    "Normal=benign,InSitu=malignant. NAME= leaves a class out. Or from classes of the model to classes of the data."
)
FIELDS = "dataset data_dir dataset_revision twin_kwargs target magnifications tumor_types positive_class".split()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[:1].upper()}{message[1:]}. Usage: hf-breakhis evaluate {USAGE}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hf-breakhis evaluate", usage=f"hf-breakhis evaluate {USAGE}", description=HELP, allow_abbrev=False
    )
    parser.add_argument("model", metavar="MODEL", help="Run, fold, model folder, or OWNER/NAME on the Hub.")
    parser.add_argument("--dataset", help="breakhis, imagefolder, twin, rcl7500, or a Hub id. Default: breakhis.")
    parser.add_argument("--data_dir", help="Folder or archive of the images.")
    parser.add_argument("--dataset_revision", help="Commit of a data set on the Hub.")
    parser.add_argument("--twin_kwargs", help="Settings of a synthetic twin (generated images) as JSON.")
    parser.add_argument("--target", choices=("malignancy", "tumor_type"), help="Classes. Default: those of the run.")
    parser.add_argument("--magnifications", nargs="+", help="Any of 40X 100X 200X 400X. Default: all.")
    parser.add_argument("--tumor_types", nargs="+", help="Tumor types to use. Default: all.")
    parser.add_argument("--positive_class", help="Class that sensitivity is computed for, one of two.")
    parser.add_argument("--classes", nargs="+", default=[], metavar="NAME=CLASS", help=CLASSES_HELP)
    parser.add_argument("--fold", help="Fold whose weights are used, or refit. Default: 0.")
    parser.add_argument("--revision", help="Commit, branch or tag of a model on the Hub.")
    parser.add_argument("--batch_size", type=int, help="Images per batch. Default: depends on the hardware.")
    parser.add_argument("--output_dir", type=Path, help="Run folder. Default: outputs/MODEL-on-DATA.")
    parser.add_argument(
        "--threshold_rule", help="Rule of the refitted threshold, such as sensitivity>=0.95. Default: the model's."
    )
    parser.add_argument(
        "--shifts",
        help="Score the test sets of the run itself under simulated shifts: all, or any of stain, similarity, blur, "
        "jpeg, brightness, scale, noise, separated by commas.",
    )
    return parser


def _evaluate_shifts(given: argparse.Namespace) -> None:
    """Score the test sets of a run under simulated shifts and write its report again."""
    from hf_breakhis.inference.evaluation.shifts import evaluate_shifts, parse_shifts
    from hf_breakhis.results.report.page import write_report
    from hf_breakhis.results.shifts import shift_table

    names = parse_shifts(given.shifts)
    ignored = [name for name, value in vars(given).items() if value and name not in ("model", "shifts", "batch_size")]
    if ignored:
        raise InputError(
            f"--shifts uses the test sets of the run itself, so --{ignored[0]} does not apply. Leave it out."
        )
    if not Path(given.model).is_dir():
        raise InputError(f"--shifts needs the folder of a trained run; there is no folder {given.model}. Give one.")
    found = evaluate_shifts(given.model, names, given.batch_size)
    typer.echo(shift_table(found))
    typer.echo(f"report: {write_report(given.model)}")


def evaluate(context: typer.Context) -> None:
    """Score the images of a data set with a model and report on it."""
    given = _parser().parse_args(context.args)
    if given.batch_size is not None and given.batch_size < 1:
        raise InputError(f"--batch_size is {given.batch_size}. Give 1 or more.")
    if given.shifts is not None:
        _evaluate_shifts(given)
        return

    from hf_breakhis.inference.evaluation.classes import parse_classes
    from hf_breakhis.inference.evaluation.evaluate import evaluate_model
    from hf_breakhis.results.report.page import write_report
    from hf_breakhis.results.report.terminal import terminal_table
    from hf_breakhis.results.scores.thresholds import parse_rule
    from hf_breakhis.results.summary import Choices, summarise

    rule = None if given.threshold_rule is None else parse_rule(given.threshold_rule)
    classes = parse_classes(given.classes)
    fields = {name: getattr(given, name) for name in FIELDS if getattr(given, name) is not None}
    if given.twin_kwargs is not None:
        fields["twin_kwargs"] = _settings(given.twin_kwargs)
    place = Path(given.data_dir or given.dataset or "breakhis").name.split(".")[0]
    folder = given.output_dir or Path("outputs") / f"{Path(given.model).name}-on-{place}"
    command = ["hf-breakhis", "evaluate", *context.args]
    run = evaluate_model(
        given.model, fields, folder, classes, given.fold, given.revision, given.batch_size, command=command
    )
    model = run.evaluation["model"]
    fold = (
        ""
        if model["fold"] is None
        else f", weights of {'the' if model['fold'] == 'refit' else 'fold'} {model['fold']}"
    )
    typer.echo(f"model: {model['name']}{fold}", err=True)
    summary = summarise(folder, Choices(rule))
    page = write_report(folder)
    typer.echo(terminal_table(summary))
    typer.echo(f"report: {page}")


def _settings(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"--twin_kwargs is {text!r}; give JSON, for example '{{\"seed\": 1}}'.")
    return found
