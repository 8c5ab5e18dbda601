"""`hf-breakhis space`: a Gradio app around a model."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.cli.export import FoldOption, Members, Tta


def space(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder, or an earlier app to replace.")],
    fold: FoldOption = None,
    members: Members = None,
    tta: Tta = None,
    push_to_hub: Annotated[
        str | None, typer.Option("--push_to_hub", help="Upload the app to this Space, USER/NAME.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private Space.")] = False,
) -> None:
    """Write a Gradio app with probability, decision threshold and heat map, for Spaces or local use."""
    from hf_breakhis.hub.remote import require_target

    require_target(push_to_hub, private)

    from hf_breakhis.hub.space import claim_space, push_space, write_space
    from hf_breakhis.inference.model import find_model

    weights = find_model(run, fold, local=True, members=members, tta=tta)
    if push_to_hub is not None:
        claim_space(push_to_hub, private)
    written = write_space(weights, folder)
    typer.echo(f"space: {written} (python {written / 'app.py'})")
    if push_to_hub is not None:
        typer.echo(f"pushed: {push_space(written, push_to_hub)}")
