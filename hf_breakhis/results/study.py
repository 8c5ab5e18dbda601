"""A study from its files: what each row scores, and its difference from its reference on the same images."""

from pathlib import Path
from typing import Any

import numpy as np

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.files import InputError, read_json, write_json, write_text
from hf_breakhis.results.compare import ALPHA, MIN_REPEATS, compare_tables, rank, tests_of
from hf_breakhis.results.formatting import MEASURES, RESEARCH_ONLY, things
from hf_breakhis.results.report.page import fill_page, write_figures
from hf_breakhis.results.scores.estimands import Estimand
from hf_breakhis.results.scores.paired import PAIRED, mean_scores
from hf_breakhis.results.scores.warnings import Kind, texts_of
from hf_breakhis.results.summary import summary_of
from hf_breakhis.run import PLAN, Run
from hf_breakhis.text import folded, text_table

STUDY, PAGE = "study.json", "study.html"
BASE = "base"
FORMAT = 2
# Kinds of plans: a key that only this kind has, the version of its form, and what begins one.
PLANS = {"study": ("rows", FORMAT, "a study file"), "search": ("inner_folds", 1, "a recipe and --space")}
HALF_WIDTHS = (0.10, 0.05, 0.03, 0.02, 0.01)
VERDICTS = {1: "helps", 0: "cannot tell", -1: "hurts"}
OF_SPLITS = {1: "higher", 0: "cannot tell", -1: "lower"}  # another split helps nobody


def read_plan(folder: Path, kind: str = "study") -> dict[str, Any]:
    """Return the plan of a study or of a search: its rows or its space, and the fields of its base.

    Args:
        folder: of the study or search.
        kind: a key of `PLANS`.

    Raises:
        InputError: there is no plan, it is of the other kind, or another version wrote it.
    """
    _, version, give = PLANS[kind]
    if not (folder / PLAN).is_file():
        raise InputError(f"No {kind} at {folder}. Give {give}, or the folder of a {kind}.")
    plan: dict[str, Any] = read_json(folder / PLAN)
    own = set(plan) if isinstance(plan, dict) else set()
    other = next((name for name, (key, _, _) in PLANS.items() if name != kind and key in own), "")
    if other:
        raise InputError(f"{folder} is the folder of a {other}. Use `hf-breakhis {other}`, or another --output_dir.")
    if "format" not in own or plan["format"] != version:
        raise InputError(f"{folder / PLAN} was written by another version. Run the {kind} with another --output_dir.")
    return plan


def compare_rows(folder: str | Path) -> dict[str, Any]:
    """Score every finished row of a study, and compare it with its reference; write study.json.

    A row is compared with its reference repeat by repeat, on the images that both tested once, with a bootstrap over
    the specimens of these images: what both share, such as hard specimens, cancels. Verdicts need `MIN_REPEATS`
    repeats; their p-values are corrected for the number of rows (Holm 1979).

    Raises:
        InputError: there is no plan, or no row has finished.
    """
    folder = Path(folder)
    plan = read_plan(folder)
    left_out = plan["left_out"]
    planned = [row for row in plan["rows"] if row["name"] not in left_out]
    finished = {row["name"]: folder / row["name"] for row in planned if _is_finished(folder / row["name"], plan)}
    if not finished:
        raise InputError(f"No row of the study in {folder} has finished. Run the command of the study again.")
    score = plan["score"]
    summaries = {name: summary_of(run) for name, run in finished.items()}
    tests = {name: tests_of(run) for name, run in finished.items()}
    rows = [
        row | {"run": row["name"], "ended": row["name"] in finished, "difference": None, "verdict": None}
        for row in planned
    ]
    for row in rows:
        if not row["ended"]:
            continue
        row |= _scores(finished[row["name"]], summaries[row["name"]], tests[row["name"]])
        if row["reference"] in tests:
            row["difference"] = compare_tables(tests[row["name"]], tests[row["reference"]], score=score)
    compared = [row for row in rows if row["difference"] is not None]
    rank([row["difference"] for row in compared], score)
    words = OF_SPLITS if plan["may_change"] else VERDICTS
    for row in compared:
        row["verdict"] = words[row["difference"]["ranks"] or 0]
    first = next(iter(Run(next(iter(finished.values()))).every_repeat().values())).summary
    study = {
        "format": FORMAT,
        **{key: plan[key] for key in ("name", "title", "base", "score", "may_change", "left_out")},
        "classes": first["classes"],
        "score_name": MEASURES[score],
        "settings": plan["recipe"],
        "rows": rows,
        "data": first["data"],
        "interval": first["interval"],
        "repeats": plan["repeats"],
        "missing": [row["name"] for row in rows if not row["ended"]],
        "num_compared": len(compared),
        "sentence": _sentence(rows, plan),
        "optimistic": [] if plan["may_change"] else _optimistic(summaries),
        "curve": any("train_share" in row["changes"] for row in rows),
        "needed": _needed(rows, score),
    }
    written: dict[str, Any] = read_json(write_json(folder / STUDY, study))
    return written


