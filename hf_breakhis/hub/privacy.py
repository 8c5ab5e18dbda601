"""What must not be published: names of patients and files that are not public, places of this machine, tokens."""

import random
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml
from huggingface_hub import get_token

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import InputError, few, read_json, write_csv, write_json, write_text
from hf_breakhis.inference.model import Weights
from hf_breakhis.run import COST, DATA, DECISION, FINISHED, FOLD_PREFIX, FOLDS, HISTORY, RECIPE, SUMMARY, Run

NAMES = "published_names.json"
RENAMED = (
    "Patients, specimens and images have random names here, and no image is published, because the source is not "
    "known to be public."
)
_NOUNS = {"file_name": "image", "patient_id": "patient", "specimen_id": "specimen"}
_TEXTS = (".json", ".yaml", ".csv", ".md", ".txt", ".py", ".html", ".js", ".svg")
_HOMES = re.compile(r"(?<![\w.])(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)[^\s/\\\"'`<>,;:)\]}]+")
_TOKEN = re.compile(r"hf_(?!breakhis\b)[A-Za-z0-9]{8,}")


def are_names_public(run: Run) -> bool:
    """Return whether anybody can know the names of a run's patients and files."""
    return source_of(run.data).names_are_public


@contextmanager
def publishable(weights: Weights) -> Iterator[Weights]:
    """Yield weights whose run may be published.

    If the names of the run are public, these are the weights as they are. Otherwise their run is a temporary copy of
    the records, with random names instead of the names of patients, specimens and images. The table of names is
    written to the run once, so that every publication uses the same names. It is never published.

    Args:
        weights: of a finished and scored run.

    Raises:
        InputError: a record of the run, or the table of names, is damaged.
    """
    if weights.run is None or are_names_public(weights.run):
        yield weights
        return
    with TemporaryDirectory() as folder:
        _write_renamed(weights.run, Path(folder))
        yield replace(weights, run=Run(Path(folder)))


def _write_renamed(run: Run, folder: Path) -> None:
    folds = run.read_folds()
    names = _random_names(run.folder / NAMES, folds)
    shutil.copytree(run.folder, folder, ignore=_only_records, dirs_exist_ok=True)
    for column in _NOUNS:
        folds[column] = [names[column][name] if name else "" for name in folds[column]]
    # The order of the rows would tell the order of the names.
    write_csv(folder / FOLDS, folds.sort_values(["fold", "file_name"]))
    write_json(folder / DATA, _rename_data(run.data, names))
    write_json(folder / SUMMARY, _rename_summary(run.summary, names))
    recipe = run.recipe | {"environment": run.environment}
    if recipe.get("test_patients"):
        recipe["test_patients"] = sorted(names["patient_id"].get(name, "unknown") for name in recipe["test_patients"])
    write_text(folder / RECIPE, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=1000))


def _only_records(_folder: str, names: list[str]) -> set[str]:
    """Leave out weights, predictions, pictures and figures; figures are drawn again."""
    kept = {SUMMARY, DECISION, COST, FINISHED, HISTORY}
    return {name for name in names if name not in kept and not name.startswith(FOLD_PREFIX)}


def _random_names(path: Path, folds: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Read the table of names, add the names that it lacks, and write it.

    Raises:
        InputError: the file is not such a table.
    """
    names: Any = read_json(path) if path.is_file() else {column: {} for column in _NOUNS}
    tables = [names.get(column) for column in _NOUNS] if isinstance(names, dict) else [None]
    if not all(isinstance(table, dict) and len(set(map(str, table.values()))) == len(table) for table in tables):
        raise InputError(f"{path} is damaged. Delete it; the next publication uses other names.")
    new_names = False
    for column, noun in _NOUNS.items():
        table = names[column]
        new = sorted(set(folds[column]) - {""} - set(table))
        random.SystemRandom().shuffle(new)
        width = max(3, len(str(len(table) + len(new))))
        new_names = new_names or bool(new)
        table |= {name: f"{noun}-{number:0{width}d}" for number, name in enumerate(new, len(table) + 1)}
    if new_names:  # a run that is finished and read-only is published again
        write_json(path, names)
    result: dict[str, dict[str, str]] = names
    return result


def _rename_data(data: dict[str, Any], names: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return data.json, or the part of summary.json about the data, without names."""
    counts = data.get("counts") or {}
    patients = {names["patient_id"].get(name, name): count for name, count in (counts.get("patient") or {}).items()}
    return data | {
        "location": None,
        # Findings name files, also files that are in no table.
        "findings": [],
        "warnings": [_rename_text(text, names) for text in data.get("warnings") or []],
        "counts": counts | {"patient": dict(sorted(patients.items()))},
        "renamed": RENAMED,
    }


def _rename_summary(summary: dict[str, Any], names: dict[str, dict[str, str]]) -> dict[str, Any]:
    renamed = summary | {
        "data": _rename_data(summary["data"], names),
        "warnings": [
            {"kind": "data", "text": RENAMED},
            *(caution | {"text": _rename_text(caution["text"], names)} for caution in summary["warnings"]),
        ],
    }
    if summary.get("patient"):
        rows = [
            row | {column: names[column].get(str(row[column]), row[column]) for column in _NOUNS if row.get(column)}
            for row in summary["patient"].get("table") or []
        ]
        renamed["patient"] = summary["patient"] | {"table": sorted(rows, key=lambda row: str(row["patient_id"]))}
    return renamed


def _rename_text(text: str, names: dict[str, dict[str, str]]) -> str:
    """Replace names in a sentence, the longest first, where they are whole words."""
    every = {name: new for table in names.values() for name, new in table.items()}
    found = sorted((name for name in every if name in text), key=len, reverse=True)
    if not found:
        return text
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in found)
    return re.sub(pattern, lambda match: every[match[0]], text)


def require_impersonal(folder: Path, run: Run) -> None:
    """Refuse to publish paths of this machine, home directories, and whatever looks like a token.

    Args:
        folder: what is to be published.
        run: the run it was made from.

    Raises:
        InputError: names the file and what is in it.
    """
    places = {
        str(run.folder.resolve()),
        str(Path.cwd()),
        str(Path.home()),
        str(run.data["location"] if run.exists else None),
    }
    places = {place for place in places if Path(place).is_absolute() and len(Path(place).parts) > 1}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _TEXTS:
            continue
        if found := _personal(path.read_text(encoding="utf-8"), places):
            raise InputError(
                f"{path.name} contains private information: {few(found)}. Train from relative paths, or remove "
                "it from the files of the run."
            )


def _personal(text: str, places: Iterable[str]) -> list[str]:
    """Return the places in a text, and "a token" for each word that is or resembles one."""
    found = [place for place in sorted(places) if re.search(rf"(?<![\w.]){re.escape(place)}(?![\w.-])", text)]
    found += sorted(set(_HOMES.findall(text)) - set(found))
    own = get_token()
    return found + ["a token"] * bool((own and own in text) or _TOKEN.search(text))
