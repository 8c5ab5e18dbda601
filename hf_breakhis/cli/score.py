"""`hf-breakhis score`: evaluate the predictions of another program."""

import argparse
from pathlib import Path
from typing import NoReturn

import typer

from hf_breakhis.files import InputError

USAGE = (
    "FILE... [--output_dir DIR] [--columns name=COLUMN malignant=COLUMN ...] [--scores auto] [--train FILE | --split "
    "official] [--threshold_rule youden]"
)
HELP = (
    "Evaluate the predictions of any program: write a run and its report from CSV, TSV, JSON or Parquet files "
    "with the name of each test image and its scores or predicted class. Several files or a column `fold` are folds. "
    "With --train FILE (the training images) or --split official, eva or a file, leakage is assessed."
)
COLUMNS_HELP = (
    'Columns that are not found by their names, for example name="Img. name" benign=Benign malignant=Malignant. Keys: '
    "name, label, predicted, fold, part, patient_id, specimen_id, benign, malignant, or A, F, PT, TA, DC, LC, MC, PC. "
    "KEY= leaves a column out."
)
SCORES_HELP = (
    "What the numbers are: auto, probability, percent, votes or logits; classes uses the predicted classes "
    "and no scores. Default: auto."
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[:1].upper()}{message[1:]}. Usage: hf-breakhis score {USAGE}")


def score(context: typer.Context) -> None:
    """Turn predictions into a run and report on it."""
    parser = _Parser(
        prog="hf-breakhis score", usage=f"hf-breakhis score {USAGE}", description=HELP, allow_abbrev=False
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="Predictions; several files are folds.")
    parser.add_argument("--output_dir", type=Path, help="Run folder. Default: outputs/NAME of the first file.")
    parser.add_argument("--columns", nargs="+", default=[], metavar="KEY=COLUMN", help=COLUMNS_HELP)
    parser.add_argument("--scores", default="auto", help=SCORES_HELP)
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--train", type=Path, metavar="FILE", help="Table with the names of the training images.")
    known.add_argument("--split", help="Split that was used: official, eva, or a file with training and test sets.")
    parser.add_argument("--threshold_rule", help="youden, sensitivity>=0.95 or cost=5. Default: youden.")
    given = parser.parse_args(context.args)

    from hf_breakhis.results.foreign.values import SCORES
    from hf_breakhis.results.imported import import_predictions
    from hf_breakhis.results.report.page import write_report
    from hf_breakhis.results.report.terminal import terminal_table
    from hf_breakhis.results.scores.thresholds import parse_rule
    from hf_breakhis.results.summary import Choices, summarise
    from hf_breakhis.run import Run

    if run := next((path for path in given.files if path.is_dir() and Run(path).exists), None):
        raise InputError(f"{run} is a run, which knows its scores. Show them: hf-breakhis report {run}.")
    if given.scores not in SCORES:
        raise InputError(f"--scores is {given.scores!r}; allowed are {', '.join(SCORES)}.")
    rule = None if given.threshold_rule is None else parse_rule(given.threshold_rule)
    folder = given.output_dir or Path("outputs") / given.files[0].stem
    columns = dict(_pair(word) for word in given.columns)
    command = ["hf-breakhis", "score", *context.args]
    import_predictions(given.files, folder, columns, given.scores, given.train, given.split, command)
    summary = summarise(folder, Choices(rule))
    page = write_report(folder)
    typer.echo(terminal_table(summary))
    typer.echo(f"report: {page}")


def _pair(word: str) -> tuple[str, str]:
    key, equals, column = word.partition("=")
    if not equals:
        raise InputError(f"--columns has {word!r}; give KEY=COLUMN, for example malignant=Malignant.")
    return key, column
