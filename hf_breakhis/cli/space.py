"""`hf-breakhis space`: a Gradio app around a model."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.cli.export import Fold
from hf_breakhis.files import InputError


def space(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder, or that of an earlier app.")],
    fold: Fold = None,
    push_to_hub: Annotated[str | None, typer.Option("--push_to_hub", help="And upload it as USER/NAME.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Nobody else may see the Space.")] = False,
) -> None:
    """Write a Gradio app that runs on Spaces and locally: probability, threshold, heat map, how far to trust it."""
    from hf_breakhis.hub.remote import require_login, require_repo_id

    if push_to_hub is not None:
        require_repo_id(push_to_hub)
        require_login()
    elif private:
        raise InputError("--private is about a Space on the Hub: give --push_to_hub USER/NAME too, or drop it.")

    from hf_breakhis.hub.space import claim_space, push_space, write_space
    from hf_breakhis.inference.model import find_model

    weights = find_model(run, fold, local=True)
    if push_to_hub is not None:
        claim_space(push_to_hub, private)
    written = write_space(weights, folder)
    typer.echo(f"space: {written} (python {written / 'app.py'})")
    if push_to_hub is not None:
        typer.echo(f"pushed: {push_space(written, push_to_hub)}")
