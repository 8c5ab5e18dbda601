"""`hf-breakhis explain`: heat maps of test images."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.files import counted


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    fold: Annotated[
        str | None, typer.Option("--fold", help="Fold whose model and test images are used. Default: 0.")
    ] = None,
    num_images: Annotated[
        int, typer.Option("--num_images", min=1, help="Number of correctly and of wrongly classified images, each.")
    ] = 4,
    num_curves: Annotated[
        int, typer.Option("--num_curves", min=1, help="Number of test images for the deletion curve.")
    ] = 24,
) -> None:
    """Write heat maps of the most confident correct and wrong test images and add them to the report."""
    from hf_breakhis.hardware import find_hardware, keep_memory
    from hf_breakhis.inference.explain import explain_fold
    from hf_breakhis.inference.model import find_model
    from hf_breakhis.results.report.page import write_report
    from hf_breakhis.run import EXPLAINED

    weights = find_model(run, fold, local=True)
    if find_hardware().device == "cpu":
        keep_memory()
    explained = explain_fold(weights, num_images, num_curves)
    deletion = explained["deletion"]
    for name in explained["methods"]:
        better = deletion["better_than_random"][name]
        typer.echo(
            f"{name}: area under the deletion curve {deletion['area'][name]:.3f}, random order "
            f"{deletion['area']['random']:.3f}; smaller by at least {deletion['margin']} for {better} of "
            f"{counted(deletion['num_images'], 'test image')}"
        )
    typer.echo(f"explain: {weights.output / EXPLAINED}")
    if weights.require_run().is_scored:
        typer.echo(f"report: {write_report(weights.require_run().folder)}")
