"""What simulated shifts do to the scores of a run: AUC, decisions, calibration and zones, next to no shift."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hf_breakhis.data.pixels.shifts import SHIFTS
from hf_breakhis.files import checksum
from hf_breakhis.results.formatting import RESEARCH_ONLY, interval, percent, score, signed
from hf_breakhis.results.predictions import probabilities_of
from hf_breakhis.results.scores.calibration import reliability_bins
from hf_breakhis.results.scores.conformal import place_cases, shares_in_zones
from hf_breakhis.results.scores.decisions import image_cases, unit_of
from hf_breakhis.results.scores.estimands import Estimand
from hf_breakhis.results.scores.intervals import choose_groups, intervals
from hf_breakhis.results.scores.resampling import ResampleWeights, image_scores, images_of
from hf_breakhis.run import PREDICTIONS, Run
from hf_breakhis.run import SHIFTS as SHIFTS_FILE
from hf_breakhis.tables import read_mapping
from hf_breakhis.text import text_table

MEASURED = ("roc_auc", "sensitivity", "specificity", "balanced_accuracy")
AGGREGATION = "mean"


def describe_shifts(run: Run, plain: pd.DataFrame, tables: Mapping[tuple[str, int], pd.DataFrame]) -> dict[str, Any]:
    """Return the content of shifts.json.

    Args:
        run: with its summary.
        plain: test predictions without a shift.
        tables: the same rows under each shift and strength.

    Returns:
        `plain` and `rows`, each with `scores` (AUC as mean of the folds, the others at the cross-fitted thresholds,
        or for the most probable class where there are none), `flipped` (share of the images whose decision differs
        from that without a shift), `ece` and `zones`; rows also with `difference` (score less that without a shift,
        on the same images) and the shift in words.
    """
    estimand = Estimand(run.summary["interval"]["estimand"])
    decision = run.summary["decision"]
    decided = decision if decision.get("cross_fitted") else None
    zones = run.summary["decisions"]["zones"] if decided else None
    error = zones["error"] if zones and zones["cross_fitted"] else None
    first = _judged(plain, decided)
    base = _zones(plain, plain, decided, error)
    rows = []
    for (name, strength), table in tables.items():
        shift = SHIFTS[name]
        row = {
            "shift": name,
            "strength": strength,
            "amount": shift.amount(strength),
            "words": shift.describe(strength),
        }
        rows.append(row | _describe(_judged(table, decided), first, estimand) | {
            "zones": _moved(_zones(plain, table, decided, error), base)
        })  # fmt: skip
    return {
        "format": 1,
        "predictions_sha256": checksum(run.folder / PREDICTIONS),
        "thresholds": "cross-fitted" if decided else "most probable class",
        "unit": unit_of(plain)[0],
        "group": choose_groups(plain).level,
        "estimand": str(estimand),
        "error": error,
        "plain": _describe(first, None, estimand) | {"zones": _moved(base, base)},
        "rows": rows,
    }


def _judged(table: pd.DataFrame, decided: Mapping[str, Any] | None) -> pd.DataFrame:
    """Return predictions with calibrated probabilities and the decision at the threshold, as far as there are any."""
    if decided is None:
        return table
    cases = image_cases(table, decided)
    first, second = [name for name in table.columns if str(name).startswith("prob_")]
    result: pd.DataFrame = table.assign(**{first: 1 - cases.score, second: cases.score}, predicted=cases.chosen)
    return result


def _describe(table: pd.DataFrame, first: pd.DataFrame | None, estimand: Estimand) -> dict[str, Any]:
    images = images_of(table)
    scores_of = image_scores(images)
    options: dict[str, Any] = {"classes": images.group_classes, "estimand": estimand}

    def own(weights: ResampleWeights) -> dict[str, np.ndarray]:
        found = scores_of(weights)
        return {name: found[name] for name in MEASURED}

    found: dict[str, Any] = {
        "scores": intervals(own, images.num_groups, **options),
        "ece": reliability_bins(images.labels, probabilities_of(table))["ece"],
    }
    if first is None:
        return found
    before = image_scores(images_of(first))
    differs = (table["predicted"] != first["predicted"]).to_numpy()
    counts = np.bincount(images.groups, minlength=images.num_groups)
    flips = np.bincount(images.groups, weights=differs, minlength=images.num_groups)

    def change(weights: ResampleWeights) -> dict[str, np.ndarray]:
        ours, theirs = scores_of(weights), before(weights)
        return {name: ours[name] - theirs[name] for name in MEASURED}

    def flipped(weights: ResampleWeights) -> dict[str, np.ndarray]:
        return {"flipped": weights @ flips / (weights @ counts)}

    return found | {
        "difference": intervals(change, images.num_groups, shares=False, **options),
        "flipped": intervals(flipped, images.num_groups, **options)["flipped"],
        "flipped_to_positive": float((differs & (table["predicted"] == 1)).mean()),
    }


def _zones(
    plain: pd.DataFrame, table: pd.DataFrame, decided: Mapping[str, Any] | None, error: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return class, zone and specimen of each patient, with zones fitted on the other folds without a shift."""
    unit = unit_of(plain)[0]
    if decided is None or error is None or unit is None:
        return None
    return place_cases(plain, decided, error, AGGREGATION, unit, table)


def _moved(
    found: tuple[np.ndarray, np.ndarray, np.ndarray] | None, base: tuple[np.ndarray, np.ndarray, np.ndarray] | None
) -> dict[str, Any] | None:
    if found is None or base is None:
        return None
    return shares_in_zones(*found) | {"moved": float((found[1] != base[1]).mean()), "num_cases": len(found[1])}


def read_shifts(run: Run) -> dict[str, Any]:
    """Return the content of shifts.json; empty if there is none, or if it is about other predictions."""
    path = run.folder / SHIFTS_FILE
    if not path.exists():
        return {}
    remedy = f"`hf-breakhis evaluate {run.folder} --shifts all` writes it again"
    found = read_mapping(path, {"plain": dict, "rows": list, "predictions_sha256": str}, remedy)
    return found if found["predictions_sha256"] == checksum(run.folder / PREDICTIONS) else {}


def shift_table(found: Mapping[str, Any]) -> str:
    """Return the scores under each shift as text."""
    rows = []
    plain = {"words": "none", "flipped": {"value": 0.0}, "difference": {"roc_auc": {"value": 0.0}}, **found["plain"]}
    for row in (plain, *found["rows"]):
        area, change = row["scores"]["roc_auc"], row["difference"]["roc_auc"]["value"]
        rest = (signed(change), percent(row["flipped"]["value"]), score(row["ece"]))
        rows.append((row["words"], score(area["value"]), interval(area), *rest))
    head = ("Shift", "ROC AUC", "Interval", "Change", "Flipped", "ECE")
    return "\n".join([*text_table(head, rows), "", RESEARCH_ONLY])


def worst_row(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row with the lowest AUC."""
    rows: list[dict[str, Any]] = found["rows"]
    return min(rows, key=lambda row: row["scores"]["roc_auc"]["value"])
