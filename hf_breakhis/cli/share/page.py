"""`hf-breakhis page`: a static web page that runs the model in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.cli.export import FoldOption, Members, Tta


def page(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder, or an earlier page to replace.")],
    fold: FoldOption = None,
    members: Members = None,
    tta: Tta = None,
    ort: Annotated[
        Path | None,
        typer.Option(
            "--ort",
            help="Folder dist/ of the npm package onnxruntime-web, which is copied. Default: loaded from a CDN.",
        ),
    ] = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push_to_hub", help="Upload the page to this static Space, USER/NAME.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private Space.")] = False,
) -> None:
    """Write a static web page. The model runs in the browser of the visitor, and no image is uploaded."""
    from hf_breakhis.hub.remote import require_target

    require_target(push_to_hub, private)

    from hf_breakhis.hub.page import claim_page, push_page, write_page
    from hf_breakhis.inference.model import find_model

    weights = find_model(run, fold, local=True, members=members, tta=tta)
    if push_to_hub is not None:
        claim_page(push_to_hub, private)
    typer.echo(f"page: {write_page(weights, folder, ort, None if push_to_hub is None else '')}")
    typer.echo(f"view it: python -m http.server --bind 127.0.0.1 --directory {folder} 8000")
    if push_to_hub is not None:
        typer.echo(f"pushed: {push_page(folder, push_to_hub)}")
