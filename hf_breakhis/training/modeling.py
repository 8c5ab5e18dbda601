"""Image classifiers by name, with pretrained weights, or with random weights in any size."""

import copy
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, HTTPError, StrictDataclassError
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel, ResNetConfig
from transformers.activations import ACT2CLS
from transformers.utils import cached_file

from hf_breakhis.arguments import DataArguments, ModelArguments
from hf_breakhis.data.pixels.preprocessing import MEAN, RESAMPLE, SD, Preprocessing, three_numbers
from hf_breakhis.files import InputError, nearest, read_json, reason_of
from hf_breakhis.settings import require_hub_settings
from hf_breakhis.training.lora import add_lora, check_lora
from hf_breakhis.training.optim import lookup
from hf_breakhis.training.progress import say

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
ONEDNN_BLOCK = 16  # input channels that oneDNN handles at once with AVX-512, the most of all instruction sets
ACTIVATION = "hidden_act"  # the field of the configurations of transformers
DERIVED = ("stage_names", "out_features", "out_indices")
HEADS: dict[tuple[type, str], frozenset[str]] = {}  # kept: every fold asks, and large networks build slowly


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
    if hasattr(config, "pretrained_cfg"):
        del config.pretrained_cfg  # of timm: transformers would ignore preprocessor_config.json because of it
    new: set[str] = set()
    if args.init == "random":
        model = AutoModelForImageClassification.from_config(config)
    else:
        try:
            with without_load_report():
                model, loaded = AutoModelForImageClassification.from_pretrained(
                    args.model_name_or_path,
                    revision=args.model_revision,
                    config=config,
                    ignore_mismatched_sizes=True,  # the head of 1,000 ImageNet classes is replaced
                    use_safetensors=True,  # pickles are never read
                    dtype=torch.float32,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(unreachable(args, error)) from error
        new = {*loaded["missing_keys"], *(key[0] for key in loaded["mismatched_keys"])}
        warn_of_untrained_weights(model, new)
    if args.freeze_backbone:
        freeze_backbone(model, new)
    if args.lora is not None:
        add_lora(model, args.lora, trained_in_full(model, new))
    result: PreTrainedModel = model
    return result


def use_channels_last(model: nn.Module, device: torch.device) -> None:
    """Give the weights of convolutions the channels_last format, where it is safe.

    On a CPU it is not if a strided 1x1 convolution has fewer than 16 input channels, as in very small networks: its
    gradient in oneDNN writes beyond the reserved memory (uxlfoundation/oneDNN issue 6035). The process then crashes,
    or trains on wrong gradients.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    is_narrow = any(
        set(layer.kernel_size) == {1} and set(layer.stride) != {1} and layer.in_channels // layer.groups < ONEDNN_BLOCK
        for layer in layers
    )
    if device.type != "cpu" or not is_narrow:
        model.to(memory_format=torch.channels_last)


def check_network(args: ModelArguments, image_size: int) -> None:
    """Build the network and run one forward pass, before any image is read.

    Raises:
        InputError: the network cannot be loaded or built, does not take images of this size, or cannot be frozen
            or adapted.
    """
    config = load_config(args)
    try:
        _pass_zeros(config, args, image_size, "meta")  # shapes only: needs no memory and no time
    except InputError:
        _pass_zeros(config, args, image_size, "cpu")  # some networks need values, so only this error counts
    if args.lora is not None:
        with torch.random.fork_rng(devices=[]):
            model = AutoModelForImageClassification.from_config(config)
            check_lora(model, args.lora, head_parameters(config), image_size)


def _pass_zeros(config: PretrainedConfig, args: ModelArguments, image_size: int, device: str) -> None:
    kind = config.model_type
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            model = AutoModelForImageClassification.from_config(config)
    except ImportError as error:
        raise InputError(_missing_package(args, error)) from error
    except FAILURES as error:
        raise InputError(f"`model_kwargs` does not fit {kind} ({reason_of(error)}); change it.") from error
    if (args.freeze_backbone or args.lora is not None) and not head_parameters(config):
        field, remedy = ("lora", "Leave lora out") if args.lora is not None else ("freeze_backbone", "Set it to false")
        raise InputError(
            f"`{field}` trains a new head, but no parameter of {type(model).__name__} depends on the number of "
            f"classes. {remedy}."
        )
    try:
        with torch.no_grad():
            model.eval()(pixel_values=torch.zeros(1, 3, image_size, image_size, device=device)).logits.shape  # noqa: B018
    except FAILURES as error:
        sizes = getattr(config, "image_size", None) or _timm_side(config)
        own = isinstance(sizes, int) and sizes != image_size
        remedy = f"Set image_size to {sizes}." if own else "Choose another image_size or network."
        raise InputError(
            f"`image_size` is {image_size}, but {args.model_name_or_path} cannot process such an image "
            f"({reason_of(error)}). {remedy}"
        ) from error


def _timm_side(config: PretrainedConfig) -> int | None:
    """Return the side of the images that a timm network was trained on."""
    size = (getattr(config, "pretrained_cfg", None) or {}).get("input_size") or [None]
    return size[-1] if isinstance(size[-1], int) else None


def _missing_package(args: ModelArguments, error: ImportError) -> str:
    package = "timm" if "timm" in str(error).lower() else str(error.name or "")
    remedy = f"Install it: pip install {package}." if package else "Install it."
    name = args.model_name_or_path
    return f"`{name}` needs a package that is not installed ({reason_of(error).partition('. ')[0]}). {remedy}"


def cached_preprocessing(data: DataArguments, model: ModelArguments) -> Preprocessing | None:
    """Return how the images in the pixel cache of a recipe are prepared; None if it uses no such cache."""
    return preprocessing_of(data, model) if data.cache and not data.features else None


def preprocessing_of(data: DataArguments, model: ModelArguments) -> Preprocessing:
    """Return size, crop, interpolation, mean and standard deviation that the recipe asks for.

    `normalization: backbone` takes the values of the network's own image processor or timm configuration. A network
    without them and one with random weights get ImageNet's.

    Raises:
        InputError: the preprocessing of the network is not supported.
    """
    wanted = "backbone" in (data.normalization, data.interpolation)
    saved = _saved_preprocessing(model) if wanted and model.init == "pretrained" else {}
    name = model.model_name_or_path
    mean, sd, interpolation = MEAN, SD, data.interpolation
    if data.normalization == "backbone" and saved:
        found = three_numbers(saved.get("image_mean")), three_numbers(saved.get("image_std"))
        if saved.get("do_normalize") is False:
            found = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        factor = saved.get("rescale_factor", 1 / 255)
        is_plain = saved.get("do_rescale") is not False and isinstance(factor, float) and abs(factor * 255 - 1) < 1e-3
        if found[0] is None or found[1] is None or min(found[1]) <= 0 or not is_plain or saved.get("include_top"):
            raise InputError(
                f"The image processor of {name} does something else than subtracting a mean and dividing by a "
                "standard deviation. Set `normalization` to imagenet."
            )
        mean, sd = found[0], found[1]
    if interpolation == "backbone":
        number = saved.get("resample", RESAMPLE["bilinear"])
        names = [one for one, resample in RESAMPLE.items() if number in (one, resample)]
        if not names:
            raise InputError(
                f"The image processor of {name} has the interpolation {number}, but bilinear and bicubic are "
                "supported. Set `interpolation` to one of them."
            )
        interpolation = names[0]  # type: ignore[assignment]
    how = Preprocessing(data.image_size, data.crop, interpolation, mean, sd)  # type: ignore[arg-type]
    return replace(how, stain_normalization=data.stain_normalization)


def _saved_preprocessing(model: ModelArguments) -> dict[str, Any]:
    """Return the fields of the network's image processor; empty if it has none."""
    require_reachable(model)
    for file in ("preprocessor_config.json", "config.json"):
        try:
            path = cached_file(
                model.model_name_or_path, file, revision=model.model_revision,
                _raise_exceptions_for_missing_entries=False,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise InputError(unreachable(model, error)) from error
        saved: Any = {} if path is None else read_json(Path(path))
        if isinstance(saved, dict) and "preprocessor" in file and saved:
            return saved
        timm = saved.get("pretrained_cfg") if isinstance(saved, dict) else None
        if isinstance(timm, dict) and "mean" in timm:
            return {
                "image_mean": timm["mean"],
                "image_std": timm.get("std"),
                "resample": timm.get("interpolation", "bilinear"),
            }
    return {}


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
        require_hub_settings()
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=args.model_revision), timeout=10)
    except InputError:  # of the settings; it is a ValueError
        raise
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
    known.pop("label_names", None)  # timm's second list of classes, which would stay the old one
    if isinstance(known.get("model_args"), dict):  # of timm, which writes the number of classes there too
        known["model_args"] = {key: value for key, value in known["model_args"].items() if key != "num_classes"}
    for key, value in (args.model_kwargs or {}).items():
        if key not in known:
            raise InputError(
                f"`model_kwargs` has `{key}`, which is not a field of the {config.model_type} configuration."
                f"{nearest(key, list(known))}"
            )
        known[key] = value
    if args.activation is not None:
        known[ACTIVATION] = _checked_activation(args, known)
    try:
        changed: PretrainedConfig = type(config).from_dict(known)
        if not changed.num_labels:  # a timm backbone that was published without a head
            changed.num_labels = 2
        return changed
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise InputError(f"`model_kwargs` does not fit {config.model_type}: {reason_of(error)}.") from error


