"""Read a recipe: a flat YAML file and flags that override it, checked value by value."""

import argparse
import json
import reprlib
import textwrap
import types
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from functools import wraps
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from transformers import HfArgumentParser, TrainingArguments

from hf_breakhis.arguments import LORA_FIELDS, DataArguments, ModelArguments, require
from hf_breakhis.files import InputError, expand_home, nearest
from hf_breakhis.training_arguments import MEANINGLESS, REFUSED, SYNONYMS, BreakHisTrainingArguments, check_inherited
from hf_breakhis.yaml_files import find_yaml, other_kind, read_yaml

ARGUMENT_CLASSES: list[Any] = [DataArguments, ModelArguments, BreakHisTrainingArguments]
PARSER = HfArgumentParser(ARGUMENT_CLASSES)  # made once: it takes ten times as long as what it reads

USAGE = "hf-breakhis train RECIPE [--field value ...]"
HINTS = {name: hint for group in ARGUMENT_CLASSES for name, hint in get_type_hints(group).items()}
KNOWN = [f.name for group in ARGUMENT_CLASSES for f in fields(group) if f.init]
SUGGESTED = [name for name in KNOWN if name not in REFUSED and name not in MEANINGLESS]
# The lowest value of fields that the Trainer does not check.
LOWEST = {
    "seed": 0, "data_seed": 0, "num_train_epochs": 0, "learning_rate": 0, "weight_decay": 0, "max_grad_norm": 0,
    "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1,
    "focal_gamma": 0, "mixup": 0, "cutmix": 0,
    "dataloader_num_workers": 0, "save_total_limit": 1, "early_stopping_patience": 1, "num_threads": 1,
    "members": 1,
}  # fmt: skip
# What the Trainer raises for a missing file, an unknown option, or a package that is not installed.
REFUSALS = (ValueError, TypeError, KeyError, AttributeError, OSError, ImportError, RuntimeError)
LARGEST = 2**32 - 1  # the largest seed of numpy, and a bound for every other number


@dataclass(frozen=True)
class Recipe:
    """All fields of a run, in three groups.

    Attributes:
        data: the data set and its split.
        model: the network and its initial weights.
        training: the Trainer's arguments.
    """

    data: DataArguments
    model: ModelArguments
    training: BreakHisTrainingArguments

    @classmethod
    def load(cls, path: str | Path, **fields: Any) -> "Recipe":
        """Read a recipe file, or a recipe of the package by its name; `fields` override its values.

        Raises:
            InputError: the file is missing, a key is unknown, or a value is of the wrong type or out of range.
        """
        texts = {name: str(value) for name, value in fields.items() if isinstance(value, Path) or name == "fold"}
        return build_recipe(load_recipe(path), fields | texts, str(path), "Recipe.load")


def parse_recipe(argv: Sequence[str]) -> Recipe:
    """Parse `RECIPE [--field value ...]`, the words of a command line; flags override the recipe.

    Raises:
        InputError: the file is missing, a key is unknown, or a value is of the wrong type or out of range.
        SystemExit: after `--help` or `--help_all`.
    """
    if {"-h", "--help", "--help_all", "--help-all"} & set(argv):
        print(_flag_parser().format_help() if "--help_all" in argv or "--help-all" in argv else short_help())  # noqa: T201
        raise SystemExit(0)
    if not argv or argv[0].startswith("-"):
        raise InputError(f"No recipe is given. Give one first, such as recipes/c3.yaml or c3: {USAGE}.")
    return build_recipe(load_recipe(argv[0]), parse_flags(argv[1:]), argv[0])


def build_recipe(
    values: dict[str, Any], flags: dict[str, Any], origin: str = "recipe", origin_of_flags: str = "command line"
) -> Recipe:
    """Check the values of a recipe and of the flags, and build the three groups.

    Raises:
        InputError: as `parse_recipe`.
    """
    for source, given in ((origin, values), (origin_of_flags, flags)):
        for name, value in given.items():
            check_value(name, value, source)
    both = values | flags
    merged = {name: expand_home(value) if isinstance(value, str) else value for name, value in both.items()}
    check_inherited(merged)
    if merged.get("batch_size") is not None and "per_device_train_batch_size" in merged:
        raise InputError("Both `batch_size` (all devices) and `per_device_train_batch_size` are given; keep one.")
    try:
        recipe = Recipe(*PARSER.parse_dict(merged))
    except InputError:
        raise
    except REFUSALS as error:  # of TrainingArguments, for combinations of its fields
        raise InputError(f"{origin}: {' '.join(str(error).split())}") from error
    if recipe.data.features:
        recipe = Recipe(recipe.data, named_after_features(recipe), recipe.training)
    check_together(recipe)
    return recipe


