"""`hf-breakhis explain`: heat maps of a fold's images."""

from pathlib import Path
from typing import Annotated

import typer


def explain(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    fold: Annotated[
        str | None, typer.Option("--fold", help="Fold whose model and test images are used (default: 0).")
    ] = None,
    num_images: Annotated[int, typer.Option("--num_images", min=1, help="Right ones, and as many wrong ones.")] = 4,
    num_curves: Annotated[int, typer.Option("--num_curves", min=1, help="Test images of the deletion curve.")] = 24,
) -> None:
    """Write heat maps of the most confident right and wrong test images, and show them in the report."""
    from hf_breakhis.hardware import find_hardware, keep_memory
    from hf_breakhis.inference.explain import explain_fold
    from hf_breakhis.inference.model import find_model
    from hf_breakhis.results.report.page import write_report
    from hf_breakhis.run import EXPLAINED

    weights = find_model(run, fold, local=True)
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
    typer.echo(f"explain: {weights.output / EXPLAINED}")
    if weights.require_run().is_scored:
        typer.echo(f"report: {write_report(weights.require_run().folder)}")
