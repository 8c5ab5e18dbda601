"""Publish a run: its model, card, figures and records as a folder, then to the Hub in one commit."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi
from transformers import AutoImageProcessor, pipeline

from hf_breakhis.data.open_image import PILLOW_ERRORS, open_image
from hf_breakhis.data.pixels.preprocessing import require_portable
from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import InputError, write_json, write_text
from hf_breakhis.folders import FolderKind, replace_folder, require_place
from hf_breakhis.hub.card import Example, Place, model_card
from hf_breakhis.hub.evaluations import evaluations_of
from hf_breakhis.hub.facts import decision_of, public_name
from hf_breakhis.hub.privacy import publishable, require_impersonal
from hf_breakhis.hub.remote import claim_repo, hub_errors_in_one_line, propose_folder, push_folder
from hf_breakhis.inference.export import export_model
from hf_breakhis.inference.hub_model import MEMBERS, MODEL_FILES, ONNX, ONNX_FILES, copy_network
from hf_breakhis.inference.model import ALL, Weights, find_model, load_classifier, saved_preprocessing
from hf_breakhis.results.figures.plots import draw_figure
from hf_breakhis.results.figures.style import figure_bytes
from hf_breakhis.run import DECISION, EXAMPLES, EXPLAINED, FOLD_PREFIX, FOLDS, INDEX, RECIPE, REFIT, SUMMARY, Run
from hf_breakhis.run import FIGURES as FIGURES_FOLDER

RECORDS = (SUMMARY, DECISION, FOLDS)
FIGURES = ("confusion_mean", "roc_mean", "learning_curves", "reliability", "magnifications", "patients", "tumor_types")
FOLDERS = tuple(f"{name}/" for name in (FIGURES_FOLDER, EXAMPLES, EXPLAINED, ONNX, MEMBERS))
STALE = [f"{folder}*" for folder in FOLDERS]
FILES = {".gitattributes", "README.md", RECIPE, *MODEL_FILES, *RECORDS}
_NAMES = (
    *sorted(FILES),
    *(f"{folder}/*.png" for folder in (FIGURES_FOLDER, EXAMPLES, EXPLAINED)),
    *(f"{ONNX}/{name}" for name in ONNX_FILES),
    *(f"{MEMBERS}/[0-9]*/{name}" for name in MODEL_FILES),
)
# `--weights all` writes a folder for each branch
PUBLICATION = FolderKind(
    "publication",
    tuple(f"{place}{name}" for place in ("", "main/", f"{FOLD_PREFIX}[0-9]*/") for name in _NAMES),
    SUMMARY,
)
# Fields of a recipe that tell of a machine or its user and not of the run.
PRIVATE = (
    *("output_dir", "data_dir", "logging_dir", "run_name", "cache"),
    *("push_to_hub", "hub_model_id", "hub_private_repo", "hub_revision", "hub_strategy", "hub_token"),
)


@dataclass(frozen=True)
class Publication:
    """A folder that is ready to go up.

    Attributes:
        folder: what goes up, as it goes up.
        revision: branch of the repository; None for the main one.
        weights: the weights in it.
    """

    folder: Path
    revision: str | None
    weights: Weights

    @property
    def files(self) -> list[tuple[str, int]]:
        """Name and bytes of each file."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [(path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in paths]


def choose_weights(run: Path, which: str, members: str | None = None) -> list[Weights]:
    """Return the weights that `--weights` names: `fold:0`, `refit`, or `all`, named before any score is seen.

    Args:
        run: a finished run.
        which: `fold:0` (a number), `refit`, or `all`.
        members: of an ensemble: "all", or the number of one from 0; None for the first.

    Raises:
        InputError: it names none, the run is not finished, or this is only a part of a run.
    """
    if not Run(run).exists:
        found = find_model(run, local=True)
        whole, name = found.require_run().folder, REFIT if found.fold == REFIT else f"fold:{found.fold}"
        raise InputError(f"{run} is a part of the run {whole}; give that run, with --weights {name}.")
    if which == "all":
        find_model(run, local=True)  # says what is wrong with the run
        return [_of_run(run, fold.name, members) for fold in Run(run).folds()]
    if which != REFIT and not which.startswith("fold:"):
        raise InputError(f"--weights is {which!r}, but has to be fold:0 (a number), refit or all.")
    return [_of_run(run, which.removeprefix("fold:"), members)]


