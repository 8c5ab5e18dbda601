"""A search from its files: the score of the best trial, the nested score, and their difference."""

from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import InputError, read_json, write_json, write_text
from hf_breakhis.results.formatting import MEASURES, RESEARCH_ONLY, things
from hf_breakhis.results.predictions import classes_of
from hf_breakhis.results.report.page import fill_page, write_figures
from hf_breakhis.results.scores.estimands import estimand_of
from hf_breakhis.results.scores.intervals import choose_groups, describe_intervals, groups_by_class
from hf_breakhis.results.scores.paired import PAIRED, mean_scores, paired_scores, point_scores
from hf_breakhis.results.study import PLANS, read_plan
from hf_breakhis.run import Run
from hf_breakhis.text import folded, text_table

TRIALS, SEARCH, PAGE, BEST = "trials.json", "search.json", "search.html", "best"
FORMAT = PLANS["search"][1]


def score_search(folder: str | Path) -> dict[str, Any]:
    """Score the best trial and the nested predictions of a finished search, and write search.json.

    The best trial is the one with the highest score on the folds of the recipe: the number that papers print. The
    nested score is of the trials that each outer fold selected within its training set, retrained on all of it and
    tested on its test set. Both predict the same images, so their difference has an interval over specimens.

    Raises:
        InputError: there is no plan, or the search has not finished.
    """
    folder = Path(folder)
    plan = read_plan(folder, "search")
    if not (folder / TRIALS).is_file():
        raise InputError(f"The search in {folder} has not finished. Run its command again.")
    parts = read_json(folder / TRIALS)["parts"]
    tables = [_read(folder / part["predictions"]) for part in parts]
    nested, best = pd.concat(tables[:-1], ignore_index=True), tables[-1]
    classes, groups = classes_of(nested), choose_groups(nested)
    protocol = {
        "carry_over": "none",
        "split_by": plan["recipe"]["split_by"],
        "folds_present": sorted(int(fold) for fold in nested["fold"].unique()),
    }
    about = estimand_of(protocol, groups.level)
    metric = plan["metric"]
    scores = {name: mean_scores([table], about[0]) for name, table in (("best", best), ("nested", nested))}
    bounded = scores["nested"][metric]["low"] is not None
    selected = [_selected(part, table, metric) for part, table in zip(parts, tables, strict=True)]
    search = {
        "format": FORMAT,
        **{name: plan[name] for name in plan if name not in ("format", "id")},
        "score_name": MEASURES[metric],
        "settings": plan["recipe"],
        "scores": {name: {key: values[key] for key in PAIRED} for name, values in scores.items()},
        "difference": {
            key: {end: value[end] for end in ("value", "low", "high")}
            for key, value in paired_scores([(best, nested)]).items()
            if key in PAIRED
        },
        "num_images": len(nested),
        "parts": parts,
        "selected": selected,
        "interval": describe_intervals(groups, groups_by_class(nested, groups, classes), bounded, estimand=about),
        "leaks": plan["recipe"]["split_by"] == "image",
    }
    search["sentence"] = _sentence(search)
    written: dict[str, Any] = read_json(write_json(folder / SEARCH, search))
    return written


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"file_name": str, "patient_id": str, "specimen_id": str})
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path}. Delete it, and run the command of the search again.") from error
    missing = {"file_name", "label", "predicted", "fold"} - set(table.columns)
    if missing:
        raise InputError(f"{path} has no column {min(missing)}. Delete it, and run the command of the search again.")
    return table


def _selected(part: dict[str, Any], table: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Return what a part selected, its inner score, and its score on the outer test set."""
    trial = next(one for one in part["trials"] if one["trial"] == part["best"])
    is_outer = part["outer_fold"] is not None
    return {
        "name": f"outer fold {part['outer_fold']}" if is_outer else "final search",
        "outer_fold": part["outer_fold"],
        "trial": part["best"],
        "fields": trial["fields"],
        "score": trial["value"],
        "test_score": point_scores(table)[metric] if is_outer else None,
        "num_trials": len(part["trials"]),
        "num_pruned": sum(one["state"] == "pruned" for one in part["trials"]),
        "num_failed": sum(one["state"] == "fail" for one in part["trials"]),
        "seconds": sum(one["seconds"] or 0 for one in part["trials"]),
    }


def _sentence(search: dict[str, Any]) -> str:
    """Return what the three numbers say."""
    metric, name = search["metric"], search["score_name"]
    text = name if name.startswith("ROC") else name[0].lower() + name[1:]
    best, nested = (search["scores"][which][metric] for which in ("best", "nested"))
    gap = search["difference"][metric]
    first = f"The best of {things(search['selected'][-1]['num_trials'], 'trial')} has a {text} of {best['value']:.3f}."
    bounds = "" if nested["low"] is None else f" ({nested['low']:.3f} to {nested['high']:.3f})"
    where = f"On {search['recipe']['split_by']}s that no selection has seen"
    if search["leaks"]:
        where = "In nested cross-validation by image, which leaks"
    second = f"{where}, the search scores {nested['value']:.3f}{bounds}."
    ends = "" if gap["low"] is None else f" ({gap['low']:+.3f} to {gap['high']:+.3f})"
    return f"{first} {second} The difference is {gap['value']:+.3f}{ends}."


def search_table(search: dict[str, Any]) -> str:
    """Return a search as plain text of at most 100 columns."""
    metric = search["metric"]
    rows = []
    for name, value, form in (
        ("Best trial (optimistic)", search["scores"]["best"][metric], "{:.3f}"),
        ("Nested score (what to expect)", search["scores"]["nested"][metric], "{:.3f}"),
        ("Difference", search["difference"][metric], "{:+.3f}"),
    ):
        ends = "-" if value["low"] is None else f"{form.format(value['low'])} to {form.format(value['high'])}"
        rows.append((name, form.format(value["value"]), ends))
    head = ("", search["score_name"], "95 % interval")
    lines = [*folded(search["sentence"]), "", *text_table(head, rows), "", "Selected:"]
    for one in search["selected"]:
        test = "" if one["test_score"] is None else f", test set {one['test_score']:.3f}"
        fields = ", ".join(f"{name} {_short(value)}" for name, value in one["fields"].items())
        lines += wrap(f"{one['name']}: {fields} ({one['score']:.3f}{test})", 98, subsequent_indent="    ")
    if source_of(search["data"]).is_generated:
        lines.append("These numbers are about the synthetic twin (generated images), not about BreakHis.")
    return "\n".join([*lines, RESEARCH_ONLY])


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_search(folder: Path, search: dict[str, Any]) -> Path:
    """Write the page of a search, search.html, and its figures."""
    run = Run.holding(folder, summary=search)
    page = fill_page(
        "search.html.j2",
        run,
        figures=write_figures(run, ["trials", "importance"]),
        is_twin=source_of(search["data"]).is_generated,
    )
    return write_text(folder / PAGE, page)
