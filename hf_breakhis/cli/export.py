"""`hf-breakhis export`: convert a trained model to ONNX."""

from pathlib import Path
from typing import Annotated

import typer

FoldOption = Annotated[
    str | None, typer.Option("--fold", help="Fold whose weights are used, or refit. Default: 0, of a finished run.")
]
Members = Annotated[
    str | None,
    typer.Option(
        "--members", help="Networks of an ensemble: all (mean probability), or the number of one from 0. Default: all."
    ),
]
Tta = Annotated[
    str | None, typer.Option("--tta", help="Test-time augmentation: none or dihedral. Default: that of the run.")
]


def export(
    place: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of a finished run or of a model.")],
    fold: FoldOption = None,
    members: Members = None,
    tta: Tta = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Also write model_fp16.onnx (half the size).")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Also write model_int8.onnx (a quarter of the size).")] = False,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Output folder. Default: onnx/ next to the model.")
    ] = None,
) -> None:
    """Write an ONNX model that takes raw pixels of any size, and report how much the smaller versions differ."""
    from hf_breakhis.inference.export import export_model
    from hf_breakhis.inference.model import find_model

    weights = find_model(place, fold, local=True, members=members, tta=tta)
    folder = output_dir or weights.output / "onnx"
    exported = export_model(weights, folder, fp16, int8)
    for name, row in exported["files"].items():
        score = f", accuracy {row['accuracy']:.4f} of {row['num_images']:,} test images" if "accuracy" in row else ""
        difference = row.get("against_fp32")
        change = f" ({difference['accuracy']:+.4f}, {difference['other_class']} other classes)" if difference else ""
        typer.echo(f"onnx: {folder / name} ({row['bytes'] / 1e6:,.1f} MB{score}{change})")
    typer.echo(f"parity with torch: {exported['parity']['largest_difference']:.1e}")