def _of_run(run: Path, fold: str, members: str | None) -> Weights:
    weights = find_model(run, fold, local=True, members=members)
    weights = weights if members == ALL else weights.one_network
    if not weights.require_run().is_finished:  # refitted weights may be there before the folds are
        raise InputError(f"The run {run} is not finished; `hf-breakhis train {run / RECIPE}` continues it.")
    require_portable(saved_preprocessing(weights))
    return weights


def write_publication(
    weights: Weights,
    place: Place,
    folder: Path,
    evaluations: Sequence[dict[str, Any]] = (),
    with_onnx: bool = False,
) -> Publication:
    """Write the folder that goes up: weights, processor, card, figures, examples and the records of the run.

    Args:
        weights: of a finished run.
        place: where it is to go up.
        folder: a new or empty folder, or that of an earlier publication.
        evaluations: on other images, of `evaluations_of`; the card shows those of these weights.
        with_onnx: write `onnx/model.onnx` too.

    Raises:
        InputError: the run was not scored, the weights cannot be loaded, or a file tells of this machine or its user.
    """
    run = weights.require_run().folder
    load_classifier(weights)  # refused here and not on the Hub
    for name in RECORDS:
        if not (run / name).is_file():
            raise InputError(f"{run} has no {name}; `hf-breakhis report {run}` writes it.")
    require_place(folder, PUBLICATION)
    own = [row for row in evaluations if row["weights_sha256"] == weights.sha256]

    def fill(beside: Path) -> None:
        with publishable(weights) as public:
            _fill(public, place, beside, own)
        if with_onnx:
            # `predict` reads test-time augmentation from the recipe in the same repository
            augmented = replace(weights, tta=str(weights.require_run().recipe.get("tta", "none")))
            export_model(augmented, beside / ONNX, score=False)
        require_impersonal(beside, weights.require_run())

    replace_folder(folder, fill, PUBLICATION)
    return Publication(folder, place.revision, weights)


def _fill(weights: Weights, place: Place, folder: Path, evaluations: list[dict[str, Any]]) -> None:
    run = weights.require_run()
    for number, network in enumerate(weights.networks):
        copy_network(network, folder / MEMBERS / f"{number:03d}" if number else folder)
    for name in RECORDS:
        shutil.copyfile(run.folder / name, folder / name)
    if not weights.is_scored:
        write_json(folder / DECISION, decision_of(weights))
    about = {"made_by": PUBLICATION.made_by, "name": place.repo_id.split("/")[-1], "published_fold": weights.fold}
    write_json(folder / SUMMARY, run.summary | about)
    write_text(folder / RECIPE, public_recipe(run))
    (folder / FIGURES_FOLDER).mkdir()
    for name in FIGURES:  # drawn, since the files of the run may have been changed
        figure = draw_figure(name, run)
        if figure is not None:
            (folder / FIGURES_FOLDER / f"{name}.png").write_bytes(figure_bytes(figure, "png"))
    examples = copy_examples(weights, folder)
    card = model_card(weights, place, examples, copy_maps(weights, folder), evaluations)
    write_text(folder / "README.md", str(card))


def public_recipe(run: Run) -> str:
    """Return the fields of a run's recipe.yaml without those that tell of a machine or its user."""
    kept = {name: value for name, value in run.recipe.items() if name not in PRIVATE}
    kept["model_name_or_path"] = public_name(str(kept["model_name_or_path"]))
    # such as a file of settings for deepspeed
    kept |= {name: Path(text).name for name, text in kept.items() if isinstance(text, str) and text[:1] in ("/", "~")}
    own = ("command", "platform")
    kept["environment"] = {name: value for name, value in run.environment.items() if name not in own}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=1000)


def copy_examples(weights: Weights, folder: Path) -> list[Example]:
    """Copy the fold's example pictures, and ask the model what it says of each as it stands there."""
    fold = weights.require_run().fold(weights.fold)
    rows = fold.read_examples() if _may_be_shown(weights) else []
    if not rows:  # a refit has no test set
        return []
    (folder / EXAMPLES).mkdir()
    # `pipeline` as a visitor calls it, on the files as a visitor finds them
    classify = pipeline(
        "image-classification",
        model=load_classifier(weights),
        image_processor=AutoImageProcessor.from_pretrained(weights.folder, local_files_only=True),
        top_k=None,
    )
    labels = dict(zip(map(str, range(len(weights.classes))), weights.classes, strict=True))
    examples = []
    for entry in rows:
        if entry["file_name"] != Path(entry["file_name"]).name:
            raise InputError(
                f"{fold.folder / EXAMPLES / INDEX} names {entry['file_name']!r}, which is no picture there; "
                "train the fold again."
            )
        target = folder / EXAMPLES / entry["file_name"]
        shutil.copyfile(fold.folder / EXAMPLES / entry["file_name"], target)
        with open_image(target) as picture:
            answer = classify(picture.convert("RGB"))
        examples.append(
            Example(
                file_name=entry["file_name"],
                label=labels[str(entry["label"])],
                predicted=labels[str(entry["predicted"])],
                kind=entry["kind"],
                answer=[{"label": one["label"], "score": round(float(one["score"]), 4)} for one in answer],
            )
        )
    return examples


