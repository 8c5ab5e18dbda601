"""A run folder as the report reads it: the summary, the recipe and what each fold left."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from hf_breakhis.files import InputError, read_json


@dataclass(frozen=True)
class Record:
    """What a report tells about one run.

    Attributes:
        folder: the run folder.
        summary: summary.json; every score in a report comes from here.
        recipe: recipe.yaml without its environment.
        environment: versions, commit, command line and hardware of the run.
        histories: fold -> history.csv, one row an epoch; folds without one are absent.
        examples: fold -> fold-i/examples/index.json.
        data: data.json, empty when absent.
        cost: cost.json, empty when absent.
        audit: audit.json, empty when absent.
    """

    folder: Path
    summary: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    histories: dict[int, pd.DataFrame] = field(default_factory=dict)
    examples: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)


def read_record(folder: str | Path) -> Record:
    """Read a run folder; only summary.json has to be there.

    Raises:
        InputError: there is no summary, or a file of the run cannot be read.
    """
    folder = Path(folder)
    if not (folder / "summary.json").is_file():
        raise InputError(
            f"{folder} has no summary.json; `hf-breakhis report {folder}` writes it, once a fold has ended."
        )
    summary = read_json(folder / "summary.json")
    recipe = _read_recipe(folder / "recipe.yaml")
    environment = recipe.pop("environment", None) or {}
    histories, examples = {}, {}
    for fold in summary.get("protocol", {}).get("folds_present", []):
        history, index = folder / f"fold-{fold}" / "history.csv", folder / f"fold-{fold}" / "examples" / "index.json"
        if history.is_file():
            histories[fold] = _read_history(history)
        if index.is_file():
            examples[fold] = read_json(index)
    paths = (folder / f"{name}.json" for name in ("data", "cost", "audit"))
    data, cost, audit = (read_json(path) if path.is_file() else {} for path in paths)
    return Record(folder, summary, recipe, environment, histories, examples, data, cost, audit)


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{path} is not YAML ({first}). Take the recipe of the run, or train again.") from error
    if not isinstance(recipe, dict):
        raise InputError(f"{path} holds no fields. Take the recipe of the run, or train again.")
    return recipe


def _read_history(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a table ({error}). Delete it, or train the fold again.") from error
