"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) of peft: added before training, merged after it."""

import copy
import re
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_breakhis.files import InputError, nearest, reason_of

MISSING = "`lora` needs a package that is not installed. Install it: pip install 'hf-breakhis[peft]'."
# Classes whose output is linear in the weight, so that an adapter can be merged; peft knows them by their base class.
# Others derive from them too: weight-standardized convolutions, and parts of torch's attention that are never called.
LAYERS = ("Linear", "Conv2d", "Conv2dSame")
FAILURES = (TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError, LookupError, re.error, ImportError)
MERGE = "merge_adapters"  # attribute of a network with adapters: the function that merges them
TOLERANCE = 1e-3  # of a merged layer, relative to its largest output; a wrong one differs by about 1


def add_lora(model: PreTrainedModel, settings: Mapping[str, Any], full: Collection[str], random: bool = False) -> None:
    """Freeze a network in place, and add adapters that are trained instead.

    Dropout and stochastic depth regularize the adapters, so they act as in any training. Batch normalization keeps
    its statistics as in evaluation: they belong to the weights that are not trained, and small batches would shift
    the frozen network away from the one that the adapters were meant to change.

    Args:
        model: a classifier, without adapters.
        settings: fields of peft's `LoraConfig`; by default every linear and convolutional layer gets an adapter, as
            far as it can be merged.
        full: names of the parameters that are trained themselves: those of the head, and any that are new.
        random: start with adapters that change the network, where the settings do not choose a start.

    Raises:
        InputError: peft is not installed, or a setting is not valid or matches no layer.
    """
    try:
        from peft import LoraModel
    except ImportError as error:
        raise InputError(MISSING) from error
    parameters = dict(model.named_parameters())
    trained = [parameters[name] for name in full]
    own = sorted({name.rpartition(".")[0] for name in full})
    fixed = [
        part for name, part in model.named_modules() if getattr(part, "track_running_stats", False) and name not in own
    ]
    targets, names = default_targets(model, own), [name for name, _ in model.named_modules()]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what cannot be merged, which `check_lora` refuses
            tuner = LoraModel(model, _config(settings, targets, own, random), "default")
    except FAILURES as error:
        if "target modules" in str(error).lower() or "modules were excluded" in str(error):
            raise InputError(
                f"`lora` is {dict(settings)}, which matches no layer of {type(model).__name__}. "
                "Leave target_modules and exclude_modules out, or choose other names."
            ) from error
        raise InputError(f"`lora` is {dict(settings)}, which is not valid ({reason_of(error)}). Change it.") from error
    matched = {"target_modules": tuner.targeted_module_names, "exclude_modules": names, "modules_to_save": names}
    for key, known in matched.items():
        given = settings.get(key)
        for wanted in given if isinstance(given, list) else []:
            if not any(f".{name}".endswith(f".{wanted}") for name in known):
                hint = nearest(str(wanted), sorted({name.rpartition(".")[2] for name in known}))
                raise InputError(f"`{key}` of `lora` has `{wanted}`, which matches no layer.{hint}")
    copied = {id(one) for name, one in model.named_parameters() if ".original_module." in name}
    for parameter in trained:
        parameter.requires_grad_(id(parameter) not in copied)  # of a module in `modules_to_save` the copy is trained

    def keep_statistics(_module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        for part in fixed:
            part.training = False

    hook = model.register_forward_pre_hook(keep_statistics)

    def merge() -> None:
        tuner.merge_and_unload()
        hook.remove()

    setattr(model, MERGE, merge)


def _config(settings: Mapping[str, Any], targets: list[str], own: list[str], random: bool) -> Any:
    """Return the `LoraConfig` of the settings, which adapts no layer in `own`."""
    from peft import LoraConfig

    values = copy.deepcopy(dict(settings))  # peft may change them
    nn.Dropout(values.get("lora_dropout", 0.0))  # peft takes a negative share for none
    if values.get("target_modules") is None:
        values["target_modules"] = targets
    if random and not isinstance(values.get("init_lora_weights"), str):
        values["init_lora_weights"] = False
    excluded = values.get("exclude_modules") or []
    if isinstance(excluded, str):  # a regular expression
        values["exclude_modules"] = "|".join((f"(?:{excluded})", *map(re.escape, own)))
    else:
        values["exclude_modules"] = [*excluded, *own]
    return LoraConfig(**values)


def default_targets(model: nn.Module, but: Collection[str]) -> list[str]:
    """Return the names of the linear and convolutional layers that peft can merge, without those in `but`."""
    return [
        name
        for name, part in model.named_modules()
        if type(part).__name__ in LAYERS
        and name not in but
        and (not isinstance(part, nn.Conv2d) or (part.groups == 1 and set(part.dilation) == {1}))
    ]


def merge_lora(model: PreTrainedModel) -> dict[str, int]:
    """Merge the adapters of a network into its weights, in place, so that nothing of peft remains.

    Returns:
        The numbers of `trained_parameters` and of all `parameters`, adapters included, as peft counts them; empty for
        a network without adapters, which stays as it is.
    """
    merge = getattr(model, MERGE, None)
    if merge is None:
        return {}
    from peft import get_model_status

    status = get_model_status(model)
    merge()
    delattr(model, MERGE)
    return {"trained_parameters": status.trainable_params, "parameters": status.total_params}


def check_lora(model: PreTrainedModel, settings: Mapping[str, Any], full: Collection[str], image_size: int) -> None:
    """Add adapters with random numbers to a network, and check of each layer that merging does not change its output.

    Args:
        model: a classifier of no further use.
        settings: fields of peft's `LoraConfig`.
        full: names of the parameters that are trained themselves.
        image_size: side of the images in pixels.

    Raises:
        InputError: as `add_lora`, or the adapter of a layer has no effect or cannot be merged.
    """
    add_lora(model, settings, full, random=True)
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: dict[str, Any] = {name: part for name, part in model.named_modules() if isinstance(part, BaseTunerLayer)}
    shapes: dict[str, torch.Size] = {}
    for name, layer in layers.items():

        def keep(_layer: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
            shapes[name] = inputs[0].shape

        layer.register_forward_pre_hook(keep)
    with torch.no_grad():
        try:
            model.eval()(pixel_values=torch.zeros(1, 3, image_size, image_size))
        except FAILURES as error:
            raise InputError(
                f"`lora` is {dict(settings)}, which does not fit {type(model).__name__} ({reason_of(error)}). "
                "Leave target_modules out, or choose other layers."
            ) from error
        # A layer of which the network uses the weight, but which it does not call, has no shape.
        wrong = [name for name, layer in layers.items() if name not in shapes or not _merges(layer, shapes[name])]
    if wrong:
        names = ", ".join(sorted({f'"{name.rpartition(".")[2]}"' for name in wrong}))
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise InputError(
            f"The adapters of `lora` cannot be merged into {wrong[0]}{more}. "
            f"Add `exclude_modules: [{names}]` to `lora`."
        )


def _merges(layer: Any, shape: torch.Size) -> bool:
    """Return whether the output of a layer for random numbers is the same with its adapter merged."""
    inputs = torch.randn(shape)
    before = layer(inputs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layer.merge()
    except FAILURES:
        return False
    return bool((layer(inputs) - before).abs().max() <= TOLERANCE * before.abs().max())
