"""Read a search space: fields of a recipe, each with a range or with choices."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from hf_breakhis.arguments import require
from hf_breakhis.files import InputError, nearest
from hf_breakhis.recipe import HINTS, KNOWN, Recipe, advice, build_recipe, check_value, resolved_fields
from hf_breakhis.study import SAME
from hf_breakhis.yaml_files import find_yaml, read_yaml

# Fields that decide which images train and test, or where files are written; a search cannot choose them.
FIXED = SAME | {
    "validation_size", "train_share", "train_magnifications", "test_magnifications", "push_to_hub", "num_threads",
    "use_cpu", "members", "disable_tqdm", "report_to", "run_name", "eval_strategy", "save_strategy",
    "logging_strategy",
}  # fmt: skip
RANGE, CHOICES = ("low", "high", "log", "step", "int"), "choices"
_FORM = "a space is YAML like spaces/head.yaml"


@dataclass(frozen=True)
class Parameter:
    """A field of the recipe that the search chooses.

    Attributes:
        field: its name.
        choices: its values, if it has choices; otherwise empty.
        low: lowest value of a range.
        high: highest value of a range.
        log: whether the range is searched on a logarithmic scale.
        step: distance of the values of a range; None if every value is possible.
        is_int: whether the values are whole numbers.
    """

    field: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    step: float | None = None
    is_int: bool = False

    @property
    def labels(self) -> list[str | int | float | bool | None]:
        """The choices as scalars, which Optuna stores: lists and mappings as JSON."""
        return [value if _is_scalar(value) else json.dumps(value, sort_keys=True) for value in self.choices]

    def value(self, label: Any) -> Any:
        """Return the value of the recipe for a value of Optuna."""
        if not self.choices:
            return label
        same = [number for number, one in enumerate(self.labels) if type(one) is type(label) and one == label]
        return self.choices[same[0]]

    def ends(self) -> list[Any]:
        """Return the values that are checked before the search: all choices, or both ends of the range."""
        return list(self.choices) or [self.low, self.high]

    def grid(self) -> list[Any]:
        """Return all values as Optuna stores them.

        Raises:
            InputError: it is a range without a step.
        """
        if self.choices:
            return list(self.labels)
        step = self.step or (1 if self.is_int and not self.log else None)
        if step is None:
            raise InputError(
                f"`{self.field}` is a range without a step, which a grid does not support. Give a step or choices, or "
                "use --sampler tpe."
            )
        count = int((self.high - self.low) / step + 1e-9) + 1
        values = [self.low + number * step for number in range(count)]
        return [int(value) for value in values] if self.is_int else values

    def described(self) -> str:
        """Return the range or the choices in words."""
        if self.choices:
            return " | ".join(str(label).lower() if label is None else str(label) for label in self.labels)
        kind = ", logarithmic" if self.log else ""
        step = f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{kind}{step}"


@dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
        name: of the file.
        title: first line of the file.
        parameters: what is searched, in the order of the file.
    """

    name: str
    title: str
    parameters: tuple[Parameter, ...]

    def values(self, labels: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the recipe for the values of Optuna."""
        return {one.field: one.value(labels[one.field]) for one in self.parameters}


def read_space(given: str | Path) -> Space:
    """Read a space file, or a space of the package by its name.

    Raises:
        InputError: the file is missing or empty, a field is unknown or cannot be searched, or a range or a choice is
            of the wrong type.
    """
    path = find_yaml(given, "space")
    text = path.read_text(encoding="utf-8")
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        raise InputError(f"{path} is empty. Add a field, such as `learning_rate: {{low: 1.0e-4, high: 0.1}}`.")
    values = read_yaml(path, _FORM)
    require(bool(values), f"{path} has no fields. Add one, such as `learning_rate: {{low: 1.0e-4, high: 0.1}}`.")
    first = text.partition("\n")[0]
    title = first.removeprefix("#").strip() if first.startswith("#") else path.stem
    return Space(path.stem, title, tuple(_parameter(path, str(name), one) for name, one in values.items()))


def _parameter(path: Path, field: str, content: Any) -> Parameter:
    require(field in KNOWN, f"{path}: unknown field `{field}`.{advice(field)}")
    require(
        field not in FIXED,
        f"{path}: `{field}` is the same in all trials and cannot be searched. Give it in the recipe or as a flag.",
    )
    where = f"{path}: `{field}`"
    right = isinstance(content, dict) and (not content.keys().isdisjoint(("choices", "low", "high")))
    require(right, f"{where} is {content!r}, but has to be {{low: ..., high: ...}} or {{choices: [...]}}.")
    for key in content:
        known = (*RANGE, CHOICES)
        near = nearest(str(key), known)
        require(key in known, f"{where} has the unknown key `{key}`.{near} Allowed are {', '.join(known)}.")
    if CHOICES in content:
        require(len(content) == 1, f"{where} has choices and a range. Keep one of them.")
        return _with_choices(path, field, content[CHOICES])
    return _with_range(path, field, content)


def _with_choices(path: Path, field: str, choices: Any) -> Parameter:
    where = f"{path}: the choices of `{field}`"
    require(isinstance(choices, list) and bool(choices), f"{where} are {choices!r}, but have to be a list of values.")
    for value in choices:
        check_value(field, value, str(path))
    texts = [json.dumps(value, sort_keys=True) for value in choices]
    twice = next((text for text in texts if texts.count(text) > 1), "")
    require(not twice, f"{where} have {twice} twice. Keep it once.")
    require(len(choices) > 1, f"{where} are one value. Add another one, or give the value in the recipe.")
    return Parameter(field, tuple(choices))


def _with_range(path: Path, field: str, content: Mapping[str, Any]) -> Parameter:
    where = f"{path}: `{field}`"
    for key in ("low", "high"):
        require(key in content, f"{where} has no `{key}`. Give low and high, or choices.")
        value = content[key]
        check_value(field, value, str(path))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        require(number, f"{where} has the {key} {value!r}, which is not a number. Give choices.")
    for key in ("log", "int"):
        value = content.get(key, False)
        require(isinstance(value, bool), f"{where} has {key}: {value!r}, but it has to be true or false.")
    low, high, log, step = content["low"], content["high"], content.get("log", False), content.get("step")
    require(low < high, f"{where} has low {low} and high {high}, but low has to be below high.")
    hint = HINTS[field]
    is_int = bool(content.get("int", float not in (hint, *get_args(hint))))
    whole = all(isinstance(value, int) for value in (low, high))
    require(not is_int or whole, f"{where} has low {low} and high {high}, but int needs whole numbers. Change them.")
    require(not log or low > 0, f"{where} has low {low}, but a logarithmic range has to begin above 0. Change low.")
    if step is not None:
        right = isinstance(step, int | float) and not isinstance(step, bool) and 0 < step <= high - low
        require(right, f"{where} has step {step!r}, but it has to be above 0 and at most high - low.")
        require(not log, f"{where} has a step and log, which do not go together. Keep one.")
        require(not is_int or isinstance(step, int), f"{where} has step {step}, but int needs a whole number.")
        high = low + int((high - low) / step + 1e-9) * step
    return Parameter(field, (), low, high, log, step, is_int)


@dataclass(frozen=True)
class Searched:
    """A recipe with the fields that a search chooses.

    Attributes:
        origin: the recipe as given.
        values: fields of the recipe and the flags.
        space: the fields that are chosen.
    """

    origin: str
    values: dict[str, Any]
    space: Space

    def recipe(self, chosen: Mapping[str, Any] | None = None) -> Recipe:
        """Return the recipe with the chosen fields; without them, that of the base.

        Raises:
            InputError: the fields contradict each other.
        """
        recipe = build_recipe({**self.values, **(chosen or {})}, {}, self.origin)
        _require_own_part(recipe)
        return recipe


def check_space(searched: Searched) -> None:
    """Build the recipe with each choice and each end of a range, before any training.

    Raises:
        InputError: a value contradicts the recipe, or has no effect in it.
    """
    from hf_breakhis.training.crossval import check_recipe

    base = searched.recipe()
    check_recipe(base)
    for parameter in searched.space.parameters:
        for value in parameter.ends():
            try:
                recipe = searched.recipe({parameter.field: value})
                check_recipe(recipe)
            except InputError as error:
                raise InputError(f"Space {searched.space.name}, `{parameter.field}` {value}: {error}") from error
            found = resolved_fields(recipe).get(parameter.field)
            require(
                found == value,
                f"Space {searched.space.name}: `{parameter.field}` has no effect in this recipe. Remove it.",
            )


def _require_own_part(recipe: Recipe) -> None:
    """Refuse a recipe that would select a checkpoint or a learning rate on the test set of a fold."""
    training = recipe.training
    chosen = {
        "load_best_model_at_end": training.load_best_model_at_end,
        "early_stopping_patience": training.early_stopping_patience is not None,
        "scheduler_name: plateau": training.scheduler_name == "plateau",
    }
    name = next((name for name, is_set in chosen.items() if is_set), "")
    require(
        not name or recipe.data.validation_size > 0,
        f"`{name}` would be decided on the test set of each fold. Set `validation_size`, or leave it out.",
    )


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