def named_after_features(recipe: Recipe) -> ModelArguments:
    """Return the fields of the network for a run on feature vectors, whose head has no other settings."""
    files = ", ".join(Path(path).name for path in recipe.data.features)
    name, model = f"feature vectors ({files})", recipe.model
    return ModelArguments(model_name_or_path=name, carry_over=model.carry_over, lora=model.lora)


def check_together(recipe: Recipe) -> None:
    """Refuse fields of different groups that contradict each other.

    Raises:
        InputError: names both fields and what to change.
    """
    data, model, training = recipe.data, recipe.model, recipe.training
    carried = f"`carry_over` is {model.carry_over}, so fold {data.fold} needs all folds before it. Use --fold all."
    require(model.carry_over == "none" or data.fold == "all", carried)
    several = f"`members` is {training.members}, which is not supported with `carry_over`; set carry_over to none."
    require(training.members == 1 or model.carry_over == "none", several)
    frozen = "`freeze_backbone` with `init: random` trains a head on random features; use pretrained weights."
    require(not model.freeze_backbone or model.init == "pretrained", frozen)
    if model.lora is not None:
        check_lora_fields(recipe, model.lora)
    if data.features:
        augmented = f"`augmentation` is {data.augmentation}, but `features` are fixed; set augmentation to none."
        require(data.augmentation == "none", augmented)
        carried = f"`carry_over` is {model.carry_over}, but is not supported with `features`; set carry_over to none."
        require(model.carry_over == "none", carried)
        turned = f"`tta` is {data.tta}, which turns pixels, but `features` are fixed; set tta to none."
        require(data.tta == "none", turned)
        mixed = next((name for name in ("mixup", "cutmix") if getattr(training, name)), "")
        require(not mixed, f"`{mixed}` mixes pixels, but `features` are fixed; set {mixed} to 0.")
    missing = "`allow_missing` is true, but it is for `features` only. Leave it out."
    require(bool(data.features) or not data.allow_missing, missing)
    stops = training.load_best_model_at_end or training.early_stopping_patience
    watches = stops or training.scheduler_name == "plateau"
    refit = "`fold` is refit, which has no test set to select a checkpoint by. Set `validation_size`."
    require(not (data.fold == "refit" and watches) or data.validation_size > 0, refit)


def check_lora_fields(recipe: Recipe, lora: dict[str, Any]) -> None:
    """Refuse an unknown key of `lora`, and fields that contradict it.

    Raises:
        InputError: names the key or the field and what to change.
    """
    for key in lora:
        known = f"`lora` has `{key}`, which is not supported.{nearest(str(key), LORA_FIELDS)}"
        require(key in LORA_FIELDS, f"{known} Choose from {', '.join(LORA_FIELDS)}.")
    alpha = lora.get("lora_alpha", 8)
    is_positive = isinstance(alpha, int | float) and 0 < alpha <= LARGEST
    require(is_positive, f"`lora` has lora_alpha {alpha}, but has to have a number above 0.")
    layers = "`layers_to_transform` of `lora` selects among target_modules; give target_modules as a list of names."
    require("layers_to_transform" not in lora or isinstance(lora.get("target_modules"), list), layers)
    model = recipe.model
    require(not recipe.data.features, "`lora` adapts a network, but `features` are fixed; leave lora out.")
    frozen = "`lora` and `freeze_backbone` are both given: LoRA trains adapters in the backbone; leave one out."
    require(not model.freeze_backbone, frozen)
    random = "`lora` with `init: random` adapts random weights; use pretrained weights, or leave lora out."
    require(model.init == "pretrained", random)
    carried = "`carry_over` is all, but the adapters of `lora` are new in each fold; set carry_over to none or model."
    require(model.carry_over != "all", carried)


def resolved_fields(recipe: Recipe) -> dict[str, Any]:
    """Return every field of the three groups that a recipe may set, in types that YAML has, without tokens."""
    values: dict[str, Any] = {}
    for group in (recipe.data, recipe.model, recipe.training):
        for field in fields(group):
            if field.name in SUGGESTED and "token" not in field.name:
                value = getattr(group, field.name)
                values[field.name] = value.value if isinstance(value, Enum) else value
    if values["batch_size"] is not None:  # these two depend on the number of processes
        values.pop("per_device_train_batch_size")
        values.pop("gradient_accumulation_steps")
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | list | dict | None)}