def _checked_activation(args: ModelArguments, known: dict[str, Any]) -> str:
    """Return the activation of the recipe.

    Raises:
        InputError: it is unknown, the network has no such setting, or `model_kwargs` gives it too.
    """
    name = str(args.activation)
    if ACTIVATION in (args.model_kwargs or {}):
        raise InputError(f"Both `activation` and `{ACTIVATION}` of `model_kwargs` are given; keep one.")
    if ACTIVATION not in known:
        raise InputError(
            f"`activation` is {name}, but {args.model_name_or_path} has no setting for it. Leave `activation` out."
        )
    lookup(ACT2CLS, name, "activation")
    return name


def unreachable(args: ModelArguments, error: Exception) -> str:
    """Return the error message for a network that cannot be loaded."""
    reason = reason_of(error).partition(". ")[0]  # what follows is advice
    # where only a head or adapters are trained, random weights are refused
    random = "" if args.freeze_backbone or args.lora is not None else ", or use random weights with --init random"
    return (
        f"Cannot load `{args.model_name_or_path}` at `{args.model_revision}` ({reason}). Give the folder of a local "
        f"model, or check the connection{random}."
    )


def head_parameters(config: PretrainedConfig) -> frozenset[str]:
    """Return the names of the parameters of a classifier whose shapes depend on the number of classes."""
    key = type(config), config.to_json_string()
    if key in HEADS:
        return HEADS[key]
    shapes = []
    for extra in (0, 1):
        changed = copy.deepcopy(config)
        changed.num_labels = int(config.num_labels or 0) + extra
        try:
            with torch.device("meta"):  # shapes only: draws no random number and needs no memory
                model = AutoModelForImageClassification.from_config(changed)
        except FAILURES:  # some networks calculate with values when they are built
            with torch.random.fork_rng(devices=[]):
                model = AutoModelForImageClassification.from_config(changed)
        shapes.append({name: parameter.shape for name, parameter in model.named_parameters()})
    HEADS[key] = frozenset(name for name, shape in shapes[0].items() if shapes[1].get(name) != shape)
    return HEADS[key]


