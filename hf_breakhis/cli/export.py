"""`hf-breakhis export`: a trained model as ONNX."""

from pathlib import Path
from typing import Annotated

import typer

Fold = Annotated[
    str | None, typer.Option("--fold", help="Fold whose weights are used, or refit (default: 0, of a finished run).")
]


def export(
    place: Annotated[Path, typer.Argument(metavar="RUN_OR_MODEL", help="A finished run, or the folder of a model.")],
    fold: Fold = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Write model_fp16.onnx too: half the size.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Write model_int8.onnx too: a quarter of the size.")] = False,
    to: Annotated[Path | None, typer.Option("--to", help="Folder to make anew; else onnx/ beside the model.")] = None,
) -> None:
    """Write a model as ONNX that takes raw pixels of any size, and say what its smaller forms change."""
    from hf_breakhis.inference.export import export_model
    from hf_breakhis.inference.model import find_model

    weights = find_model(place, fold, local=True)
    folder = to or weights.output / "onnx"
    told = export_model(weights, folder, fp16, int8)
    for name, row in told["files"].items():
        score = f", accuracy {row['accuracy']:.4f} of {row['num_images']:,} test images" if "accuracy" in row else ""
        apart = row.get("against_fp32")
        change = f" ({apart['accuracy']:+.4f}, {apart['other_class']} other classes)" if apart else ""
        typer.echo(f"onnx: {folder / name} ({row['bytes'] / 1e6:,.1f} MB{score}{change})")
    typer.echo(f"parity with torch: {told['parity']['largest_difference']:.1e}")