def load_recipe(path: str | Path) -> dict[str, Any]:
    """Return the recipe as a flat mapping; the `environment` in the recipe of a run is left out.

    Raises:
        InputError: there is no such file, it is not flat YAML, or a key is unknown or given twice.
    """
    path = find_recipe(path)
    values = read_yaml(path, "a recipe is YAML like recipes/c3.yaml")
    environment = values.get("environment")
    if isinstance(environment, dict) and "packages" in environment:  # the recipe that a run wrote
        values.pop("environment")
        values.setdefault("normalization", "imagenet")  # of every run before the field
    if wrong := [str(key) for key in values if key not in KNOWN]:
        raise InputError(f"{path}: unknown key `{wrong[0]}`.{other_kind(path, values, 'recipe') or advice(wrong[0])}")
    if type(values.get("fold")) is int:
        values["fold"] = str(values["fold"])  # text, as on the command line
    return values


def find_recipe(given: str | Path) -> Path:
    """Return the path of a recipe, given as a path or as the name of a recipe of the package, such as `c3`.

    Raises:
        InputError: no such recipe; the message lists the names.
    """
    return find_yaml(given, "recipe")


def parse_flags(argv: Sequence[str]) -> dict[str, Any]:
    """Return the fields given as flags, converted to their types.

    Raises:
        InputError: a flag is unknown or abbreviated, or its value is not of the field's type.
    """
    try:
        given, rest = _flag_parser().parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise InputError(_wrong_flag(error, argv)) from error
    if unknown := next((text.split("=")[0] for text in rest if text.startswith("--")), ""):
        raise InputError(f"unknown flag `{unknown}`.{advice(unknown)}")
    if rest:
        raise InputError(f"cannot read {' '.join(rest)!r}; flags are written --field value.")
    return vars(given)


def _wrong_flag(error: argparse.ArgumentError, argv: Sequence[str]) -> str:
    """Return what argparse found, in the words of `check_value`."""
    flag = str(error.argument_name).split("/")[0]
    name = flag.removeprefix("--")
    if error.message.startswith("ignored explicit argument"):
        return f"{flag} takes no value; write {flag} alone."
    if name not in HINTS or error.message.startswith("'"):  # the latter by `_json_object`
        return f"{flag}: {error.message}."
    allowed = _describe(HINTS[name]).removesuffix(" or null")
    given = [text for text in _values_of(name, argv) if text]
    if not given:
        return f"{flag} has no value. Give {allowed}."
    wrong = next((text for text in given if text in error.message), given[-1])
    return f"`{name}` is {_shown(name, wrong)}, but has to be {allowed}."


def _values_of(name: str, argv: Sequence[str]) -> Iterator[str]:
    """Yield what follows each flag of a field, written with dashes or underscores."""
    for i, word in enumerate(argv, start=1):
        flag, equals, value = word.partition("=")
        if flag.replace("-", "_") == f"__{name}":
            yield value if equals else " ".join(takewhile(lambda text: not text.startswith("--"), argv[i:]))


def check_value(name: str, value: Any, source: str) -> None:
    """Check one value against the annotation of its field.

    Raises:
        InputError: the field is unknown, or the value is not allowed.
    """
    if name not in KNOWN:
        raise InputError(f"{source}: unknown key `{name}`.{advice(name)}")
    hint = HINTS[name]
    if _fits(value, hint):
        _check_range(name, value, source)
        return
    more = ""
    if isinstance(value, str) and _fits(1.5, hint):
        more = " YAML reads 1e-4 as text: write 1.0e-4."
    elif isinstance(value, bool) and _choices(hint):
        more = " YAML reads a bare no as false: write it in quotes."
    raise InputError(f"{source}: `{name}` is {_shown(name, value)}, but has to be {_describe(hint)}.{more}")