def _is_finished(run: Path, plan: dict[str, Any]) -> bool:
    """Return whether every repeat of a row has finished."""
    repeats = Run(run).every_repeat() if Run(run).exists else {}
    return len(repeats) == plan["repeats"] and all(repeat.is_finished for repeat in repeats.values())


def _scores(run: Path, summary: dict[str, Any], tests: dict[int, Any]) -> dict[str, Any]:
    """Return what the page shows of one finished row; scores are means over its repeats."""
    repeats = Run(run).every_repeat()
    every = [repeat.summary for repeat in repeats.values()]
    one = every[0]
    about = Estimand(one["interval"]["estimand"])
    pooled = mean_scores(list(tests.values()), about)
    folds = next(iter(repeats.values())).read_folds()
    trained = folds[folds["part"] == "train"].groupby("fold")["specimen_id"].nunique()
    costs = [fold["train_seconds"] for repeat in repeats.values() for fold in repeat.cost["folds"].values()]
    return {
        "split_by": one["protocol"]["split_by"],
        "carry_over": one["protocol"]["carry_over"],
        "num_train_epochs": Run(run).recipe["num_train_epochs"],
        **{name: pooled[name] for name in PAIRED},
        "repeats": [each["accuracy"] for each in summary.get("repeats", [])],
        "per_fold": [report["accuracy"] for report in one["image"]["per_fold"]],
        "reserve": None if one["reserve"] is None else [r["accuracy"] for r in one["reserve"]["per_fold"]],
        **{name: one["leakage"][name] for name in ("share_same_patient", "share_same_specimen", "share_seen")},
        "train_specimens": float(np.mean(trained)) if one["data"]["num_specimens"] else None,
        "test_specimens": one["data"]["num_specimens"],
        "train_seconds": sum(costs),
    }


def _optimistic(summaries: dict[str, dict[str, Any]]) -> list[str]:
    """Return why the scores of some rows are higher than those of new patients."""
    reasons = {
        Kind.LEAK: "the test sets are not independent of the training sets. The scores are optimistic",
        Kind.SELECTED_ON_TEST: "a checkpoint, the stopping epoch or a learning rate was chosen on the images that "
        "give the scores. The scores are optimistic. Set `validation_size` to select on a validation set",
    }
    heads = {Kind.LEAK: "Leakage", Kind.SELECTED_ON_TEST: "Selected on the test set"}
    found = []
    for kind, reason in reasons.items():
        names = [name for name, summary in summaries.items() if texts_of(summary, kind)]
        where = "all rows" if len(names) == len(summaries) else f"row {', '.join(names)}"
        found += [f"{heads[kind]} ({where}): {reason}."] if names else []
    return found


def _needed(rows: list[dict[str, Any]], score: str) -> list[dict[str, Any]]:
    """Return how many specimens give the interval of the base certain half-widths, by the law of the square root."""
    base = next((row for row in rows if row["name"] == BASE and row["ended"]), None)
    if base is None or base[score]["low"] is None or not base["test_specimens"]:
        return []
    half = (base[score]["high"] - base[score]["low"]) / 2
    return [
        {"half_width": x, "num_specimens": specimens_for_width(base["test_specimens"], half, x)} for x in HALF_WIDTHS
    ]


def specimens_for_width(num_specimens: int, half_width: float, wanted: float) -> int:
    """Return the number of specimens whose interval has the half-width `wanted`.

    An extrapolation: the width of an interval falls with the square root of the number of independent specimens, if
    further ones are like those at hand and the model stays as good.

    Args:
        num_specimens: specimens of the interval at hand.
        half_width: of the interval at hand.
        wanted: above 0.
    """
    return int(np.ceil(round(num_specimens * (half_width / wanted) ** 2, 6)))