def _may_be_shown(weights: Weights) -> bool:
    """Say whether the licence of the run's images is known: others, maybe a patient's, never go up by themselves."""
    return source_of(weights.require_run().data).pictures_are_public


def copy_maps(weights: Weights, folder: Path) -> dict[str, Any] | None:
    """Copy the heat maps that `explain` left of these very weights; return their index, None where there are none."""
    fold = weights.require_run().fold(weights.fold)
    index = fold.read_explained() if _may_be_shown(weights) else None
    if index is None:
        return None
    (folder / EXPLAINED).mkdir()
    for name in [name for row in index["images"] for name in row["pictures"].values()]:
        picture = fold.folder / EXPLAINED / Path(name).name
        shutil.copyfile(picture, folder / EXPLAINED / picture.name)
        try:
            with open_image(folder / EXPLAINED / picture.name) as opened:
                opened.load()
        except PILLOW_ERRORS as error:
            raise InputError(f"{picture} is damaged. `hf-breakhis explain` writes it again.") from error
    return index


def claim_model(repo_id: str, private: bool | None, revisions: list[str]) -> None:
    """Create the repository and its branches, or check that existing ones may be written to; see `claim_repo`."""
    claim_repo(repo_id, "model", private, lambda name: name in FILES or name.startswith(FOLDERS), "the model of a run")
    with hub_errors_in_one_line(repo_id):
        for revision in filter(None, revisions):
            HfApi().create_branch(repo_id, branch=revision, exist_ok=True)


def push(publication: Publication, repo_id: str, message: str | None = None) -> str:
    """Upload a publication and return its address; what is up already is not sent again.

    Args:
        publication: what goes up.
        repo_id: an existing repository.
        message: of the commit; None names the fold.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    return push_folder(
        publication.folder, repo_id, "model", STALE, message or _message(publication), publication.revision
    )


def propose(publication: Publication, repo_id: str, message: str | None = None) -> str | None:
    """Propose a publication as a pull request and return its address, None where the main branch holds it already.

    The arguments are those of `push`.

    Raises:
        InputError: the Hub refuses, or the connection breaks.
    """
    return propose_folder(publication.folder, repo_id, "model", STALE, message or _message(publication))


def _message(publication: Publication) -> str:
    fold = publication.weights.fold
    return f"Upload {'the refitted model' if fold == REFIT else f'fold {fold}'}"


def branch_of(weights: Weights) -> str:
    """Return the branch of the repository that holds the model of a fold."""
    return f"{FOLD_PREFIX}{weights.fold}"


def publications(
    run: Path,
    repo_id: str,
    which: str,
    folder: Path,
    revision: str | None = None,
    evaluated: Sequence[Path] = (),
    parts: str = "",
    with_onnx: bool = False,
    members: str | None = None,
    images: str | None = None,
) -> Iterator[Publication]:
    """Write and yield what `--weights` names, one after the other.

    With `all` these are fold 0 on the main branch, so that the repository's plain name works, then a branch `fold-i`
    for each fold. `members` is of `choose_weights`. `evaluated` are evaluated runs of these weights, which their cards
    cite. The others are of `write_publication` and `Place`.
    """
    chosen = choose_weights(run, which, members)
    evaluations = evaluations_of(evaluated, chosen)
    if which != "all":
        place = Place(repo_id, revision, parts=parts, images=images)
        yield write_publication(chosen[0], place, folder, evaluations, with_onnx)
        return
    branches = tuple(branch_of(weights) for weights in chosen)
    yield write_publication(chosen[0], Place(repo_id, None, branches), folder / "main", evaluations)
    for weights, branch in zip(chosen, branches, strict=True):
        yield write_publication(weights, Place(repo_id, branch, branches), folder / branch, evaluations)
