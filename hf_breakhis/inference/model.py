"""Which weights a user means by MODEL: a run, a fold, a model folder or a Hub id; and what is known about them."""

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_breakhis.files import InputError, checksum, expand_home, nearest, read_json, reason_of
from hf_breakhis.inference.hub_model import KINDS, MEMBERS, RECORDS, fetch_model, require_classifier
from hf_breakhis.inference.seen import Seen, read_seen
from hf_breakhis.run import DECISION, MODEL, REFIT, WEIGHTS, FoldFolder, Run
from hf_breakhis.tables import read_mapping

if TYPE_CHECKING:  # to name the weights takes no torch
    from transformers import PreTrainedModel

    from hf_breakhis.data.pixels.preprocessing import Preprocessing

CONFIG = "config.json"
ALL = "all"  # members of an ensemble
NEVER_AVERAGED = (
    "Networks of different folds are never averaged: each test image was in the training set of the other folds."
)


@dataclass(frozen=True)
class Decision:
    """What decision.json of a run says.

    Attributes:
        temperature: logits are divided by it.
        threshold: at or above it the calibrated probability of class 1 decides for class 1; None for more classes.
        rule: by which the threshold was chosen, as text.
    """

    temperature: float
    threshold: float | None
    rule: str | None = None


@dataclass(frozen=True)
class Weights:
    """Trained weights and where they came from.

    Attributes:
        folder: holds config.json, model.safetensors and preprocessor_config.json; of an ensemble the first network.
        run: the run they are of; None for a model folder without one.
        fold: "0", "1", ... or "refit"; empty for a model folder without a run.
        members: such folders of all networks of an ensemble, whose probabilities are averaged; empty for one network.
        tta: test-time augmentation, a key of `averaging.TTA`.
        revision: the commit of a model on the Hub; None for a folder on this machine.
    """

    folder: Path
    run: Run | None = None
    fold: str = ""
    revision: str | None = None
    members: tuple[Path, ...] = ()
    tta: str = "none"

    @property
    def networks(self) -> tuple[Path, ...]:
        """The folders of all networks whose probabilities are averaged."""
        return self.members or (self.folder,)

    @property
    def one_network(self) -> "Weights":
        """The first network alone, without test-time augmentation."""
        return replace(self, members=(), tta="none")

    @property
    def is_scored(self) -> bool:
        """Whether the scores of the run, and so its threshold, are those of these networks with this augmentation."""
        recipe = _recipe_of(self.folder) if self.run is None else self.run.recipe
        several = _number_of_members(self.folder, recipe) > 1
        return bool(self.members) == several and self.tta == str(recipe.get("tta", "none"))

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes in the order of their numbers, from config.json; a backbone of timm has a list."""
        config = read_json(self.folder / CONFIG)
        named = config.get("id2label", {})
        return config["label_names"] if "label_names" in config else [named[str(i)] for i in range(len(named))]

    @property
    def output(self) -> Path:
        """The folder for what is made of these weights: `fold-i/`, `refit/`, `member-j/`, or the model's own."""
        if self.run is None:
            return self.folder
        return self.run.fold(self.fold).folder if self.members else self.folder.parent

    @cached_property
    def sha256(self) -> str:
        """The checksum of the weights, by which what was made of them is recognised."""
        sums = [checksum(folder / WEIGHTS) for folder in self.networks]
        return sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()

    @property
    def decision(self) -> Decision | None:
        """Temperature and threshold; None where none was fitted."""
        return self._decision[0]

    @property
    def reason(self) -> str | None:
        """Why there is no decision."""
        return self._decision[1]

    @cached_property
    def _decision(self) -> tuple[Decision | None, str | None]:
        if not self.is_scored:
            how = "the threshold was fitted on the scores of the run, which has other members or another `tta`"
            return None, how
        if self.run is None:
            return _read_decision(self.folder / DECISION, f"the model comes without {DECISION}")
        lacks = f"the run has no {DECISION} yet (`hf-breakhis report {self.run.folder}` writes it)"
        return _read_decision(self.run.folder / DECISION, lacks)

    @cached_property
    def seen(self) -> Seen | None:
        """Names of the images that the model was trained on; None where nobody knows."""
        return None if self.records is None else read_seen(*self.records)

    @cached_property
    def records(self) -> tuple[Run, str] | None:
        """The run that says what the model was trained on, and the fold of the model in it; None if there is none."""
        if self.run is not None:
            return self.run, self.fold
        folder = _publication_of(self.folder)
        if folder is None:
            return None
        published = Run(folder)
        fold = published.summary.get("published_fold")
        return (published, fold) if isinstance(fold, str) else None

    def require_run(self) -> Run:
        """Return the run, or raise InputError for a model folder without one."""
        if self.run is None:
            raise InputError(f"{self.folder} is a model without its run; give the folder of the run.")
        return self.run


