"""Aggregate: from the files of a run to its summary, the only place where its numbers are written."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

import pandas as pd

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import InputError, as_folder, json_text
from hf_breakhis.results.absent import REASON, has_classes_only, without_probabilities
from hf_breakhis.results.evaluated import TOO_FEW, cross_fitting_parts, describe_evaluation, how_refitted
from hf_breakhis.results.predictions import classes_of, gather, known, read_parts
from hf_breakhis.results.scores.baselines import baseline_scores
from hf_breakhis.results.scores.calibration import decide, describe_calibration, refusal
from hf_breakhis.results.scores.clustering import describe_clustering
from hf_breakhis.results.scores.conformal import ERROR, describe_zones
from hf_breakhis.results.scores.decisions import UNITS, describe_decisions, thresholds_of_cases, why_no_decisions
from hf_breakhis.results.scores.estimands import Estimand, estimand_of
from hf_breakhis.results.scores.intervals import choose_groups, describe_intervals, groups_by_class
from hf_breakhis.results.scores.leakage import leakage
from hf_breakhis.results.scores.levels import (
    by_magnification,
    by_tumor_type,
    image_level,
    part_level,
    patient_level,
    tested_magnifications,
)
from hf_breakhis.results.scores.members import describe_members, describe_repeats
from hf_breakhis.results.scores.paired import mean_scores
from hf_breakhis.results.scores.repeats import summarise_repeats
from hf_breakhis.results.scores.thresholds import STATED, Rule, parse_rule
from hf_breakhis.results.scores.warnings import headline, to_json, warnings
from hf_breakhis.run import COLORS, DECISION, FIGURES, REPORT, SUMMARY, Run
from hf_breakhis.run_fields import PARAMETERS

DATA_FIELDS = (
    "source title is_generated names_are_public num_images num_patients num_specimens counts manifest_sha256 warnings "
    "findings"
).split()
PROTOCOL_FIELDS = (
    "split_by num_folds test_size stratify carry_over reserve_size validation_size split_seed seed target"
).split()


@dataclass(frozen=True)
class Choices:
    """What a user chooses about decisions; None keeps what decision.json has, or uses the default.

    Attributes:
        rule: by which thresholds are chosen (default: Youden's).
        prevalences: shares of malignant cases for which errors per 1,000 are stated (default: STATED).
        error: the guarantee of zones: the largest share of a class in the wrong zone (default: ERROR).
    """

    rule: Rule | None = None
    prevalences: tuple[float, ...] | None = None
    error: float | None = None


def summarise(run: str | os.PathLike[str], choices: Choices | None = None) -> dict[str, Any]:
    """Add up a run: write predictions.csv, decision.json and summary.json, and return the summary.

    Only files of the run are read, and the same files give the same bytes. Of a run with repeats every repeat is
    summarised, and then the summaries are summarised.

    Args:
        run: folder of the run.
        choices: about decisions; by default all as in decision.json.

    Raises:
        InputError: no fold has ended, or a file is missing or damaged.
    """
    above = Run(as_folder(run))
    if not above.folder.is_dir():
        raise InputError(f"No run at {above.folder}. Give the folder that `train` wrote, for example outputs/c3.")
    choices = choices or Choices()
    summary = _summarise(above, choices)
    _summarised[above.folder.resolve()] = _state(above.folder)
    return summary


def summary_of(run: str | Path) -> dict[str, Any]:
    """Return the summary of a run, which is computed unless this process has done so and no file has changed since.

    Raises:
        InputError: no fold has ended, or a file is missing or damaged.
    """
    folder = Path(run)
    place = folder.resolve()
    if place in _summarised and _summarised[place] == _state(folder):
        return Run(folder).summary
    return summarise(folder)


_summarised: dict[Path, int] = {}  # by folder of a run, the state of its files after it was last summarised


def _state(run: Path) -> int:
    """Return a hash of the files of a run without its report and figures, which follow from the others."""
    found = set()
    for path in run.rglob("*"):
        with suppress(FileNotFoundError):  # a temporary file of another process
            one = path.stat()
            if S_ISREG(one.st_mode) and path.name != REPORT and path.parent.name != FIGURES:
                found.add((path.relative_to(run), one.st_size, one.st_mtime_ns, one.st_ctime_ns))
    return hash(frozenset(found))


def _summarise(above: Run, choices: Choices) -> dict[str, Any]:
    repeats = above.repeats()
    if not repeats:
        return _summarise_one(above, choices)
    summaries = {number: _summarise_one(one, choices) for number, one in repeats.items()}
    about = Estimand(next(iter(summaries.values()))["interval"]["estimand"])
    tests = [gather(one) for one in repeats.values()]
    means = mean_scores(tests, about)
    found = summarise_repeats(above, int(above.field("repeats")), summaries, means)
    each = [summary["members"] for summary in summaries.values() if "members" in summary]
    if each:
        found["members"] = describe_repeats(list(zip(repeats.values(), tests, strict=True)), each)
    return _written(above, found)


def _summarise_one(run: Run, choices: Choices) -> dict[str, Any]:
    recipe, data, folds = run.recipe, run.data, run.read_folds()
    parts = read_parts(run)
    test = gather(run, parts)
    classes = classes_of(test)
    present = [int(fold) for fold in sorted(test["fold"].unique())]
    missing = sorted(set(folds["fold"].tolist()) - set(present))
    groups = choose_groups(test)
    has_colors = (run.folder / COLORS).exists() if run.is_imported else data.get("has_files", True)
    colors = run.read_colors() if has_colors else None
    carry_over = run.field("carry_over")
    fitted, group = cross_fitting_parts(test) if run.is_evaluated else (test, "fold")
    refused = REASON if has_classes_only(recipe) else refusal(fitted, carry_over)
    if run.is_evaluated and refused is not None:
        refused = TOO_FEW.format(group=group)
    if refused is not None and choices != Choices():
        options = zip(("--threshold_rule", "--prevalences", "--guarantee"), vars(choices).values(), strict=True)
        given = " and ".join(name for name, value in options if value is not None)
        raise InputError(f"{run.folder} can have no threshold, so drop {given}. {refused}")
    selected_on = _selected_on(run, recipe, present)
    protocol = {name: run.field(name) for name in PROTOCOL_FIELDS} | {
        "folds_present": present,
        "folds_missing": missing,
        "covers_all_images_once": _covers_once(folds, test),
        "selected_on": selected_on,
        "num_tested": int(test["file_name"].nunique()),
        "never_tested": _never_tested(folds),
    }
    metrics = run.fold(present[0]).read_metrics()
    protocol |= {name: metrics[name] for name in PARAMETERS if name in metrics}
    estimand = estimand_of(protocol, groups.level)
    about = estimand[0]
    how = {"how": how_refitted(group)} if run.is_evaluated else {}
    rule = choices.rule or _rule_of(run)
    decision, temperature = decide(fitted, refused, rule, about, **how)
    decisions = _decisions(run, fitted, decision, rule, choices, about)
    run.write(DECISION, json_text(decision))
    summary: dict[str, Any] = {
        "format": 1,
        "name": run.folder.resolve().name,
        "data": {name: data[name] for name in DATA_FIELDS},
        "protocol": protocol,
        "classes": classes,
        "positive_class": classes[1] if len(classes) == 2 else None,
        "headline": None,
        "warnings": None,
        "leakage": leakage(folds, test),
        "image": image_level(test, about),
        "patient": patient_level(test, tested_magnifications(test), about),
        "by_magnification": by_magnification(test, about),
        "by_tumor_type": by_tumor_type(test, about),
        "interval": None,
        "calibration": describe_calibration(test, about) | temperature,
        "decision": decision,
        "decisions": decisions,
        "baselines": _baselines(run, folds, colors, test, present, classes),
        "reserve": part_level(parts["reserve"]),
        "validation": part_level(parts["validation"]),
    }
    members = describe_members(run, test)
    if members is not None:
        summary["members"] = members
    if run.is_imported:
        protocol["imported"] = True
    if run.is_evaluated:
        protocol["evaluated"] = run.evaluation["model"]["name"]
        summary["evaluation"] = describe_evaluation(run, test, summary, decision, about)
    if has_classes_only(recipe):
        summary = without_probabilities(summary)
    pooled = summary["image"]["pooled"]["accuracy"]
    by_class, bounded = groups_by_class(test, groups, classes), pooled["low"] is not None
    right = (test["label"] == test["predicted"]).to_numpy()
    clustering = describe_clustering(right, groups.codes) if groups.level != "image" else {}
    summary["interval"] = describe_intervals(groups, by_class, bounded, estimand=estimand) | clustering
    summary["headline"] = {
        "metric": "accuracy",
        **pooled,
        "sd_over_folds": summary["image"]["sd"]["accuracy"],
        "group_level": protocol["split_by"],
        "sentence": headline(summary),
    }
    summary["warnings"] = to_json(warnings(summary))
    return _written(run, summary)


def _last_decision(run: Run, choices: Choices) -> dict[str, Any]:
    """Return decision.json, whose choices are kept; a rule that the user names replaces a damaged file."""
    if not (run.folder / DECISION).exists():
        return {}
    try:
        return run.decision
    except InputError:
        if choices.rule is None:
            raise
        return {}


def _decisions(
    run: Run, test: pd.DataFrame, decision: dict[str, Any], rule: Rule, choices: Choices, about: Estimand
) -> dict[str, Any]:
    """Return what decisions are worth, and add to `decision` what `predict` needs of them."""
    kept = _last_decision(run, choices)
    prevalences = choices.prevalences or tuple(kept.get("prevalences") or STATED)
    decisions = describe_decisions(test, decision, rule, prevalences, about) | {"zones": None}
    if decision["threshold"] is None:
        return decisions
    error = choices.error or (kept.get("zones") or {}).get("error") or ERROR
    zones = describe_zones(test, decision, error, run.is_evaluated)
    if zones["reason"] is not None and choices.error is not None:
        raise InputError(f"{run.folder} cannot have zones with this --guarantee. {zones['reason']}")
    units = [unit for unit in UNITS if why_no_decisions(test, unit) is None]
    thresholds = {unit: thresholds_of_cases(test, decision, rule, unit) for unit in units}
    decision |= {"prevalences": list(prevalences), "by_unit": thresholds, "zones": zones}
    return decisions | {"zones": zones}


def _baselines(
    run: Run,
    folds: pd.DataFrame,
    colors: pd.DataFrame | None,
    test: pd.DataFrame,
    present: list[int],
    classes: list[str],
) -> dict[str, Any]:
    """Score the baselines; without training images there is no majority class."""
    has_labels = run.is_evaluated or source_of(run.data).has_breakhis_names
    if run.is_imported and not (has_labels and (folds["part"] == "train").any()):
        return {"majority": None, "mean_color": None}
    return baseline_scores(folds, colors, test, present, classes)


def _rule_of(run: Run) -> Rule:
    """Return the rule of an earlier decision, so that a report made again says the same."""
    if not (run.folder / DECISION).exists():
        locked = run.evaluation["decision"]["rule"] if run.is_evaluated else None
        return Rule() if locked is None else parse_rule(locked)
    rule = run.decision["rule"]
    return Rule() if rule is None else parse_rule(rule)


def _written(run: Run, summary: dict[str, Any]) -> dict[str, Any]:
    """Write the summary and return what a reader of the file will see."""
    run.write(SUMMARY, json_text(summary))
    return Run(run.folder).summary


def _selected_on(run: Run, recipe: dict[str, Any], present: list[int]) -> str | None:
    """Return the part by which training chose something, as recipe or folds wrote it down; "test" before others."""
    noted = [recipe.get("selected_on"), *(run.fold(fold).read_metrics()["selected_on"] for fold in present)]
    return next((part for part in ("test", "validation") if part in noted), None)


def _never_tested(folds: pd.DataFrame) -> list[int] | None:
    """Return how many patients no fold tests, and how many there are; None where patients are unknown."""
    if not known(folds, "patient_id"):
        return None
    every = set(folds["patient_id"])
    return [len(every - set(folds.loc[folds["part"] == "test", "patient_id"])), len(every)]


def _covers_once(folds: pd.DataFrame, test: pd.DataFrame) -> bool:
    """Say whether the test sets hold every image that is not set aside exactly once."""
    offered = set(folds.loc[folds["part"] != "reserve", "file_name"])
    return not test["file_name"].duplicated().any() and set(test["file_name"]) == offered
