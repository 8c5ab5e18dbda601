"""`hf-breakhis explain`: heat maps of a fold's images."""

from pathlib import Path
from typing import Annotated

import typer


def explain(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    fold: Annotated[str, typer.Option("--fold", help="Number of a fold: its model, and its test images.")] = "0",
    num_images: Annotated[int, typer.Option("--num_images", min=1, help="Right ones, and as many wrong ones.")] = 4,
    num_curves: Annotated[int, typer.Option("--num_curves", min=1, help="Test images of the deletion curve.")] = 24,
) -> None:
    """Write heat maps of the most confident right and wrong test images, and show them in the report."""
    from hf_breakhis.hardware import find_hardware, keep_memory
    from hf_breakhis.inference.explain import explain_fold
    from hf_breakhis.inference.weights import find_weights
    from hf_breakhis.results.report.page import write_report

    weights = find_weights(run, fold)
    if find_hardware().device == "cpu":
        keep_memory()
    told = explain_fold(weights, num_images, num_curves)
    areas = told["deletion"]["area"]
    for name in told["methods"]:
        better = told["deletion"]["better_than_random"][name]
        typer.echo(
            f"{name}: area under the deletion curve {areas[name]:.3f}, random order {areas['random']:.3f}; smaller "
            f"by at least {told['deletion']['margin']} for {better} of {told['deletion']['num_images']} test images"
        )
    typer.echo(f"explain: {weights.beside / 'explain'}")
    if (run / "summary.json").is_file():
        typer.echo(f"report: {write_report(run)}")
