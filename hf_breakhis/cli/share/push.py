"""`--push_to_hub` of `train`: what would be refused is reported before training, and the run is published after it."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hf_breakhis.arguments import require

if TYPE_CHECKING:
    from hf_breakhis.recipe import Recipe

WEIGHTS = "fold:0"


def claim_before_training(recipe: "Recipe") -> None:
    """Check in every process what `publish` needs of a recipe, and in the first one that the Hub accepts the name.

    Raises:
        InputError: such a run cannot be published, there is no token, or the Hub refuses the repository.
    """
    from accelerate import PartialState

    from hf_breakhis.hub.publish import claim_model
    from hf_breakhis.hub.remote import require_login, require_repo_id, using_token

    data, training = recipe.data, recipe.training
    repo_id = require_repo_id(str(training.hub_model_id))
    run = training.output_dir
    later = f"Leave it out, and publish afterwards with `hf-breakhis publish {run}"
    require(not data.features, "`push_to_hub` needs a network, but `features` trains on vectors. Leave it out.")
    require(
        data.repeats == 1,
        f"`push_to_hub` publishes one run, but `repeats` is {data.repeats}. {later}/repeat-0 --repo_id {repo_id}`.",
    )
    require(
        data.fold == "all",
        f"`push_to_hub` publishes a finished run, but `fold` is {data.fold}. {later} --repo_id {repo_id}`.",
    )
    require(
        data.stain_normalization == "none",
        "`push_to_hub` needs `stain_normalization` none, since no processor on the Hub normalises stains. "
        "Change one of them.",
    )
    if PartialState().is_main_process:
        with using_token(training.hub_token):
            require_login()
            claim_model(repo_id, training.hub_private_repo, [training.hub_revision or ""])


def publish_trained(recipe: "Recipe") -> None:
    """Publish the run of a recipe, and print its address.

    Raises:
        InputError: the Hub refuses, or the connection breaks. The run is finished then; the same command uploads it.
    """
    from hf_breakhis.hub.privacy import RENAMED, are_names_public
    from hf_breakhis.hub.publish import publications, push
    from hf_breakhis.hub.remote import using_token
    from hf_breakhis.run import Run

    training = recipe.training
    run, repo_id = Path(training.output_dir), str(training.hub_model_id)
    with using_token(training.hub_token):
        for publication in publications(run, repo_id, WEIGHTS, run / "publish", revision=training.hub_revision):
            typer.echo(f"pushed: {push(publication, repo_id)}")
    if not are_names_public(Run(run)):
        typer.echo(RENAMED)
