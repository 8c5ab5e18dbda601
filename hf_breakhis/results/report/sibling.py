"""The honest sibling: the same recipe with specimens kept apart, which belongs beside every score that leaks."""

import shlex
from pathlib import Path
from typing import Any

from hf_breakhis.files import InputError, read_json
from hf_breakhis.results.record import Record, read_record

FREE = {"split_by", "carry_over", "stratify"}
FLAGS = {"--split_by": "specimen", "--stratify": "true", "--carry_over": "none", "--output_dir": None}


def sibling(record: Record, fields: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the run of the same recipe, stratified and split by specimen, with a new model for each fold.

    Args:
        record: of the run.
        fields: names of the fields that decide a result.

    Returns:
        None where the run itself is such a run, or no specimens are known. Else `run` and `accuracy` of the sibling,
        both None where none has ended, and the `command` that trains it.
    """
    protocol = record.summary["protocol"]
    if _is_honest(protocol) or not record.summary["data"]["num_specimens"]:
        return None
    folder = record.folder.resolve()
    found = next((run for run in _neighbours(folder) if _is_sibling(run, record, fields)), None)
    if found is None:
        return {"run": None, "accuracy": None, "command": _command(record)}
    told = read_json(found / "summary.json")
    accuracy = told["headline"] if "repeats" in told else told["image"]["pooled"]["accuracy"]
    return {"run": found.name, "accuracy": accuracy, "command": _command(record)}


def _neighbours(run: Path) -> list[Path]:
    """Return the runs beside a run, and those of its study, in the order of their names."""
    places = [run.parent, run.with_name(f"{run.name}-audit")]
    return sorted(path.parent for place in places for path in place.glob("*/summary.json") if path.parent != run)


def _is_honest(protocol: dict[str, Any]) -> bool:
    return protocol["split_by"] == "specimen" and protocol["stratify"] and protocol["carry_over"] == "none"


def _is_sibling(run: Path, record: Record, fields: tuple[str, ...]) -> bool:
    try:
        other = read_record(run)
    except InputError:  # a damaged neighbour is nobody's sibling, and its own report says what is wrong
        return False
    protocol = other.summary.get("protocol", {})
    if protocol.get("folds_missing") != [] or other.summary.get("repeats_missing"):
        return False
    if protocol.get("repeats", 1) != record.summary["protocol"].get("repeats", 1):
        return False
    same = all(other.recipe.get(name) == record.recipe.get(name) for name in fields if name not in FREE)
    same_data = other.summary["data"]["manifest_sha256"] == record.summary["data"]["manifest_sha256"]
    return same and _is_honest(protocol) and same_data


def _command(record: Record) -> str:
    """Return the command of the run with the flags that make it the sibling."""
    try:
        words = shlex.split(str(record.environment.get("command", "")))
    except ValueError:  # a command that was written before words were quoted
        words = []
    skip = 2 if words[:2] == ["hf-breakhis", "train"] else 1 if words[:1] == ["train.py"] else 0
    given = _without(words[skip:], {*FLAGS, "--restart"}) if skip else ["RECIPE"]
    flags = [word for flag, value in FLAGS.items() for word in (flag, value or f"{record.folder}-specimen")]
    return shlex.join(["hf-breakhis", "train", *given, *flags])


def _without(words: list[str], flags: set[str]) -> list[str]:
    """Return the words of a command without some flags and their values."""
    kept, dropping = [], False
    for word in words:
        if word.startswith("--"):
            dropping = word.partition("=")[0] in flags
        if not dropping:
            kept.append(word)
        elif not word.startswith("--"):
            dropping = False  # one value a flag
    return kept
