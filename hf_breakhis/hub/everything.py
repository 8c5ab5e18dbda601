"""Everything of a run in one step: model with ONNX file, app, page, and the images that this package generates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.hub.collection import MAX_TITLE, add_to_collection, open_collection
from hf_breakhis.hub.dataset_export import claim_dataset, export_images, push_export
from hf_breakhis.hub.page import claim_page, push_page, write_page
from hf_breakhis.hub.publish import choose_weights, claim_model, publications, push
from hf_breakhis.hub.remote import address, require_repo_id
from hf_breakhis.hub.space import claim_space, push_space, write_space
from hf_breakhis.inference.fold_images import images_of_recipe
from hf_breakhis.inference.onnx_graph import require_exporter
from hf_breakhis.run import Run

FOLDER = "publish-everything"
MODEL, APP, PAGE, IMAGES = "model", "app", "page", "images"
ABOUT = {
    MODEL: "weights, `onnx/model.onnx`, results, and how the model was evaluated",
    APP: "probability, threshold and heat map of an image; the image is uploaded to the app",
    PAGE: "the model runs in the browser; no image is uploaded",
    IMAGES: "the generated images that the model was trained and tested on",
}


@dataclass(frozen=True)
class Target:
    """Where everything of a run goes up.

    Attributes:
        repo_id: user/name of the model; the app has the same name.
        private: of new repositories and of a new collection.
        collection: title of the collection; None for the name of the model.
        message: of the commit of the model; None names the fold.
    """

    repo_id: str
    private: bool = False
    collection: str | None = None
    message: str | None = None

    @property
    def title(self) -> str:
        """Title of the collection."""
        return self.collection or self.repo_id.split("/")[1][:MAX_TITLE]

    def repos(self, run: Run) -> dict[str, tuple[str, str]]:
        """Return type and user/name of each part.

        The images are a part only if this package generates them and exports such images. Images of others are
        theirs to publish.
        """
        source = source_of(run.data)
        repos = {MODEL: ("model", self.repo_id), APP: ("space", self.repo_id), PAGE: ("space", f"{self.repo_id}-page")}
        if source.is_generated and source.has_breakhis_names and run.recipe.get("target") == "malignancy":
            repos[IMAGES] = ("dataset", f"{self.repo_id}-images")
        for _, name in repos.values():
            require_repo_id(name)
        return repos


def links(repos: dict[str, tuple[str, str]], own: str, collection: str | None) -> str:
    """Return a section in Markdown that names and links all parts but `own`, and the collection."""
    lines = [
        f"* [{name.capitalize()}]({address(repo_id, kind)}): {ABOUT[name]}"
        for name, (kind, repo_id) in repos.items()
        if name != own
    ]
    lines += [f"* [Collection]({collection}): all parts together"] if collection else []
    return "\n".join(["## Parts", "", *lines])


def publish_everything(
    run: Path,
    which: str,
    target: Target,
    folder: Path,
    members: str | None = None,
    evaluated: Sequence[Path] = (),
    dry_run: bool = False,
) -> Iterator[str]:
    """Write all parts, upload them, and put them into a collection; yield one line for each step.

    All names are claimed before any work, and all parts are written before any is uploaded. The same call again
    uploads what is missing.

    Args:
        run: a finished and scored run.
        which: `fold:0` (a number) or `refit`.
        target: where it goes up.
        folder: will hold `model/`, `app/`, `page/` and, of generated images, `images/`.
        members: of an ensemble: "all", or the number of one from 0; None for the first.
        evaluated: evaluated runs of these weights, which the model card cites.
        dry_run: write the folders only.

    Raises:
        InputError: the run cannot be published, or the Hub refuses.
    """
    require_exporter()
    (weights,) = choose_weights(run, which, members)
    repos = target.repos(weights.require_run())
    collection = None
    if not dry_run:
        claim_model(target.repo_id, target.private or None, [])
        claim_space(repos[APP][1], target.private)
        claim_page(repos[PAGE][1], target.private)
        if IMAGES in repos:
            claim_dataset(repos[IMAGES][1], target.private)
        collection = open_collection(target.title, target.repo_id.split("/")[0], target.private)
    where = None if collection is None else collection.url
    text = {name: links(repos, name, where) for name in repos}
    (publication,) = publications(
        run,
        target.repo_id,
        which,
        folder / MODEL,
        members=members,
        evaluated=evaluated,
        parts=text[MODEL],
        with_onnx=True,
        images=repos[IMAGES][1] if IMAGES in repos else None,
    )
    yield f"model: {publication.folder}"
    app = write_space(weights, folder / APP, parts=text[APP])
    yield f"app: {app}"
    page = write_page(weights, folder / PAGE, parts=text[PAGE]).parent
    yield f"page: {page}"
    export = None
    if IMAGES in repos:
        images = images_of_recipe(weights.require_run().recipe)
        export = export_images(images, folder / IMAGES, repos[IMAGES][1])
        yield f"images: {folder / IMAGES}"
    if collection is None:
        return
    if export is not None:
        yield f"pushed: {push_export(export, repos[IMAGES][1])}"
    yield f"pushed: {push_space(app, repos[APP][1])}"
    yield f"pushed: {push_page(page, repos[PAGE][1])}"
    yield f"pushed: {push(publication, target.repo_id, target.message)}"  # last, since its card links the others
    add_to_collection(collection, repos.values())
    yield f"collection: {collection.url}"
