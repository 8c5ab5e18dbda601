"""Repeats: the whole run again with other split and initial seeds, and how far the scores moved."""

from typing import Any

import numpy as np

from hf_breakhis.files import InputError
from hf_breakhis.results.scores.estimands import Estimand, Estimate
from hf_breakhis.results.scores.intervals import resampling
from hf_breakhis.results.scores.warnings import ONE_SEED, Kind, design, to_json
from hf_breakhis.run import SUMMARY, Run

SCORES = ("accuracy", "balanced_accuracy", "roc_auc")


def summarise_repeats(
    run: Run, planned: int, summaries: dict[int, dict[str, Any]], means: dict[str, Estimate]
) -> dict[str, Any]:
    """Return the summary of the summaries: each repeat's scores, their mean and their spread over seeds.

    Args:
        run: the run above the repeats.
        planned: number of repeats that the recipe asks for.
        summaries: by number of the repeat.
        means: by score, the mean over the repeats with its interval over specimens.
    """
    first = next(iter(summaries.values()))
    if any(summary["classes"] != first["classes"] for summary in summaries.values()):
        raise InputError(f"The repeats of {run.folder} have different classes; they are not of one run.")
    rows = [_row(run, number, summary) for number, summary in summaries.items()]
    names = [*SCORES, "recognition_rate"]
    columns = {name: np.array([np.nan if row[name] is None else row[name] for row in rows]) for name in names}
    mean = {name: float(values.mean()) for name, values in columns.items()}
    sd = {name: float(values.std(ddof=1)) if len(values) > 1 else None for name, values in columns.items()}
    missing = sorted(set(range(planned)) - set(summaries))
    return {
        "format": 1,
        "name": run.folder.resolve().name,
        "data": first["data"],
        "protocol": first["protocol"] | {"split_seed": None, "seed": None, "repeats": planned},
        "classes": first["classes"],
        "positive_class": first["positive_class"],
        "headline": {
            "metric": "accuracy",
            **means["accuracy"],
            "value": mean["accuracy"],
            "sd_over_repeats": sd["accuracy"],
            "group_level": first["protocol"]["split_by"],
            "sentence": _sentence(columns["accuracy"], sd["accuracy"], first, means["accuracy"]),
        },
        "warnings": _warnings(summaries, missing),
        "repeats": rows,
        "repeats_missing": missing,
        "mean": mean,
        "sd": sd,
        "intervals": {name: {key: means[name][key] for key in ("low", "high")} for name in names},
        "interval": first["interval"],
    }


def _row(run: Run, number: int, summary: dict[str, Any]) -> dict[str, Any]:
    pooled, patient = summary["image"]["pooled"], summary["patient"]
    return {
        "repeat": number,
        "split_seed": summary["protocol"]["split_seed"],
        "seed": summary["protocol"]["seed"],
        "summary": (run.repeat(number).folder / SUMMARY).relative_to(run.folder).as_posix(),
        "folds_missing": summary["protocol"]["folds_missing"],
        **{name: pooled[name]["value"] for name in SCORES},
        "recognition_rate": None if patient is None else patient["pooled"]["recognition_rate"]["value"],
        "interval": {"low": pooled["accuracy"]["low"], "high": pooled["accuracy"]["high"]},
    }


def _sentence(accuracy: np.ndarray, sd: float | None, first: dict[str, Any], bounds: Estimate) -> str:
    protocol, interval = first["protocol"], first["interval"]
    share = f"{100 * accuracy.mean():.1f} % of the test images were classified correctly"
    folds = [*protocol["folds_present"], *protocol["folds_missing"]]
    how = design(protocol | {"folds_present": folds, "folds_missing": []})
    if sd is None:
        return f"{share} in {how}, in the one repeat that finished."
    return (
        f"{share} on average over {len(accuracy)} repeats of {how} with different split and training seeds "
        f"({100 * accuracy.min():.1f} to {100 * accuracy.max():.1f} %, standard deviation {100 * sd:.1f} points; "
        f"{_bounds(bounds, interval['group'], interval['estimand'])})."
    )


def _bounds(bounds: Estimate, group: str, estimand: str) -> str:
    if bounds["low"] is None or bounds["high"] is None:
        return "no confidence interval of the mean"
    ends = f"{100 * bounds['low']:.1f} to {100 * bounds['high']:.1f} %"
    about = "the recipe" if estimand == Estimand.RECIPE else "the mean of these trained models"
    return f"95 % confidence interval for {about} {ends}, {resampling(group)}"


def _warnings(summaries: dict[int, dict[str, Any]], missing: list[int]) -> list[dict[str, str]]:
    """Return the warnings of the repeats, each once; one that not all repeats share names its repeat."""
    found: list[tuple[str, str]] = []
    for number, summary in summaries.items():
        for caution in summary["warnings"]:
            if caution["kind"] == Kind.SEEDS:
                continue  # the repeats are the other seeds
            shared = all(caution in other["warnings"] for other in summaries.values())
            prefix = "" if shared else f"Repeat {number}: "
            found.append((caution["kind"], prefix + caution["text"]))
    if missing:
        which = "Repeat" if len(missing) == 1 else "Repeats"
        numbers = ", ".join(map(str, missing))
        found.append((Kind.INCOMPLETE, f"{which} {numbers} did not finish and are excluded from these numbers."))
    unique = [{"kind": kind, "text": text} for kind, text in dict.fromkeys(found)]
    return [*unique, *to_json([ONE_SEED])] if len(summaries) == 1 else unique