def find_model(
    model: str | Path,
    fold: str | None = None,
    revision: str | None = None,
    local: bool = False,
    members: str | None = None,
    tta: str | None = None,
) -> Weights:
    """Find the weights that `model` names; only a name that is no path here is looked up on the Hub.

    Args:
        model: a run, a folder of a fold or of a member, a model folder, or OWNER/NAME on the Hub.
        fold: of a run: a number from 0, or "refit"; by default fold 0 of a finished run.
        revision: of a Hub id: commit, branch or tag.
        local: never look on the Hub.
        members: of an ensemble: "all", as by default, or the number of one from 0.
        tta: a key of `averaging.TTA`; by default that of the run.

    Raises:
        InputError: there is no such model, it is not finished or was changed, or the Hub refuses.
    """
    weights = _find_one(model, fold, revision, local)
    if members is not None:
        weights = _choose_members(weights, members)
    if tta is None:
        return weights
    from hf_breakhis.averaging import transforms_of

    transforms_of(tta)
    return replace(weights, tta=tta)


def _find_one(model: str | Path, fold: str | None, revision: str | None, local: bool) -> Weights:
    """Return weights with all members and the test-time augmentation of their run."""
    place = Path(expand_home(str(model)))
    # a publication is a model folder that has the recipe next to it
    is_run = Run(place).exists and not (place / CONFIG).is_file()
    if fold is not None and not is_run and (place.exists() or not local):
        raise InputError(f"`fold` is {fold}, but {model} is no run; leave --fold out, or give the folder of a run.")
    if revision is not None and place.exists():
        raise InputError(f"`revision` is {revision}, but {model} is on this machine; --revision is for a Hub id.")
    if not place.exists():
        if local:
            raise InputError(f"There is no {model}; give a run (outputs/c3) or a model folder.")
        fetched = fetch_model(str(model), revision)
        return replace(
            _without_run(fetched), revision=fetched.name
        )  # a snapshot in the cache is named after its commit
    if is_run:
        return _of_run(Run(place), fold)
    if place.is_file() and place.suffix == ".onnx":
        raise InputError(
            f"{model} is an ONNX file. Give the run or the model folder that it was exported from, "
            "and --backend onnx to predict with the export."
        )
    if FoldFolder(place).members() and Run(FoldFolder(place.resolve()).run).exists:
        return _of_run(Run(FoldFolder(place.resolve()).run), FoldFolder(place.resolve()).name)
    if (place / MODEL / CONFIG).is_file():
        place = place / MODEL
    if not (place / CONFIG).is_file():
        raise InputError(f"{model} holds no model: no recipe.yaml and no {CONFIG}; give {KINDS}.")
    owner = FoldFolder(place.resolve().parent)
    is_of_fold = owner.name.isdigit() or owner.name == REFIT  # else, for example, RUN/publish-everything/model
    if place.resolve().name == MODEL and Run(owner.run).exists and is_of_fold:
        weights = _of_run(Run(owner.run), owner.name)
        return replace(weights, folder=owner.folder / MODEL, members=()) if owner.is_member else weights
    return _without_run(place)


def _without_run(folder: Path) -> Weights:
    """Return the weights of a model folder; a publication has the recipe of its run, and maybe all its members."""
    recipe = _recipe_of(folder)
    count = _number_of_members(folder, recipe)
    further = tuple(sorted((folder / MEMBERS).glob("[0-9][0-9][0-9]"))) if count > 1 else ()
    for member in further:
        require_classifier(member, str(member))
    if further and len(further) + 1 != count:
        has = f"{folder} has {len(further) + 1} networks, but its recipe has `members: {count}`"
        raise InputError(f"{has}. Fetch or publish the model again.")
    return Weights(folder, members=(folder, *further) if further else (), tta=str(recipe.get("tta", "none")))


def _number_of_members(folder: Path, recipe: dict[str, Any]) -> int:
    count = recipe.get("members", 1)
    if type(count) is not int or count < 1:
        wrong = f"The recipe of {folder} has `members: {count!r}`, but it has to be a whole number of at least 1"
        raise InputError(f"{wrong}. Fetch or publish the model again.")
    return count


def _publication_of(folder: Path) -> Path | None:
    """Return the publication that a model folder belongs to: itself, or that of a further network; None without one.

    It has the files of its run next to the weights of its first network.
    """
    place = folder.parent.parent if folder.parent.name == MEMBERS else folder
    return place if all((place / name).is_file() for name in RECORDS) else None


def _recipe_of(folder: Path) -> dict[str, Any]:
    """Return the fields of the recipe of a publication; empty for other model folders."""
    place = _publication_of(folder)
    return {} if place is None else Run(place).recipe


def _choose_members(weights: Weights, members: str) -> Weights:
    """Return the weights of all members, or of one."""
    count, given = len(weights.members), f"--members is {members}"
    if count == 0 and (weights.run is None or FoldFolder(weights.folder.parent).is_member):
        raise InputError(f"{given}, but {weights.folder} is one network. Leave --members out.")
    if count == 0 and weights.run is not None:
        why = f" {NEVER_AVERAGED}" if len(weights.run.folds()) > 1 else ""
        which = "the refit" if weights.fold == REFIT else f"fold {weights.fold}"
        remedy = "Train with `members: 5`, or leave --members out."
        raise InputError(f"{given}, but {which} of {weights.run.folder} has one network.{why} {remedy}")
    if members == ALL:
        return weights
    if not (members.isascii() and members.isdigit() and int(members) < count):
        allowed = f"has to be all or a number from 0 to {count - 1}"
        raise InputError(f"{given}, but {allowed}.{nearest(members, [ALL])}")
    return replace(weights, folder=weights.members[int(members)], members=())


