"""Read a study: a base recipe, and named rows that each change some of its fields."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_breakhis.arguments import require
from hf_breakhis.files import InputError, nearest
from hf_breakhis.recipe import KNOWN, Recipe, advice, build_recipe, check_value, load_recipe, resolved_fields
from hf_breakhis.yaml_files import find_yaml, other_kind, read_yaml

BASE = "base"
KEYS = ("base", "score", "fields", "rows", "grid", "may_change")
TIMES, REFERENCE = "times", "reference"  # keys of a row that are no fields
SCORES = ("accuracy", "balanced_accuracy", "roc_auc", "recognition_rate")
# Fields that are the same in all rows, so that every row is trained and tested on the same images with the same seeds.
SAME = frozenset(
    """
    dataset data_dir features allow_missing dataset_revision twin_kwargs target magnifications tumor_types
    test_magnifications
    positive_class split_by num_folds test_size test_patients repeats reserve_size stratify split_seed fold seed
    data_seed carry_over output_dir restart
    """.split()
)
SPLIT_FIELDS = ("split_by", "stratify", "carry_over")  # those of `SAME` that `may_change` can name
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,60}")
_FORM = "a study is YAML like studies/wishes.yaml"


@dataclass(frozen=True)
class Row:
    """One row of a study.

    Attributes:
        name: of the row and of the folder of its run.
        recipe: of its run.
        changes: the fields in which it differs from the base.
        reference: name of the row that it is compared with; None if it is compared with none.
    """

    name: str
    recipe: Recipe
    changes: dict[str, Any]
    reference: str | None


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        name: of the file.
        title: first line of the file.
        base: the base recipe as given, a file or a name.
        score: the score that the verdicts are about, one of `SCORES`.
        folder: of the study; each row has a folder in it.
        rows: by name, the base first.
        may_change: fields of the split that rows may change.
    """

    name: str
    title: str
    base: str
    score: str
    folder: Path
    rows: dict[str, Row]
    may_change: tuple[str, ...]

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe of the base."""
        return self.rows[BASE].recipe


def read_study(given: str | Path, flags: Mapping[str, Any], base: str | None = None) -> Study:
    """Read a study file, or a study of the package by its name, and build the recipe of each row.

    Args:
        given: path or name.
        flags: fields that override those of the base; the changes of a row override both.
        base: recipe in place of the study's own.

    Raises:
        InputError: the file is missing, or a key, field or value cannot be used; rows contradict each other.
    """
    path = find_yaml(given, "study")
    values = read_yaml(path, _FORM)
    for key in values:
        hint = other_kind(path, values, "study") or f"{nearest(str(key), KEYS)} Allowed are {', '.join(KEYS)}."
        require(key in KEYS, f"{path}: unknown key `{key}`.{hint}")
    may_change = _may_change(path, values.get("may_change") or [])
    score = values.get("score", "accuracy")
    unknown = f"{path}: `score` is {score}, but has to be one of {', '.join(SCORES)}.{nearest(str(score), SCORES)}"
    require(score in SCORES, unknown)
    given_base = base or values.get("base")
    require(isinstance(given_base, str), f"{path} has no base recipe. Add `base: c3_tuned`, or another recipe.")
    own = _mapping(path, "fields", values.get("fields"))
    _known_fields(path, "fields", own)
    for name in may_change:
        fixed = f"`{name}` is set by the study {path.stem}. Leave it out of the command."
        require(name not in flags or name not in own, fixed)
    beside = path.parent / str(given_base)
    source = str(beside if base is None and beside.is_file() else given_base)
    folder = Path(str(flags.get("output_dir", f"outputs/{path.stem}")))
    above = {**load_recipe(source), "output_dir": str(folder / BASE), **own}
    shared = {name: value for name, value in flags.items() if name != "output_dir"}
    recipe = build_recipe(above, shared, source)
    require(recipe.data.fold == "all", f"`fold` is {recipe.data.fold}, but a study needs all folds. Set fold to all.")
    changes = _rows(path, values)
    rows = {BASE: Row(BASE, recipe, {}, None)}
    for name, change in changes.items():
        reference = change.pop(REFERENCE, BASE)
        known = reference == BASE or reference in changes
        unknown = f"{path}: row {name} is compared with {reference}, which is not a row."
        require(known, f"{unknown}{nearest(str(reference), list(changes))}")
        changed = _multiplied(path, name, change, recipe)
        _check_changes(path, name, changed, may_change)
        merged = {**above, **shared, "output_dir": str(folder / name)}
        where = f"{path}: row {name}"
        try:
            one = build_recipe(merged, changed, where)
        except InputError as error:  # fields that contradict each other do not name the row
            raise InputError(str(error) if where in str(error) else f"{where}: {error}") from error
        rows[name] = Row(name, one, changed, reference)
    pushed = "`push_to_hub` has no effect in a study. Leave it out, and publish the run of a row."
    require(not any(row.recipe.training.push_to_hub for row in rows.values()), pushed)
    rows = _without_base(path, rows, set(_mapping(path, "rows", values.get("rows"))))
    require(len(rows) > 1, f"{path} has no rows, so there is nothing to compare. Add rows, each with its changes.")
    return Study(path.stem, _title(path), source, str(score), folder, rows, may_change)


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else path.stem


def _mapping(path: Path, key: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    require(isinstance(value, dict), f"{path}: `{key}` is {value!r}, but has to be lines of `name: value`.")
    return {str(name): content for name, content in value.items()}


def _may_change(path: Path, names: Any) -> tuple[str, ...]:
    right = isinstance(names, list) and all(name in SPLIT_FIELDS for name in names)
    require(right, f"{path}: `may_change` is {names}, but has to be a list of {', '.join(SPLIT_FIELDS)}.")
    return tuple(names)


def _known_fields(path: Path, where: str, fields: Mapping[str, Any]) -> None:
    for field in fields:
        require(field in KNOWN, f"{path}: {where} has the unknown field `{field}`.{advice(field)}")


def _rows(path: Path, values: dict[Any, Any]) -> dict[str, dict[str, Any]]:
    """Return the changes of each row, those of the cells of the grid last."""
    rows = {
        name: _mapping(path, name, content) for name, content in _mapping(path, "rows", values.get("rows")).items()
    }
    axes = [
        [(level, _mapping(path, level, content)) for level, content in _mapping(path, axis, levels).items()]
        for axis, levels in _mapping(path, "grid", values.get("grid")).items()
    ]
    for cell in itertools.product(*axes) if axes else ():
        name = "-".join(level for level, _ in cell)
        require(name not in rows, f"{path}: row {name} is also a cell of the grid. Rename the row.")
        fields = [field for _, content in cell for field in content]
        twice = next((field for field in fields if fields.count(field) > 1), "")
        require(not twice, f"{path}: two axes of the grid change `{twice}`. Keep it in one.")
        rows[name] = {field: value for _, content in cell for field, value in content.items()}
    for name in rows:
        allowed = "letters, digits and . _ + -, and cannot be base, figures or logs"
        right = bool(_NAME.fullmatch(name)) and name not in (BASE, "figures", "logs")
        require(right, f"{path}: a row is named {name!r}, but a name has to consist of {allowed}.")
    return rows


def _multiplied(path: Path, row: str, change: dict[str, Any], base: Recipe) -> dict[str, Any]:
    """Return the changes with each field of `times` as the value of the base times its factor."""
    factors = _mapping(path, TIMES, change.pop(TIMES, None))
    _known_fields(path, f"row {row}", factors)
    found = dict(change)
    fields = resolved_fields(base)
    for field, factor in factors.items():
        before = fields.get(field)
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (before, factor))
        what = f"{path}: row {row} multiplies `{field}` ({before!r}) by {factor!r}"
        require(numbers, f"{what}, but both have to be numbers.")
        require(field not in change, f"{what} and gives it a value too. Keep one.")
        found[field] = round(before * factor) if isinstance(before, int) else before * factor
    return found


def _check_changes(path: Path, row: str, changes: dict[str, Any], may_change: tuple[str, ...]) -> None:
    _known_fields(path, f"row {row}", changes)
    for field, value in changes.items():
        fixed = field in SAME and field not in may_change
        why = "which has to be the same in all rows"
        require(
            not fixed, f"{path}: row {row} changes `{field}`, {why}. Give it under `fields` or on the command line."
        )
        check_value(field, value, f"{path}: row {row}")


def _without_base(path: Path, rows: dict[str, Row], named: set[str]) -> dict[str, Row]:
    """Leave out the cell of a grid that is the base; refuse other rows that are equal.

    Raises:
        InputError: a row changes nothing, or two rows are the same.
    """
    kept: dict[str, tuple[Row, dict[str, Any]]] = {}
    for name, row in rows.items():
        fields = {field: value for field, value in resolved_fields(row.recipe).items() if field != "output_dir"}
        same = next((other for other, (_, own) in kept.items() if own == fields), None)
        if same == BASE and name not in named:
            continue
        if same is not None:
            what = "changes nothing of the base" if same == BASE else f"is the same as row {same}"
            raise InputError(f"{path}: row {name} {what}. Change another value, or remove the row.")
        kept[name] = row, fields
    return {name: row for name, (row, _) in kept.items()}
