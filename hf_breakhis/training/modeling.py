"""Image classifiers by name, with pretrained weights, or with random weights in any size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, HTTPError, StrictDataclassError
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel, ResNetConfig

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.files import InputError, nearest

# The configuration of microsoft/resnet-50, so that random weights need no download.
RESNET_50: dict[str, Any] = {
    "embedding_size": 64,
    "hidden_sizes": [256, 512, 1024, 2048],
    "depths": [3, 4, 6, 3],
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
}
# What libraries raise for a configuration that contradicts itself or does not fit the image.
FAILURES = (TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError, LookupError, AssertionError)
DERIVED = ("stage_names", "out_features", "out_indices")


def build_model(args: ModelArguments, classes: Sequence[str]) -> PreTrainedModel:
    """Return a classifier with one output per class.

    Random numbers come from the global generator of torch: seed it before, as `model_init` of the Trainer does.

    Args:
        args: name, revision, configuration and initial weights of the network.
        classes: names of the classes in the order of their numbers.

    Raises:
        InputError: the weights cannot be loaded, a key of `model_kwargs` is unknown, or it is no image classifier.
    """
    config = load_config(args)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: number for number, name in enumerate(classes)}
    if args.init == "random":
        model = AutoModelForImageClassification.from_config(config)
    else:
        try:
            model = AutoModelForImageClassification.from_pretrained(
                args.model_name_or_path,
                revision=args.model_revision,
                config=config,
                ignore_mismatched_sizes=True,  # the head of 1,000 ImageNet classes is replaced
                use_safetensors=True,  # pickles are never read
                dtype=torch.float32,
                trust_remote_code=False,
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(unreachable(args, error)) from error
    if args.freeze_backbone:
        freeze_backbone(model)
    return model


def check_network(args: ModelArguments, image_size: int) -> None:
    """Build the network and run one forward pass, before any image is read.

    Raises:
        InputError: the network cannot be loaded or built, does not take images of this size, or cannot be frozen.
    """
    config = load_config(args)
    try:
        _pass_zeros(config, args, image_size, "meta")  # shapes only: needs no memory and no time
    except InputError:
        _pass_zeros(config, args, image_size, "cpu")  # some networks need values, so only this error counts


def _pass_zeros(config: PretrainedConfig, args: ModelArguments, image_size: int, device: str) -> None:
    kind = config.model_type
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            model = AutoModelForImageClassification.from_config(config)
    except ImportError as error:
        raise InputError(_missing_package(args, error)) from error
    except FAILURES as error:
        raise InputError(f"`model_kwargs` does not fit {kind} ({_short(error)}); change it.") from error
    if args.freeze_backbone:
        freeze_backbone(model)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise InputError(
                f"`freeze_backbone` is true, but {type(model).__name__} does not separate its head from its backbone, "
                "so nothing would be trained. Set freeze_backbone to false."
            )
    try:
        with torch.no_grad():
            model.eval()(pixel_values=torch.zeros(1, 3, image_size, image_size, device=device)).logits.shape  # noqa: B018
    except FAILURES as error:
        sizes = getattr(config, "image_size", None)
        own = isinstance(sizes, int) and sizes != image_size
        raise InputError(
            f"`image_size` is {image_size}, but {args.model_name_or_path} cannot process such an image "
            f"({_short(error)}). {f'Set image_size to {sizes}.' if own else 'Choose another image_size or network.'}"
        ) from error


def _short(error: Exception) -> str:
    return (" ".join(str(error).split())[:200] or type(error).__name__).rstrip(".")


def _missing_package(args: ModelArguments, error: ImportError) -> str:
    package = "timm" if "timm" in str(error).lower() else str(error.name or "")
    remedy = f"Install it: pip install {package}." if package else "Install it."
    name = args.model_name_or_path
    return f"`{name}` needs a package that is not installed ({_short(error).partition('. ')[0]}). {remedy}"


def require_reachable(args: ModelArguments) -> None:
    """Ask the Hub once for a network that is not cached; the library itself retries for half a minute.

    Raises:
        InputError: the Hub cannot be reached, or the network is not found.
    """
    name = args.model_name_or_path
    if Path(name).is_dir() or (args.init == "random" and name == "microsoft/resnet-50"):
        return
    hub_logging.get_logger("huggingface_hub").setLevel(hub_logging.ERROR)  # no lines about retries
    try:
        if isinstance(try_to_load_from_cache(name, "config.json", revision=args.model_revision), str):
            return
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=args.model_revision), timeout=10)
    except (HTTPError, HFValidationError, OSError, ValueError) as error:
        raise InputError(unreachable(args, error)) from error


def load_config(args: ModelArguments) -> PretrainedConfig:
    """Return the configuration of the network, changed by `model_kwargs`.

    Raises:
        InputError: it cannot be loaded, or a key of `model_kwargs` is not one of its fields.
    """
    require_reachable(args)
    if args.init == "random" and args.model_name_or_path == "microsoft/resnet-50":
        config: PretrainedConfig = ResNetConfig(**RESNET_50)
    else:
        try:
            config = AutoConfig.from_pretrained(
                args.model_name_or_path, revision=args.model_revision, trust_remote_code=False
            )
        except ImportError as error:
            raise InputError(_missing_package(args, error)) from error
        except (OSError, ValueError) as error:
            raise InputError(unreachable(args, error)) from error
    # The names of the stages depend on their number, which `model_kwargs` may change.
    known = {key: value for key, value in config.to_dict().items() if key not in DERIVED}
    for key, value in (args.model_kwargs or {}).items():
        if key not in known:
            raise InputError(
                f"`model_kwargs` has `{key}`, which is not a field of the {config.model_type} configuration."
                f"{nearest(key, list(known))}"
            )
        known[key] = value
    try:
        return type(config).from_dict(known)
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise InputError(f"`model_kwargs` does not fit {config.model_type}: {' '.join(str(error).split())}") from error


def unreachable(args: ModelArguments, error: Exception) -> str:
    """Return the error message for a network that cannot be loaded."""
    reason = " ".join(str(error).split()).partition(". ")[0][:200]  # what follows is advice
    return (
        f"Cannot load `{args.model_name_or_path}` at `{args.model_revision}` ({reason}). Give a local folder with "
        "--model_name_or_path DIR, check the connection, or use random weights with --init random."
    )


def freeze_backbone(model: PreTrainedModel) -> None:
    """Train the classification head only.

    The backbone is put into evaluation mode before each forward pass, since batch normalization in training mode
    changes its running statistics.
    """

    def stay_in_evaluation_mode(module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        module.eval()

    model.base_model.requires_grad_(False)
    model.base_model.register_forward_pre_hook(stay_in_evaluation_mode)
