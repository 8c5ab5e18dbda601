"""The command `hf-breakhis predict MODEL PATH...`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_breakhis.cli.export import Members, Tta
from hf_breakhis.files import InputError

if TYPE_CHECKING:
    from hf_breakhis.inference.model import Weights
    from hf_breakhis.inference.predict import Prediction


class Backend(StrEnum):
    """Backends for inference."""

    TORCH = "torch"
    ONNX = "onnx"
    FP16 = "fp16"
    INT8 = "int8"


class Form(StrEnum):
    """Output formats."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class Unit(StrEnum):
    """What a worklist has a row for."""

    PATIENT = "patient"
    SPECIMEN = "specimen"


class Aggregation(StrEnum):
    """Rules that make one score of the images of a patient."""

    MEAN = "mean"
    MAXIMUM = "maximum"
    SHARE = "share"


FORMS = {
    "": Form.CSV,
    ".csv": Form.CSV,
    ".jsonl": Form.JSONL,
    ".ndjson": Form.JSONL,
    ".json": Form.JSONL,
    ".parquet": Form.PARQUET,
}


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Run folder, model folder, or OWNER/NAME on the Hub.")],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Images, folders, patterns, archives, .parquet, hf://datasets/OWNER/NAME, or - for standard input: "
            "one image, or a list of paths, one a line.",
        ),
    ],
    fold: Annotated[str | None, typer.Option(help="Fold whose weights are used, or refit. Default: 0.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag of a model on the Hub.")] = None,
    members: Members = None,
    tta: Tta = None,
    output: Annotated[Path, typer.Option(help="Output file; - is standard output.")] = Path("-"),
    form: Annotated[
        Form | None,
        typer.Option("--format", help="csv, jsonl or parquet. Default: from the extension of --output."),
    ] = None,
    backend: Annotated[
        Backend, typer.Option(help="torch, or an export with ONNX Runtime: onnx, fp16, int8.")
    ] = Backend.TORCH,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: takes half a minute, then slightly faster.")
    ] = False,
    bf16: Annotated[
        bool,
        typer.Option(
            "--bf16", help="Compute in bfloat16: faster if the processor supports it; scores differ slightly."
        ),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option("--batch_size", min=1, help="Images per batch. Default: depends on the hardware.")
    ] = None,
    by: Annotated[
        Unit | None,
        typer.Option(help="Write one row per patient or specimen, highest risk first, instead of one per image."),
    ] = None,
    aggregation: Annotated[
        Aggregation,
        typer.Option(
            help="With --by: score of the images of a patient: mean or maximum probability, or share at or above the "
            "threshold."
        ),
    ] = Aggregation.MEAN,
    metadata: Annotated[
        Path | None,
        typer.Option(help="With --by: CSV file with file_name and patient_id (or specimen_id) of each image."),
    ] = None,
) -> None:
    """Predict images. Exit code 1 if some could not be read. For research, not for diagnosis."""
    from hf_breakhis.data.open_image import ignore_size_warnings
    from hf_breakhis.files import require_writable, write_whole
    from hf_breakhis.inference.hub_model import fetch_export, quiet_hub
    from hf_breakhis.inference.inputs import find_images
    from hf_breakhis.inference.model import find_model

    form = choose_form(form, output)
    if output != Path("-"):
        require_writable(output)
    if by is None and (metadata is not None or aggregation is not Aggregation.MEAN):
        raise InputError(
            "--metadata and --aggregation need --by patient or --by specimen. Give it, or leave them out."
        )
    on_hub = not Path(model).expanduser().exists()
    if backend in (Backend.FP16, Backend.INT8) and on_hub:
        raise InputError(
            f"--backend {backend} needs an export, and {model} is not on this machine. For a model on the Hub, run "
            f"`hf download {model} --local-dir DIR`, then `hf-breakhis export DIR`, and give DIR as the "
            "model. Or use --backend onnx."
        )
    quiet_hub()
    weights = find_model(model, fold, revision, members=members, tta=tta)
    if backend is Backend.ONNX and weights.revision is not None:
        fetch_export(model, weights.revision)
    found = find_images(paths, _say)
    if by is not None:
        from hf_breakhis.inference.worklist import read_groups, with_groups

        found = with_groups(found, by, None if metadata is None else read_groups(metadata, by))

    from hf_breakhis.hardware import choose_settings, find_hardware, keep_memory
    from hf_breakhis.inference.classifier import default_batch_size, open_classifier
    from hf_breakhis.inference.output import Rows
    from hf_breakhis.inference.predict import Prediction
    from hf_breakhis.results.formatting import RESEARCH_ONLY

    ignore_size_warnings()
    for option, given in {"--compile": compiled, "--bf16": bf16}.items():
        if given and backend is not Backend.TORCH:
            raise InputError(f"{option} needs --backend torch, not {backend}. Remove one of them.")
    batch_size = batch_size or default_batch_size()
    hardware = find_hardware()
    if hardware.device == "cpu" or backend is not Backend.TORCH:  # ONNX Runtime works on the CPU
        keep_memory()
    if backend is Backend.TORCH:
        classifier = open_classifier(weights, bf16, batch_size if compiled else None)
    else:
        from hf_breakhis.inference.onnx_classifier import OnnxClassifier

        classifier = OnnxClassifier(weights, backend)
    _say(RESEARCH_ONLY)  # after all that can be refused, since an error is one line
    if bf16 and not choose_settings(hardware)["bf16"]:
        _say(
            "warning: this processor is not known to support bfloat16. Without support it is much slower than "
            "float32. Remove --bf16 if so."
        )
    if bf16 and weights.decision is not None:
        _say("computed in bfloat16; threshold and temperature were fitted on float32 scores, which differ slightly")
    if len(weights.networks) > 1 or weights.tta != "none":
        averaged = "1 network" if len(weights.networks) == 1 else f"the mean of {len(weights.networks)} networks"
        _say(f"probabilities of {averaged}, test-time augmentation: {weights.tta}")
    prediction = Prediction(classifier, Rows(classifier.classes, weights.decision, weights.seen), found, batch_size)
    if weights.decision is None:
        _say(f"no calibrated probability and no decision: {weights.reason}")
    if by is not None:
        _write_worklist(prediction, weights, by, aggregation, output, form)
    elif output == Path("-"):
        prediction.write(_print, form is Form.JSONL)
    elif form is Form.PARQUET:
        write_whole(output, prediction.write_parquet)
    else:

        def write(beside: Path) -> None:
            with beside.open("w", encoding="utf-8", newline="") as stream:
                prediction.write(stream.write, form is Form.JSONL)

        write_whole(output, write)
    for sentence in prediction.summary():
        _say(sentence)
    if prediction.num_unreadable:
        _say(f"{prediction.num_unreadable:,} could not be read:")
        for one in prediction.unreadable:
            _say(f"  {one.path}: {one.reason}")
        if more := prediction.num_unreadable - len(prediction.unreadable):
            _say(f"  and {more:,} more")
        raise typer.Exit(1)


