"""Which weights a user means by MODEL: a run, a model folder or a Hub id; and what is known about them."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from hf_breakhis.files import InputError, read_json
from hf_breakhis.inference.hub_noise import quiet_hub

RECORDS = ["folds.csv", "recipe.yaml", "summary.json"]  # of a published run: what its model was trained on
DESCRIPTION = ["config.json", "preprocessor_config.json", "processor_config.json", "decision.json"]
MAX_CLASSES = 100_000  # ImageNet-22k has 21,841; transformers writes a name for each
_KERNELS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")
_KINDS = "a run (outputs/c3), a model folder (outputs/c3/fold-0/model) or a Hub id (OWNER/NAME)"


@dataclass(frozen=True)
class Decision:
    """What decision.json of a run says.

    Attributes:
        temperature: logits are divided by it.
        threshold: at or above it the calibrated probability of class 1 decides for class 1; None for more classes.
    """

    temperature: float
    threshold: float | None


@dataclass(frozen=True)
class Seen:
    """Names of what a model was trained on.

    Attributes:
        images: as in folds.csv.
        specimens: of these images, where they are known.
    """

    images: frozenset[str]
    specimens: frozenset[str]


@dataclass(frozen=True)
class Origin:
    """A model folder and what the run or repository around it tells.

    Attributes:
        folder: holds config.json, the weights and the processor.
        decision: None where none was fitted.
        seen: None where nobody knows.
        reason: why there is no decision.
    """

    folder: Path
    decision: Decision | None = None
    seen: Seen | None = None
    reason: str | None = None


def find_origin(model: str, fold: str | None = None, revision: str | None = None) -> Origin:
    """Find the weights that `model` names; only a name that is no path here is looked up on the Hub.

    Args:
        model: a run, a fold's folder, a model folder, or OWNER/NAME on the Hub.
        fold: of a run: a number from 0, or "refit"; fold 0 by default.
        revision: of a Hub id: commit, branch or tag.

    Raises:
        InputError: there is no such model, the run is not finished, or the Hub refuses.
    """
    place = Path(model).expanduser()
    # a publication is a model folder that has the recipe beside it
    is_run = (place / "recipe.yaml").is_file() and not (place / "config.json").is_file()
    if fold is not None and not is_run:
        raise InputError(f"`fold` is {fold}, but {model} is no run; leave --fold out, or give the folder of a run.")
    if revision is not None and place.exists():
        raise InputError(f"`revision` is {revision}, but {model} is on this machine; --revision is for a Hub id.")
    if not place.exists():
        return _of_folder(_fetch(model, revision))
    if is_run:
        return _of_run(place, fold)
    if (place / "model" / "config.json").is_file():
        place = place / "model"
    if not (place / "config.json").is_file():
        raise InputError(f"{model} holds no model: no recipe.yaml and no config.json; give {_KINDS}.")
    run = place.resolve().parent.parent
    if place.resolve().name == "model" and (run / "recipe.yaml").is_file():
        return _of_run(run, place.resolve().parent.name.removeprefix("fold-"))
    return _of_folder(place)


def _of_folder(folder: Path) -> Origin:
    decision, reason = _read_decision(folder / "decision.json", "the model comes without decision.json")
    told = read_json(folder / "summary.json") if all((folder / name).is_file() for name in RECORDS) else {}
    published = told.get("published_fold") if isinstance(told, dict) else None
    seen = _read_seen(folder, published) if isinstance(published, str) else None
    return Origin(folder, decision, seen, reason)


def _of_run(run: Path, fold: str | None) -> Origin:
    """Return the weights of one fold, or of the refit, that has ended."""
    if any(run.glob("repeat-*/recipe.yaml")):
        raise InputError(f"{run} holds repeats, each a run; give one of them, such as {run / 'repeat-0'}.")
    ended = sorted(path.parent.name.removeprefix("fold-") for path in run.glob("*/metrics.json"))
    ended = [name for name in ended if name.isdigit() or name == "refit"]
    if not ended or (fold is None and not (run / "finished.json").is_file()):
        there = f"give --fold with one that has ended ({', '.join(ended)})" if ended else "no fold of it has ended"
        raise InputError(f"The run {run} is not finished: {there}; `hf-breakhis train` with its recipe goes on.")
    fold = "0" if fold is None else fold
    if fold not in ended:
        raise InputError(f"`fold` is {fold}, but {run} has weights of {', '.join(ended)} only; give one of them.")
    folder = run / (fold if fold == "refit" else f"fold-{fold}") / "model"
    lacks = f"the run has no decision.json yet (`hf-breakhis report {run}` writes it)"
    decision, reason = _read_decision(run / "decision.json", lacks)
    return Origin(folder, decision, _read_seen(run, fold), reason)


def _read_decision(path: Path, lacks: str) -> tuple[Decision | None, str | None]:
    """Return the decision, or None and why there is none.

    Raises:
        InputError: the file holds numbers that cannot be.
    """
    if not path.is_file():
        return None, lacks
    said = read_json(path)
    said = said if isinstance(said, dict) else {}
    temperature, threshold = said.get("temperature"), said.get("threshold")
    if temperature is None:
        return None, str(said.get("reason") or f"{path} has none")
    possible = _is_number(temperature) and temperature > 0
    if not possible or not (threshold is None or (_is_number(threshold) and 0 <= threshold <= 1)):
        raise InputError(f"{path} holds no possible temperature and threshold; write it again, or delete it.")
    return Decision(float(temperature), None if threshold is None else float(threshold)), said.get("reason")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_seen(run: Path, fold: str) -> Seen | None:
    """Return what folds.csv says that the model of `fold` was trained on."""
    path = run / "folds.csv"
    if not path.is_file():
        return None
    try:
        recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
        carried = recipe.get("carry_over", "none") != "none"
        images, specimens = set(), set()
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if fold == "refit":  # trained on all but the reserve and a validation part of the first fold
                    used = row["fold"] == "0" and row["part"] in ("train", "test")
                else:
                    used = row["part"] == "train" and (
                        row["fold"] == fold or (carried and int(row["fold"]) < int(fold))
                    )
                if used:
                    images.add(row["file_name"])
                    specimens.add(row["specimen_id"])
    except (KeyError, ValueError, AttributeError, yaml.YAMLError, csv.Error) as error:
        raise InputError(f"{run} has a folds.csv or recipe.yaml that cannot be read ({error}).") from error
    return Seen(frozenset(images), frozenset(specimens - {""}))


def _fetch(model: str, revision: str | None) -> Path:
    """Fetch a model of the Hub into its cache: its description first, since that may be a reason to go no further.

    Raises:
        InputError: there is no such model or revision, it is refused, or the Hub cannot be reached.
    """
    try:
        validate_repo_id(model)
    except HFValidationError as error:
        raise InputError(f"There is no {model}, and it is no Hub id; give {_KINDS}.") from error
    at = f"{model} at revision {revision}" if revision else model
    quiet_hub()
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=DESCRIPTION))
        require_classifier(folder, at)
        # From the same commit, which is the folder's name, should the branch move in between.
        wanted = [*DESCRIPTION, *RECORDS, "*.safetensors", "model.safetensors.index.json"]
        return Path(snapshot_download(model, revision=folder.name, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except GatedRepoError as error:
        raise InputError(f"The model {at} asks for consent; give it on its page, then `hf auth login`.") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"There is no {model} here, nor a model of that name on the Hub that shows itself to you; give {_KINDS}, "
            "or log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"The model {model} has no revision {revision}; see its page for branches and tags."
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"There is no {model} here, and the Hub cannot be reached for it ({reason}); go online, or give a folder."
        ) from error


def require_classifier(folder: Path, called: str) -> None:
    """Refuse a model whose description asks for code of its own, or is of no image classifier.

    Raises:
        InputError: it does.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    if not (folder / "config.json").is_file():
        raise InputError(f"{called} has no config.json, so it is no model of transformers; give {_KINDS}.")
    for name in DESCRIPTION:
        said = read_json(folder / name) if (folder / name).is_file() else {}
        if not isinstance(said, dict):
            raise InputError(f"{called} has a {name} without fields; fetch or write the model again.")
        if asked := _asks_for_code(said):
            raise InputError(f"{called} wants to run code of its own ({asked} in {name}), which is never run.")
    if (folder / "adapter_config.json").exists():  # with peft it would name another model, to be fetched instead
        raise InputError(
            f"{called} is an adapter to another model (adapter_config.json); merge it, and save the whole."
        )
    config = read_json(folder / "config.json")
    number = config.get("num_labels", 0)
    if type(number) is not int or not 0 <= number <= MAX_CLASSES:
        raise InputError(f"{called} has a config.json with num_labels={number!r}; at most {MAX_CLASSES:,} are taken.")
    classes = {name for value in KNOWN.values() for name in ([value] if isinstance(value, str) else value)}
    built = config.get("architectures")
    built = [name for name in built if isinstance(name, str)] if isinstance(built, list) else []
    if not classes & set(built):
        raise InputError(
            f"{called} is no image classifier (architectures: {', '.join(built) or 'none'}); give {_KINDS}."
        )


def _asks_for_code(said: Any) -> str:
    """Return the field that names code to be fetched and run: a module of the model's own, or a kernel of the Hub."""
    if isinstance(said, list):
        return next(filter(None, map(_asks_for_code, said)), "")
    if not isinstance(said, dict):
        return ""
    for name, value in said.items():
        if name == "auto_map" or (name in _KERNELS and "/" in str(value)):
            return str(name)
    return next(filter(None, map(_asks_for_code, said.values())), "")
