"""Aggregate: from the files of a run to its summary, the only place where its numbers are written."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from hf_breakhis.files import InputError, read_json, write_json
from hf_breakhis.results.predictions import classes_of, gather, known, probabilities_of, read_parts
from hf_breakhis.results.scores.baselines import baselines, read_colors
from hf_breakhis.results.scores.calibration import decide, refusal, reliability
from hf_breakhis.results.scores.images import (
    by_magnification,
    by_tumor_type,
    image_level,
    magnifications_of,
    part_level,
)
from hf_breakhis.results.scores.intervals import choose_groups, describe, groups_by_class
from hf_breakhis.results.scores.leakage import leakage, read_folds
from hf_breakhis.results.scores.paired import mean_scores
from hf_breakhis.results.scores.patients import patient_level
from hf_breakhis.results.scores.repeats import repeat_folders, summarise_repeats
from hf_breakhis.results.scores.thresholds import Rule, parse_rule
from hf_breakhis.results.scores.warnings import headline, warnings

DATA_FIELDS = (
    "source title is_generated names_are_public num_images num_patients num_specimens counts manifest_sha256 warnings "
    "findings"
).split()
PROTOCOL_FIELDS = (
    "split_by num_folds test_size stratify carry_over reserve_size validation_size split_seed seed target"
).split()


def summarise(run: str | Path, rule: Rule | None = None) -> dict[str, Any]:
    """Add up a run: write predictions.csv, decision.json and summary.json, and return the summary.

    Only files of the run are read, and the same files give the same bytes. Of a run with repeats every repeat is
    summarised, and above them stands a summary of their summaries.

    Args:
        run: folder of the run.
        rule: by which the threshold is chosen; None keeps the one that decision.json names, or takes Youden's.

    Raises:
        InputError: no fold has ended, or a file is missing or damaged.
    """
    run = Path(run)
    if not run.is_dir():
        raise InputError(f"No run at {run}. Give the folder that `train` wrote, for example outputs/c3.")
    folders = repeat_folders(run)
    if not folders:
        return _summarise_one(run, rule)
    summaries = {number: _summarise_one(folder, rule) for number, folder in folders.items()}
    means = mean_scores([gather(folder) for folder in folders.values()])
    return _written(run, summarise_repeats(run, int(_field(read_recipe(run), "repeats", run)), summaries, means))


def read_recipe(run: Path) -> dict[str, Any]:
    """Read recipe.yaml of a run.

    Raises:
        InputError: it is missing or no mapping.
    """
    path = run / "recipe.yaml"
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{run} has no recipe.yaml, so it is no run; give the folder that `train` wrote.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML ({str(error).splitlines()[0]}); train again.") from error
    if not isinstance(recipe, dict):
        raise InputError(f"{path} holds no fields; train again.")
    return recipe


def _summarise_one(run: Path, rule: Rule | None) -> dict[str, Any]:
    recipe, data, folds = read_recipe(run), read_json(run / "data.json"), read_folds(run)
    parts = read_parts(run)
    test = gather(run, parts)
    classes = classes_of(test)
    present = [int(fold) for fold in sorted(test["fold"].unique())]
    missing = sorted(set(folds["fold"].tolist()) - set(present))
    groups = choose_groups(test)
    carry_over = _field(recipe, "carry_over", run)
    refused = refusal(test, carry_over)
    if refused is not None and rule is not None:
        raise InputError(f"{run} can have no threshold, so drop --threshold_rule. {refused}")
    decision, temperature = decide(test, refused, rule or _rule_of(run))
    write_json(run / "decision.json", decision)
    selected_on = _selected_on(run, recipe, present)
    protocol = {name: _field(recipe, name, run) for name in PROTOCOL_FIELDS} | {
        "folds_present": present,
        "folds_missing": missing,
        "covers_all_images_once": _covers_once(folds, test),
        "selected_on": selected_on,
        "num_tested": int(test["file_name"].nunique()),
        "never_tested": _never_tested(folds),
    }
    summary: dict[str, Any] = {
        "format": 1,
        "name": run.resolve().name,
        "data": {name: _field(data, name, run / "data.json") for name in DATA_FIELDS},
        "protocol": protocol,
        "classes": classes,
        "positive_class": classes[1] if len(classes) == 2 else None,
        "headline": None,
        "warnings": None,
        "leakage": leakage(folds, test),
        "image": image_level(test),
        "patient": patient_level(test, magnifications_of(test)),
        "by_magnification": by_magnification(test),
        "by_tumor_type": by_tumor_type(test),
        "interval": None,
        "calibration": reliability(test["label"].to_numpy(), probabilities_of(test)) | temperature,
        "decision": decision,
        "baselines": baselines(folds, read_colors(run), present, classes),
        "reserve": part_level(parts["reserve"]),
        "validation": part_level(parts["validation"]),
    }
    pooled = summary["image"]["pooled"]["accuracy"]
    summary["interval"] = describe(groups, groups_by_class(test, groups, classes), pooled["low"] is not None)
    summary["headline"] = {
        "metric": "accuracy",
        **pooled,
        "sd_over_folds": summary["image"]["sd"]["accuracy"],
        "group_level": protocol["split_by"],
        "sentence": headline(summary),
    }
    summary["warnings"] = warnings(summary)
    return _written(run, summary)


def _rule_of(run: Path) -> Rule:
    """Return the rule of an earlier decision, so that a report made again says the same."""
    path = run / "decision.json"
    said = read_json(path) if path.is_file() else {}
    return parse_rule(said["rule"]) if isinstance(said, dict) and isinstance(said.get("rule"), str) else Rule()


def _written(run: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Write the summary and return what a reader of the file will see."""
    return read_json(write_json(run / "summary.json", summary))


def _field(mapping: dict[str, Any], name: str, where: Path) -> Any:
    if name not in mapping:
        raise InputError(f"{where} has no field `{name}`; it was not written by this version. Train again.")
    return mapping[name]


def _selected_on(run: Path, recipe: dict[str, Any], present: list[int]) -> str | None:
    """Return the part by which training chose something, as recipe or folds wrote it down; "test" before others."""
    noted = [recipe.get("selected_on")]
    for fold in present:
        path = run / f"fold-{fold}" / "metrics.json"
        noted += [read_json(path).get("selected_on")] if path.is_file() else []
    return next((part for part in ("test", "validation") if part in noted), None)


def _never_tested(folds: pd.DataFrame) -> list[int] | None:
    """Return how many patients no fold tests, and how many there are; None where patients are unknown."""
    if not known(folds, "patient_id"):
        return None
    every = set(folds["patient_id"])
    return [len(every - set(folds.loc[folds["part"] == "test", "patient_id"])), len(every)]


def _covers_once(folds: pd.DataFrame, test: pd.DataFrame) -> bool:
    """Say whether the test parts hold every image that is not set aside exactly once."""
    offered = set(folds.loc[folds["part"] != "reserve", "file_name"])
    return not test["file_name"].duplicated().any() and set(test["file_name"]) == offered
