"""`hf-breakhis publish`: upload a model, its model card and its results to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.files import InputError


def publish(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    repo_id: Annotated[str, typer.Option("--repo_id", help="Repository on the Hub, USER/NAME.")],
    weights: Annotated[
        str, typer.Option(help="Weights to publish: fold:0, refit, or all (one branch per fold).")
    ] = "fold:0",
    members: Annotated[
        str | None,
        typer.Option(help="Networks of an ensemble to publish: all, or the number of one. Default: 0."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry_run", help="Write the folder and list its files, without uploading.")
    ] = False,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Folder for the files. Default: RUN/publish.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Create a private repository.")] = False,
    create_pr: Annotated[bool, typer.Option("--create_pr", help="Create a pull request.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch of the repository.")] = None,
    evaluated: Annotated[
        list[Path] | None,
        typer.Option(help="Evaluated run of these weights, which the card cites; may be given several times."),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything",
            help="Upload also an ONNX file, an app, a page and, of a twin, the images, linked in a collection.",
        ),
    ] = False,
    collection: Annotated[
        str | None, typer.Option(help="With --everything: title of the collection. Default: NAME.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Access token. Default: HF_TOKEN, or that of `hf auth login`.")
    ] = None,
    commit_message: Annotated[
        str | None, typer.Option("--commit_message", help="Commit message. Default: names the fold.")
    ] = None,
) -> None:
    """Upload the model of a fold with a model card that reports how it was evaluated. No training."""
    from hf_breakhis.hub.collection import require_title
    from hf_breakhis.hub.remote import require_login, require_repo_id, using_token

    require_repo_id(repo_id)
    if weights == "all" and (revision or create_pr):
        raise InputError("--weights all creates one branch per fold. Remove --revision and --create_pr.")
    if create_pr and revision:
        raise InputError("--create_pr creates its own branch. Remove --revision.")
    if everything and (weights == "all" or revision or create_pr):
        raise InputError(
            "--everything is of one model on the main branch. Remove --weights all, --revision, --create_pr."
        )
    if collection is not None:
        if not everything:
            raise InputError("--collection needs --everything. Add it, or remove --collection.")
        collection = require_title(collection)

    from hf_breakhis.hub.privacy import RENAMED, are_names_public
    from hf_breakhis.hub.publish import branch_of, choose_weights, claim_model, propose, publications, push
    from hf_breakhis.run import Run

    context.with_resource(using_token(token))
    chosen = choose_weights(run, weights, members)
    if not dry_run:
        require_login()
    if everything:
        from hf_breakhis.hub.everything import FOLDER, Target, publish_everything

        target = Target(repo_id, private, collection, commit_message)
        place = output_dir or run / FOLDER
        for line in publish_everything(run, weights, target, place, members, evaluated or (), dry_run):
            typer.echo(line)
        if not are_names_public(Run(run)):
            typer.echo(RENAMED)
        return
    if not dry_run:
        branches = [branch_of(one) for one in chosen] if weights == "all" else [revision or ""]
        claim_model(repo_id, private or None, branches)
    place = output_dir or run / "publish"
    for publication in publications(run, repo_id, weights, place, revision, evaluated or (), members=members):
        for name, size in publication.files:
            typer.echo(f"{size:>12,}  {name}")
        typer.echo(
            f"folder: {publication.folder}{f' (branch {publication.revision})' if publication.revision else ''}"
        )
        if create_pr and not dry_run:
            proposed = propose(publication, repo_id, commit_message)
            typer.echo(
                f"proposed: {proposed}"
                if proposed
                else f"No pull request was created: {repo_id} already has these files."
            )
        elif not dry_run:
            typer.echo(f"pushed: {push(publication, repo_id, commit_message)}")
    if not are_names_public(Run(run)):
        typer.echo(RENAMED)