def freeze_backbone(model: PreTrainedModel, new: Collection[str] = ()) -> None:
    """Train the classification head only; everything else behaves as in evaluation.

    The head is found by its parameters: those whose shapes depend on the number of classes, and those that the
    weights did not contain. Before each forward pass every module without a trained parameter of its own is put into
    evaluation mode. So batch normalization keeps its statistics, and neither dropout nor stochastic depth draws.

    Args:
        model: a classifier.
        new: names of the parameters that were initialised at random, since the loaded weights lack them.
    """
    trained = trained_in_full(model, new)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)

    def stay_in_evaluation_mode(module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        for part in module.modules():
            if not any(parameter.requires_grad for parameter in part.parameters(recurse=False)):
                part.training = False

    model.register_forward_pre_hook(stay_in_evaluation_mode)


def trained_in_full(model: PreTrainedModel, new: Collection[str]) -> frozenset[str]:
    """Return the names of the parameters of the head and of those that are new."""
    return head_parameters(model.config) | (set(new) & dict(model.named_parameters()).keys())


def warn_of_untrained_weights(model: PreTrainedModel, new: Collection[str]) -> None:
    """Print a line if parameters or buffers outside the head, such as the statistics of batch norm, are new."""
    # a counter that torch reads only for batch norm without a momentum; old weights lack it
    found = {name for name in set(new) & model.state_dict().keys() if not name.endswith("num_batches_tracked")}
    others = sorted(found - head_parameters(model.config)) if found else []
    if others:
        say(
            f"warning: the weights of {type(model).__name__} lack {others[0]}"
            f"{f' and {len(others) - 1} more' if len(others) > 1 else ''}, or have them in another size, so these "
            "start untrained."
        )


@contextmanager
def without_load_report() -> Iterator[None]:
    """Keep transformers from printing a table about each head that is replaced, which is meant."""
    logger, no_report = logging.getLogger("transformers.modeling_utils"), _NoReport()
    logger.addFilter(no_report)  # another level would make transformers print a line about tensor parallelism
    try:
        yield
    finally:
        logger.removeFilter(no_report)


class _NoReport(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()
