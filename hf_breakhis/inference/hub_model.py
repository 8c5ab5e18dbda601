"""Models on the Hub: fetched into its cache, and refused unless they are image classifiers that run no code."""

import shutil
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
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
from huggingface_hub.utils import disable_progress_bars, logging, validate_repo_id

from hf_breakhis.files import InputError, read_json, reason_of
from hf_breakhis.run import DECISION, FOLDS, RECIPE, SUMMARY, Run
from hf_breakhis.settings import require_hub_settings

RECORDS = [FOLDS, RECIPE, SUMMARY]  # of a published run: what its model was trained on
DESCRIPTION = ["config.json", "preprocessor_config.json", "processor_config.json", DECISION]
ONNX = "onnx"  # folder of an export next to the weights
ONNX_FILES = ("model.onnx", "export.json")  # of it, in a repository
MEMBERS = "members"  # folder of the further networks of a published ensemble, `members/001` and so on
MODEL_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")  # of each network
KINDS = "a run (outputs/c3), a model folder (outputs/c3/fold-0/model) or a Hub id (OWNER/NAME)"
MAX_CLASSES = 100_000  # ImageNet-22k has 21,841; transformers writes a name for each
_KERNELS = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")


def quiet_hub() -> None:
    """Hide the warnings of huggingface_hub, and its progress bars where the output is not a terminal.

    Its warnings are about single attempts; an attempt that fails in the end is reported once, as an error.
    """
    logging.set_verbosity_error()
    # A user who sets the variable to 0 asks for bars in any case.
    if not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is not False:
        disable_progress_bars()


def fetch_model(model: str, revision: str | None) -> Path:
    """Fetch a model of the Hub into its cache: its description first, since that may be a reason to go no further.

    Raises:
        InputError: there is no such model or revision, it is refused, or the Hub cannot be reached.
    """
    try:
        validate_repo_id(model)
    except HFValidationError as error:
        raise InputError(f"There is no {model}, and it is no Hub id; give {KINDS}.") from error
    at = f"{model} at revision {revision}" if revision else model
    quiet_hub()
    require_hub_settings()
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=DESCRIPTION))
        require_classifier(folder, at)
        # From the same commit, which is the folder's name, should the branch move in between.
        wanted = [*DESCRIPTION, *RECORDS, "*.safetensors", "model.safetensors.index.json"]
        snapshot_download(model, revision=folder.name, allow_patterns=wanted, ignore_patterns=["*/*"])
        is_published = all((folder / name).is_file() for name in RECORDS)  # else its recipe may be of another program
        if not is_published or Run(folder).recipe.get("members", 1) == 1:
            return folder
        further = [f"{MEMBERS}/[0-9][0-9][0-9]/{name}" for name in MODEL_FILES]
        return Path(snapshot_download(model, revision=folder.name, allow_patterns=further))
    except GatedRepoError as error:
        raise InputError(f"The model {at} asks for consent; give it on its page, then `hf auth login`.") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"There is no {model} here, nor a model of that name on the Hub that shows itself to you; give {KINDS}, "
            "or log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"The model {model} has no revision {revision}; see its page for branches and tags."
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError) as error:
        reason = reason_of(error, first_line=True).partition(". ")[0]
        raise InputError(
            f"There is no {model} here, and the Hub cannot be reached for it ({reason}); go online, or give a folder."
        ) from error


def fetch_export(model: str, revision: str) -> None:
    """Fetch the ONNX file of a model that `fetch_model` fetched, into the same folder.

    Args:
        model: OWNER/NAME.
        revision: the commit of the model.

    Raises:
        InputError: the repository has none, or the Hub cannot be reached.
    """
    wanted = [f"{ONNX}/{name}" for name in ONNX_FILES]
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, HTTPError) as error:
        reason = reason_of(error, first_line=True).partition(". ")[0]
        raise InputError(f"The Hub cannot be reached for the ONNX file of {model} ({reason}); go online.") from error
    if not all((folder / name).is_file() for name in wanted):
        raise InputError(
            f"{model} has no {wanted[0]}. Run `hf download {model} --local-dir DIR`, then `hf-breakhis export DIR`, "
            "and give DIR as the model. Or leave out --backend."
        )


def require_classifier(folder: Path, called: str) -> None:
    """Refuse a model whose description asks for code of its own, or is of no image classifier.

    Raises:
        InputError: it does.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    if not (folder / "config.json").is_file():
        raise InputError(f"{called} has no config.json, so it is no model of transformers; give {KINDS}.")
    for name in DESCRIPTION:
        content = read_json(folder / name) if (folder / name).is_file() else {}
        if not isinstance(content, dict):
            raise InputError(f"{called} has a {name} without fields; fetch or write the model again.")
        if asked := _asks_for_code(content):
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
            f"{called} is no image classifier (architectures: {', '.join(built) or 'none'}); give {KINDS}."
        )


def _asks_for_code(content: Any) -> str:
    """Return the field that names code to be fetched and run: a module of the model's own, or a kernel of the Hub."""
    if isinstance(content, list):
        return next(filter(None, map(_asks_for_code, content)), "")
    if not isinstance(content, dict):
        return ""
    for name, value in content.items():
        if name == "auto_map" or (name in _KERNELS and "/" in str(value)):
            return str(name)
    return next(filter(None, map(_asks_for_code, content.values())), "")


def copy_network(network: Path, folder: Path) -> None:
    """Copy the files of a network, `MODEL_FILES`, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(network / name, folder / name)