def _check_range(name: str, value: Any, source: str) -> None:
    if isinstance(value, str) and any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
        shown = _shown(name, value)
        raise InputError(f"{source}: `{name}` is {shown}, which contains a control character; remove it.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low = LOWEST.get(name, -LARGEST)
    if not low <= value <= LARGEST:  # false for nan and the infinities too
        allowed = f"at least {low}" if name in LOWEST and not value > LARGEST else f"a number of at most {LARGEST}"
        raise InputError(f"{source}: `{name}` is {value}, but has to be {allowed}.")


def _shown(name: str, value: Any) -> str:
    if "token" in name:
        return "not valid"  # a token is never printed
    short = reprlib.Repr()
    short.maxstring = short.maxother = 120
    return short.repr(value)


def advice(name: str) -> str:
    """Return which field to use instead of an unknown one, never one that is refused."""
    dashes, field = ("--", name[2:]) if name.startswith("--") else ("", name)
    if field in SYNONYMS:
        return f" Use `{dashes}{SYNONYMS[field]}`."
    return nearest(name, [f"{dashes}{known}" for known in SUGGESTED])


def short_help() -> str:
    """Return the help page of the fields that this package adds, with the choices and the default of each."""
    inherited = {f.name for f in fields(TrainingArguments)}
    lines = [
        f"usage: {USAGE}",
        "",
        "Flags override the recipe; `--field null` empties a field. Fields of this package:",
    ]
    for group in ARGUMENT_CLASSES:
        lines += ["", (group.__doc__ or "").splitlines()[0]]
        for f in fields(group):
            if group is not BreakHisTrainingArguments or f.name not in inherited:
                default = f.default if f.default is not MISSING else f.default_factory()  # type: ignore[operator]
                text = _with_default(f.metadata["help"], default)
                lines += textwrap.wrap(text, 100, initial_indent=f"  --{f.name:<24} ", subsequent_indent=" " * 29)
    return "\n".join([*lines, "", "Fields of transformers.TrainingArguments are flags too; --help_all lists them."])


def _with_default(text: str, default: Any) -> str:
    """Return a help text that states the default, unless it does so already."""
    if "Default:" in text:
        return text
    shown = " ".join(default) if isinstance(default, list) else default
    return f"{text} Default: {str(shown).lower() if isinstance(default, bool) else shown}."


def _flag_parser() -> HfArgumentParser:
    """Return a parser of all fields that returns only the given flags and reads JSON for mappings, and null."""
    how = {"prog": "hf-breakhis train", "usage": USAGE, "allow_abbrev": False, "exit_on_error": False}
    parser = HfArgumentParser(ARGUMENT_CLASSES, **how)
    for action in parser._actions:
        if action.dest in HINTS:
            if action.dest not in SUGGESTED:
                action.help = argparse.SUPPRESS
            elif f"--no_{action.dest}" in action.option_strings:
                action.help = f"Set {action.dest} to false."
            elif "%" not in (action.help or ""):
                action.help = _with_default(action.help or "", action.default)
            action.default = argparse.SUPPRESS
            if dict in (get_origin(part) or part for part in (HINTS[action.dest], *get_args(HINTS[action.dest]))):
                action.type = _json_object
            if type(None) in get_args(HINTS[action.dest]) and not action.choices:
                action.type = _or_null(action.type)
    return parser


def _or_null(read: Any) -> Any:
    # null as in YAML; argparse names the function in its errors, and `_wrong_flag` looks for the value in them
    return wraps(read, updated=())(lambda text: None if text == "null" else read(text))


def _json_object(text: str) -> dict[str, Any]:
    with suppress(json.JSONDecodeError):
        if isinstance(value := json.loads(text), dict):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a JSON object; write '{{\"key\": 1}}'")


def _fits(value: Any, hint: Any) -> bool:
    """Return whether `value` is of type `hint`; true is not a number, and 1 is not a bool."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        enums = [part for part in parts if isinstance(part, type) and issubclass(part, Enum)]
        # `IntervalStrategy | str` means one of the strategies, not any text.
        return any(_fits(value, part) for part in parts if not (enums and part is str))
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
    if origin is dict or hint is dict:
        return isinstance(value, dict) and all(isinstance(key, str) for key in value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return value in [member.value for member in hint]
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return hint is Any or type(value) is hint


def _choices(hint: Any) -> list[str]:
    """Return the choices of a field, or an empty list."""
    parts = [hint, *get_args(hint)]
    members = [m.value for part in parts if isinstance(part, type) and issubclass(part, Enum) for m in part]
    return members or [str(word) for part in parts if get_origin(part) is Literal for word in get_args(part)]


def _describe(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "a mapping"}
    if choices := _choices(hint):
        return f"one of {', '.join(choices)}"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(part) for part in get_args(hint) if part is not str or len(get_args(hint)) < 3)
    if get_origin(hint) is list:
        return f"a list of {_describe(get_args(hint)[0])}"
    return "null" if hint is type(None) else names.get(get_origin(hint) or hint, str(hint))
