"""How a comparison is shown: a page, a figure and a table, all from comparison.json."""

from pathlib import Path
from typing import Any

from hf_breakhis.files import read_json, write_json, write_text
from hf_breakhis.results.formatting import ABSENT, RESEARCH_ONLY, count, interval, score, signed, value_of
from hf_breakhis.results.report.page import fill_page, write_figures
from hf_breakhis.results.scores.warnings import Kind, texts_of, texts_without
from hf_breakhis.run import Run
from hf_breakhis.text import folded, text_table

SCORE_NAMES = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "roc_auc": "ROC AUC",
               "recognition_rate": "Recognition rate"}  # fmt: skip
AVERAGE_NAMES = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "f1": "F1"}


def write_comparison(folder: Path, comparison: dict[str, Any]) -> Path:
    """Write comparison.json, the figure and the page, and return the page."""
    summary = read_json(write_json(folder / "comparison.json", comparison))
    run = Run.holding(folder, summary=summary)
    figures = write_figures(run, ["compared"])
    page = fill_page(
        "compare.html.j2", run, figures=figures, scores=SCORE_NAMES, cells=("precision", "recall", "f1"),
        averages_of=AVERAGE_NAMES, twin=texts_of(summary, Kind.GENERATED),
        doubts=texts_without(summary, Kind.GENERATED),
        beside_paper=any(row["paper"] for row in summary["runs"]),
    )  # fmt: skip
    return write_text(folder / "comparison.html", page)


def comparison_table(comparison: dict[str, Any]) -> str:
    """Return a comparison as plain text of at most 100 columns."""
    lines = [line for caution in comparison["warnings"] for line in (*folded(f"WARNING: {caution['text']}"), "")]
    lines += [*folded(comparison["sentence"]), ""]
    rows = []
    for row in comparison["runs"]:
        paper = row["paper"] or {"averages": {}, "difference": {}}
        printed = (score(paper["averages"].get("accuracy"), 2), signed(paper["difference"].get("accuracy")))
        pooled = (score(value_of(row["accuracy"])), interval(row["accuracy"]), score(row["averages"]["accuracy"]))
        rows.append((row["name"], *pooled, *printed, score(row["recognition_rate"]), count(row["num_groups"])))
    lines += text_table(("Run", "Pooled", "Interval", "Folds", "Paper", "Less paper", "Recognition", "Groups"), rows)
    lines.append("Accuracy: all test images pooled, with its interval; then the mean of the folds, as the paper's is.")
    kinds = " or ".join(dict.fromkeys(f"{row['group']}s" for row in comparison["runs"]))
    lines.append(f"Groups: {kinds} that the interval of a run draws.")
    pairs: list[tuple[str, ...]] = []
    for pair in comparison["pairs"]:
        name = f"{pair['one']} - {pair['other']}"
        if pair["reason"]:
            pairs.append((name, ABSENT, "no images in common", ABSENT, ABSENT))
            continue
        accuracy = pair["scores"]["accuracy"]
        ends = (_bounds(accuracy[f"{over}low"], accuracy[f"{over}high"]) for over in ("", "seeds_"))
        pairs.append((name, signed(accuracy["value"]), *ends, score(pair["p_holm"])))
    head = ("Difference in accuracy", "Mean", "Over specimens", "Over seeds", "p (Holm)")
    lines += ["", *text_table(head, pairs)]
    lines += [line for pair in comparison["pairs"] if pair["non_inferior"] for line in _margin(comparison, pair)]
    if comparison["tested_magnifications"]:
        lines += _matrix(comparison["runs"], comparison["tested_magnifications"])
    lines += _published(comparison["anchors"])
    return "\n".join([*lines, "", RESEARCH_ONLY]).replace(ABSENT, "-")


def _matrix(runs: list[dict[str, Any]], columns: list[str]) -> list[str]:
    """Return the accuracies by trained and tested magnification as lines of a table."""
    rows = []
    for row in runs:
        name = f"{', '.join(row['train_magnifications'] or ['unknown'])} ({row['name']})"
        rows.append((name, *(score(value_of(row["by_magnification"].get(column))) for column in columns)))
    return ["", *text_table(("Accuracy, trained on", *(f"on {name}" for name in columns)), rows)]


def _published(anchors: list[dict[str, Any]]) -> list[str]:
    """Return published results as lines of a table; none if there are none."""
    if not anchors:
        return []
    rows = [
        (row["name"], score(row["value"]), f"{row['kept_apart']} ({row['status']})", row["score"]) for row in anchors
    ]
    lines = text_table(("Published", "Value", "Kept apart", "Score"), rows, words=(0, 2, 3))
    return [
        "",
        *lines,
        "Other splits and images were tested; the page and comparison.json have protocols and sources.",
    ]


def _bounds(low: float | None, high: float | None) -> str:
    return ABSENT if low is None else f"{signed(low)} to {signed(high)}"


def _margin(comparison: dict[str, Any], pair: dict[str, Any]) -> list[str]:
    """Return whether either run of a pair is not inferior to the other."""
    found = pair["non_inferior"]
    both = ((pair["one"], pair["other"], found["one"]), (pair["other"], pair["one"], found["other"]))
    lines = [
        f"{better} is {'' if shown else 'not shown to be '}non-inferior to {than} (margin {comparison['margin']:g})."
        for better, than, shown in both
    ]
    return [part for line in lines for part in folded(line)]
