"""The honest sibling: the same recipe with specimens kept apart, which belongs beside every score that leaks."""

import shlex
from typing import Any

from hf_breakhis.files import InputError
from hf_breakhis.run import SUMMARY, Run

FREE = {"split_by", "carry_over", "stratify"}
FLAGS = {"--split_by": "specimen", "--stratify": "true", "--carry_over": "none", "--output_dir": None}


def sibling(run: Run, fields: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the run of the same recipe, stratified and split by specimen, with a new model for each fold.

    Args:
        run: of the run.
        fields: names of the fields that decide a result.

    Returns:
        None where the run itself is such a run, or no specimens are known. Else `run` and `accuracy` of the sibling,
        both None where none has ended, and the `command` that trains it.
    """
    protocol = run.summary["protocol"]
    if run.is_imported or _is_honest(protocol) or not run.summary["data"]["num_specimens"]:
        return None
    found = next((other for other in _neighbours(run) if _is_sibling(other, run, fields)), None)
    if found is None:
        return {"run": None, "accuracy": None, "command": _command(run)}
    summary = found.summary
    accuracy = summary["headline"] if "repeats" in summary else summary["image"]["pooled"]["accuracy"]
    return {"run": found.folder.name, "accuracy": accuracy, "command": _command(run)}


def _neighbours(run: Run) -> list[Run]:
    """Return the runs next to a run, and those of its study, in the order of their names."""
    own = run.folder.resolve()
    places = [own.parent, own.with_name(f"{own.name}-audit")]
    return [Run(path.parent) for path in sorted(path for place in places for path in place.glob(f"*/{SUMMARY}"))
            if path.parent != own]  # fmt: skip


def _is_honest(protocol: dict[str, Any]) -> bool:
    result: bool = protocol["split_by"] == "specimen" and protocol["stratify"] and protocol["carry_over"] == "none"
    return result


def _is_sibling(other: Run, run: Run, fields: tuple[str, ...]) -> bool:
    try:
        other.require_unchanged(folds=())
        protocol, recipe = other.summary["protocol"], other.recipe
    except InputError:  # a damaged neighbour is nobody's sibling, and its own report says what is wrong
        return False
    if protocol.get("folds_missing") != [] or other.summary.get("repeats_missing"):
        return False
    if protocol.get("repeats", 1) != run.summary["protocol"].get("repeats", 1):
        return False
    same = all(recipe.get(name) == run.recipe.get(name) for name in fields if name not in FREE)
    same_data = other.summary["data"]["manifest_sha256"] == run.summary["data"]["manifest_sha256"]
    return same and _is_honest(protocol) and same_data


def _command(run: Run) -> str:
    """Return the command of the run with the flags that make it the sibling."""
    try:
        words = shlex.split(str(run.environment.get("command", "")))
    except ValueError:  # a command that was written before words were quoted
        words = []
    skip = 2 if words[:2] == ["hf-breakhis", "train"] else 1 if words[:1] == ["train.py"] else 0
    given = _without(words[skip:], {*FLAGS, "--restart"}) if skip else ["RECIPE"]
    flags = [word for flag, value in FLAGS.items() for word in (flag, value or f"{run.folder}-specimen")]
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