def _of_run(run: Run, fold: str | None) -> Weights:
    """Return the weights of one finished fold, or of the finished refit."""
    if repeats := run.repeats():
        example = next(iter(repeats.values())).folder
        raise InputError(f"{run.folder} holds repeats, each a run; give one of them, such as {example}.")
    if run.is_evaluated:
        own = run.evaluation["model"]["name"]
        raise InputError(f"{run.folder} is an evaluation of {own} and has no model of its own. Give {own}.")
    if run.is_imported:
        raise InputError(f"{run.folder} holds predictions of another program and no model; give {KINDS}.")
    if fold not in (None, REFIT) and not (fold.isascii() and fold.isdigit()):
        why = f" {NEVER_AVERAGED}" if fold == "all" else ""
        raise InputError(f"--fold is {fold!r}, but has to be the number of a fold, or refit.{why}")
    finished = [one.name for one in run.models()]
    if not finished or (fold is None and not run.is_finished):
        there = f"give --fold with one that has finished ({', '.join(finished)})" if finished else "no fold of it has"
        raise InputError(
            f"The run {run.folder} is not finished: {there}. `hf-breakhis train` with its recipe continues it."
        )
    name = REFIT if fold == REFIT else str(int(fold or 0))
    if name not in finished:
        hint = "; `train --fold refit` trains one" if name == REFIT else ""
        raise InputError(
            f"`fold` is {name}, but {run.folder} has weights of {', '.join(finished)} only; give one of them{hint}."
        )
    run.require_unchanged(folds=[name])
    members = tuple(member.model for member in run.fold(name).members())
    for member in members[1:]:
        if Weights(member).classes != Weights(members[0]).classes:
            raise InputError(f"{member} has other classes than {members[0]}; train the fold again with --restart.")
    return Weights(run.fold(name).model, run, name, members=members, tta=str(run.recipe.get("tta", "none")))


def _read_decision(path: Path, lacks: str) -> tuple[Decision | None, str | None]:
    """Return the decision, or None and why there is none."""
    if not path.exists():
        return None, lacks
    fields = read_mapping(path, {}, "write it again, or delete it")
    temperature, threshold = fields.get("temperature"), fields.get("threshold")
    if temperature is None:
        return None, str(fields.get("reason") or f"{path} has none")
    possible = _is_number(temperature) and temperature > 0
    if not possible or not (threshold is None or (_is_number(threshold) and 0 <= threshold <= 1)):
        raise InputError(f"{path} holds no possible temperature and threshold; write it again, or delete it.")
    rule = fields.get("rule")
    decision = Decision(
        float(temperature), None if threshold is None else float(threshold), rule if isinstance(rule, str) else None
    )
    return decision, fields.get("reason")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def load_classifier(weights: Weights) -> "PreTrainedModel":
    """Return the classifier in evaluation mode; only safetensors is read, and no code of the folder is run.

    Raises:
        InputError: the folder holds no image classifier, or its files are damaged.
    """
    import torch
    from transformers import AutoModelForImageClassification
    from transformers.utils import logging

    require_classifier(weights.folder, str(weights.folder))
    logging.disable_progress_bar()  # a file is read in no time
    try:
        model = AutoModelForImageClassification.from_pretrained(
            weights.folder, use_safetensors=True, trust_remote_code=False, local_files_only=True, dtype=torch.float32
        )
    except Exception as error:  # a config.json that fits nothing makes transformers raise anything
        raise InputError(f"{weights.folder} cannot be loaded ({reason_of(error)}).") from error
    result: PreTrainedModel = model.eval()
    return result


def load_networks(weights: Weights) -> "list[PreTrainedModel]":
    """Return the classifiers of all members, or the only one; see `load_classifier`."""
    return [load_classifier(replace(weights.one_network, folder=folder)) for folder in weights.networks]


def saved_preprocessing(weights: Weights) -> "Preprocessing":
    """Return what the processor of this model does to an image.

    Raises:
        InputError: it does something else than this package's own resize, crop and normalisation.
    """
    from hf_breakhis.data.pixels.preprocessing import read_processor

    found = read_processor(read_json(weights.folder / "preprocessor_config.json"))
    if found is None:
        raise InputError(
            f"The processor of {weights.folder} is not that of a run: only a bilinear or bicubic resize to a square, "
            "with or without a center crop, and one mean and standard deviation are supported. Give the folder of a "
            "run."
        )
    return found


def square_size(weights: Weights) -> int:
    """Return the side in pixels of the square that this model sees.

    Raises:
        InputError: as `saved_preprocessing`.
    """
    return saved_preprocessing(weights).image_size