def _write_worklist(
    prediction: "Prediction", weights: "Weights", unit: str, aggregation: str, output: Path, form: Form
) -> None:
    """Score everything, then write one row a patient or specimen."""
    import pyarrow.parquet as pq

    from hf_breakhis.files import write_text, write_whole
    from hf_breakhis.inference.worklist import Worklist

    worklist = Worklist(weights, prediction.classifier.classes, unit, aggregation)
    for rows in prediction.batches():
        worklist.add(rows)
    if form is Form.PARQUET:
        table = worklist.parquet()
        write_whole(output, lambda beside: pq.write_table(table, beside))
    elif output == Path("-"):
        _print(worklist.text(form is Form.JSONL))
    else:
        write_text(output, worklist.text(form is Form.JSONL))
    for note in worklist.notes:
        _say(note)


def choose_form(form: Form | None, output: Path) -> Form:
    """Return the format that is asked for, by name or by the ending of the file.

    Raises:
        InputError: the ending belongs to no format or to another one, or Parquet has no file.
    """
    of_ending = FORMS.get(output.suffix.lower())
    if form is None and of_ending is None:
        endings = ", ".join(ending for ending in FORMS if ending)
        raise InputError(f"--output is {output}, whose ending belongs to no format. Use {endings}, or give --format.")
    if form is not None and output.suffix and of_ending not in (None, form):
        raise InputError(f"--format {form} does not fit --output {output}. Leave out --format, or rename the file.")
    chosen = form or of_ending or Form.CSV
    if chosen is Form.PARQUET and output == Path("-"):
        raise InputError("Parquet cannot be written to standard output. Give --output FILE.parquet.")
    return chosen


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say(text: str) -> None:
    """Print to standard error; names from outside may contain control characters, which are replaced."""
    typer.echo("".join(letter if letter.isprintable() else "?" for letter in text), err=True)