def _sentence(rows: list[dict[str, Any]], plan: dict[str, Any]) -> str:
    """Return what the table says, in one or two careful sentences."""
    if plan["may_change"]:
        return leakage_sentence(rows)
    judged = [row for row in rows if row["difference"] is not None]
    if not judged:
        return "No row can be compared yet: the base or every other row has not finished."
    if plan["repeats"] < MIN_REPEATS:
        return (
            f"No verdict: a verdict needs {MIN_REPEATS} repeats, and this study has {plan['repeats']}. The intervals "
            "are about other specimens, not about other seeds."
        )
    name = MEASURES[plan["score"]]
    score = name if plan["score"] == "roc_auc" else name.lower()
    counts = {word: [row["name"] for row in judged if row["verdict"] == word] for word in VERDICTS.values()}
    named = [f"{', '.join(names)} {word.removesuffix('s')}{'s' if len(names) == 1 else ''} ({score})"
             for word, names in counts.items() if names and word != VERDICTS[0]]  # fmt: skip
    unknown = counts[VERDICTS[0]]
    them = "it helps" if len(unknown) == 1 else "they help"
    open_rows = f"For {things(len(unknown), 'row')} the study cannot tell whether {them}." if unknown else ""
    corrected = f"p-values are corrected for {things(len(judged), 'comparison')} (Holm, {100 * ALPHA:g} %)"
    first = "; ".join(named) if named else f"No row has a significant difference in {score}"
    return f"{first[0].upper()}{first[1:]}; {corrected}. {open_rows}".strip()


def leakage_sentence(rows: list[dict[str, Any]]) -> str:
    """Return what the image-wise run of a study on splits says, in one careful sentence."""
    if not any(row["name"] == BASE and row["ended"] for row in rows):
        return (
            "There is no premium: the specimen-wise base has not finished, or the source names no specimens, so there "
            "is no reference."
        )
    image = next((row for row in rows if row.get("split_by") == "image" and row["reference"] == BASE), None)
    if image is None or image["difference"] is None:
        return "The image-wise run has not finished, so it has no premium yet."
    found = image["difference"]["scores"]["accuracy"]
    points = f"{100 * found['value']:+.1f} points of accuracy"
    if found["low"] is None:
        return (
            f"Split by image the same recipe scores {points} against the specimen-wise run; no interval can be given."
        )
    bounds = f"95 % interval {100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
    if found["low"] > 0:
        reading = "consistent with a score that owes this much to known specimens"
    elif found["high"] < 0:
        reading = "lower, which leakage does not explain"
    else:
        reading = "consistent with none"
    return f"Split by image the same recipe scores {points} against the specimen-wise run ({bounds}): {reading}."


def study_table(study: dict[str, Any]) -> str:
    """Return a study as plain text of at most 100 columns."""
    lines = [line for text in study["optimistic"] for line in (*folded(f"WARNING: {text}"), "")]
    rows: list[tuple[str, ...]] = []
    for row in study["rows"]:
        if not row["ended"]:
            rows.append((row["name"], "not finished"))
            continue
        value, pair = row[study["score"]], row["difference"] or {}
        gain = (pair.get("scores") or {}).get(study["score"]) or {"value": None, "low": None, "high": None}
        cells = (
            _cell("{:.3f}", value["value"]),
            _cell("{:.3f} to {:.3f}", value["low"], value["high"]),
            _cell("{:+.3f}", gain["value"]),
            _cell("{:+.3f} to {:+.3f}", gain["low"], gain["high"]),
            _cell("{:.2f}", pair.get("p_holm")),
        )
        rows.append((row["name"], *cells, row["verdict"] or ""))
    head = ("Row", study["score_name"], "Interval", "Difference", "Interval", "p", "Verdict")
    lines += [*folded(study["sentence"]), "", *text_table(head, rows, words=(0, 6))]
    references = "the base" if all(row["reference"] in (BASE, None) for row in study["rows"]) else "its reference"
    lines += ["", f"Difference: of a row from {references}, on the same images; interval over specimens."]
    lines += [f"{name}: {reason}" for name, reason in study["left_out"].items()]
    if study["curve"]:
        lines += ["", *_needed_lines(study)]
    if source_of(study["data"]).is_generated:
        lines.append("These numbers are about the synthetic twin (generated images), not about BreakHis.")
    return "\n".join([*lines, RESEARCH_ONLY])


def _needed_lines(study: dict[str, Any]) -> list[str]:
    needed = ", ".join(f"{row['num_specimens']:,} for {row['half_width']:g}" for row in study["needed"])
    what = "Test specimens for a half-width of the base's interval (extrapolated by the square root)"
    return folded(f"{what}: {needed}.") if needed else []


def _cell(form: str, *values: float | None) -> str:
    return "-" if any(value is None for value in values) else form.format(*values)


def write_study(folder: Path, study: dict[str, Any]) -> Path:
    """Write the page of a study, study.html, and its figures."""
    run = Run.holding(folder, summary=study)
    page = fill_page(
        "study.html.j2",
        run,
        figures=write_figures(run, ["study", *(["specimens"] if study["curve"] else [])]),
        audit=run.audit or None,
        is_twin=source_of(study["data"]).is_generated,
        min_repeats=MIN_REPEATS,
    )
    return write_text(folder / PAGE, page)
