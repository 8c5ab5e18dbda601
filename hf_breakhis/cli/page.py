"""`hf-breakhis page`: a static page that runs the model in the visitor's browser."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.cli.export import Fold


def page(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder, or that of an earlier page.")],
    fold: Fold = None,
    ort: Annotated[
        Path | None, typer.Option("--ort", help="dist/ of npm's onnxruntime-web, to copy; else from a CDN.")
    ] = None,
) -> None:
    """Write a web page that needs no server program: the model runs in the visitor's browser, no image leaves it."""
    from hf_breakhis.hub.page import write_page
    from hf_breakhis.inference.model import find_model

    typer.echo(f"page: {write_page(find_model(run, fold, local=True), folder, ort)}")
    typer.echo(f"look at it: python -m http.server --bind 127.0.0.1 --directory {folder} 8000")
