"""The premium: how much higher a recipe scores where its protocol lets the model know the test images' patients."""

import os
from pathlib import Path
from typing import Any

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import InputError, read_json, write_json, write_text
from hf_breakhis.results.predictions import gather
from hf_breakhis.results.report.page import fill_page, write_figures
from hf_breakhis.results.scores.paired import SCORES, premium
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run

PLAN = "plan.json"
REFERENCE = "specimen-fresh"
# With what a way of training is compared, so that longer training is no part of a premium. A carried model has trained
# for as many times the epochs as there are folds at its end.
REFERENCES = {"fresh": REFERENCE, "2x": "specimen-2x", "3x": "specimen-3x", "carried": "specimen-3x"}
FORMAT = 1


def write_plan(folder: Path, runs: dict[str, str], title: str, unknown: list[str]) -> None:
    """Write down what a study consists of, so that its table is made again without training.

    Args:
        folder: of the study.
        runs: by name of the protocol, the folder of the run.
        title: what the study is of.
        unknown: what it cannot say, with the reason.
    """
    places = {name: os.path.relpath(run, folder) for name, run in runs.items()}
    write_json(folder / PLAN, {"format": FORMAT, "title": title, "runs": places, "unknown": unknown})


def compare_protocols(folder: str | Path) -> dict[str, Any]:
    """Score every run of a study and write study.json: scores, intervals, leaks, and premiums over the references.

    The premium is the difference of the scores on the images that both runs tested once, with a bootstrap over the
    specimens of these images: what both runs share, such as hard specimens, cancels. The reference of a run is the
    specimen-wise run that trained as long, see `REFERENCES`; without that run there is no premium.

    Raises:
        InputError: there is no plan, or no run of it has ended.
    """
    folder = Path(folder)
    plan = read_json(folder / PLAN)
    runs = {name: folder / place for name, place in plan["runs"].items()}
    ended = {name: run for name, run in runs.items() if Run(run).models()}
    if not ended:
        raise InputError(f"No run of the study in {folder} has ended; run `hf-breakhis audit RECIPE --train`.")
    summaries = {name: summarise(run) for name, run in ended.items()}
    tests = {name: gather(Run(run)) for name, run in ended.items()}
    references = {name: REFERENCES.get(name.rpartition("-")[2], REFERENCE) for name in runs}
    rows = [
        _row(name, plan["runs"][name], summaries.get(name), runs[name])
        | {
            "reference": reference if name != reference else None,
            "premium": premium(tests[name], tests[reference])
            if name in tests and reference in tests and name != reference
            else None,
        }
        for name, reference in references.items()
    ]
    first = next(iter(summaries.values()))
    study = {
        "format": FORMAT,
        "name": plan["title"],
        "reference": REFERENCE if REFERENCE in tests else None,
        "rows": rows,
        "data": first["data"],
        "interval": first["interval"],
        "missing": [name for name in runs if name not in ended],
        "sentence": sentence(rows, REFERENCE in tests),
        "unknown": plan["unknown"],
    }
    return read_json(write_json(folder / "study.json", study))


def _row(name: str, place: str, summary: dict[str, Any] | None, run: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "run": place, "ended": summary is not None}
    if summary is None:
        return row
    recipe, pooled = Run(run).recipe, summary["image"]["pooled"]
    rate = None if summary["patient"] is None else summary["patient"]["pooled"]["recognition_rate"]
    return row | {
        "split_by": summary["protocol"]["split_by"],
        "carry_over": summary["protocol"]["carry_over"],
        "num_train_epochs": recipe["num_train_epochs"],
        "folds_missing": summary["protocol"]["folds_missing"],
        **{score: pooled[score] for score in SCORES},
        "recognition_rate": rate,
        "per_fold": [report["accuracy"] for report in summary["image"]["per_fold"]],
        "reserve": None if summary["reserve"] is None else [r["accuracy"] for r in summary["reserve"]["per_fold"]],
        **{name: summary["leakage"][name] for name in ("share_same_patient", "share_same_specimen", "share_seen")},
    }


def sentence(rows: list[dict[str, Any]], has_reference: bool) -> str:
    """Return what the table says, in one careful sentence."""
    if not has_reference:
        return (
            f"There is no premium: {REFERENCE} has not finished, or the source names no specimens, so there is "
            "nothing to compare with."
        )
    premiums = {row["name"]: row["premium"]["accuracy"] for row in rows if row.get("premium")}
    if "image-fresh" not in premiums:
        return "The image-wise run has not finished, so it has no premium yet."
    found = premiums["image-fresh"]
    points = f"{100 * found['value']:+.1f} points of accuracy"
    if found["low"] is None:
        return (
            f"Split by image the same recipe scores {points} against the specimen-wise run; no interval can be given."
        )
    bounds = f"95 % interval {100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
    if found["low"] > 0:
        reading = "consistent with a score that owes this much to known specimens, as far as one seed tells"
    elif found["high"] < 0:
        reading = "lower, which leakage does not explain"
    else:
        reading = "consistent with none, as far as one seed tells"
    return f"Split by image the same recipe scores {points} against the specimen-wise run ({bounds}): {reading}."


def study_table(study: dict[str, Any]) -> str:
    """Return a study as plain text of at most 100 columns."""
    head = f"{'Protocol':<20}{'Epochs':>7}{'Accuracy':>10}{'Interval':>15}{'Seen':>7}{'Premium':>10}{'Interval':>18}"
    lines = [study["sentence"], "", head, "-" * len(head)]
    for row in study["rows"]:
        if not row["ended"]:
            lines.append(f"{row['name']:<20}{'not run':>7}")
            continue
        accuracy, gain = row["accuracy"], (row["premium"] or {}).get("accuracy") or {"value": None, "low": None}
        bounds, gains = (
            "-" if value["low"] is None else form.format(value["low"], value["high"])
            for value, form in ((accuracy, "{:.3f}-{:.3f}"), (gain, "{:+.3f} to {:+.3f}"))
        )
        value = "-" if gain["value"] is None else f"{gain['value']:+.3f}"
        lines.append(
            f"{row['name']:<20}{row['num_train_epochs']:>7g}{accuracy['value']:>10.3f}{bounds:>15}"
            f"{100 * row['share_seen']:>5.0f} %{value:>10}{gains:>18}"
        )
    lines += [
        "",
        *study["unknown"],
        "Premium: accuracy less that of the specimen-wise run that trained as long (of specimen-3x for a",
        "carried model), on the same images; interval over specimens. Every run is stratified by class.",
        "One split seed and one initial seed: how far others would move a premium is in no interval here.",
    ]
    if source_of(study["data"]).is_generated:
        lines.append("These numbers are about the synthetic twin (generated images), not about BreakHis.")
    return "\n".join([*lines, "Research software: not for diagnosis."])


def write_study(folder: Path, study: dict[str, Any]) -> Path:
    """Write the page of a study, study.html, and its figure."""
    run = Run.holding(folder, summary=study)
    page = fill_page(
        "study.html.j2",
        run,
        figures=write_figures(run, ["study"]),
        audit=run.audit or None,
        is_twin=source_of(study["data"]).is_generated,
    )
    return write_text(folder / "study.html", page)
