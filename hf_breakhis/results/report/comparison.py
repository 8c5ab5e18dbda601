"""How a comparison is shown: a page, a figure and a table, all from comparison.json."""

from pathlib import Path
from textwrap import wrap
from typing import Any

from hf_breakhis.files import read_json, write_json, write_text
from hf_breakhis.results.formatting import ABSENT, RESEARCH_ONLY, count, interval, score, signed, value_of
from hf_breakhis.results.report.page import fill_page, write_figures
from hf_breakhis.results.scores.warnings import Kind, texts_of, texts_without
from hf_breakhis.run import Run

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
    lines = [line for caution in comparison["warnings"] for line in (*wrap(f"WARNING: {caution['text']}", 88), "")]
    lines += [*wrap(comparison["sentence"], 88), ""]
    head = f"{'Run':<24}{'Pooled':>8}{'Interval':>17}{'Folds':>8}{'Paper':>7}{'Less paper':>12}{'Recognition':>13}"
    lines.append(f"{head}{'Groups':>8}")
    lines.append("-" * len(lines[-1]))
    for row in comparison["runs"]:
        paper = row["paper"] or {"averages": {}, "difference": {}}
        lines.append(
            f"{row['name'][:23]:<24}{score(value_of(row['accuracy'])):>8}{interval(row['accuracy']):>17}"
            f"{score(row['averages']['accuracy']):>8}"
            f"{score(paper['averages'].get('accuracy'), 2):>7}{signed(paper['difference'].get('accuracy')):>12}"
            f"{score(row['recognition_rate']):>13}{count(row['num_groups']):>8}"
        )
    lines.append("Accuracy: all test images pooled, with its interval; then the mean of the folds, as the paper's is.")
    kinds = " or ".join(dict.fromkeys(f"{row['group']}s" for row in comparison["runs"]))
    lines.append(f"Groups: {kinds} that the interval of a run draws.")
    lines += ["", f"{'Difference in accuracy':<37}{'Mean':>8}{'Over specimens':>20}{'Over seeds':>20}{'p (Holm)':>11}"]
    lines.append("-" * len(lines[-1]))
    for pair in comparison["pairs"]:
        name = f"{pair['one']} - {pair['other']}"[:36]
        if pair["reason"]:
            lines.append(f"{name:<37}{'no images in common':>28}")
            continue
        accuracy = pair["scores"]["accuracy"]
        lines.append(
            f"{name:<37}{signed(accuracy['value']):>8}{_bounds(accuracy['low'], accuracy['high']):>20}"
            f"{_bounds(accuracy['seeds_low'], accuracy['seeds_high']):>20}{score(pair['p_holm']):>11}"
        )
    lines += [line for pair in comparison["pairs"] if pair["non_inferior"] for line in _margin(comparison, pair)]
    if comparison["tested_magnifications"]:
        lines += _matrix(comparison["runs"], comparison["tested_magnifications"])
    lines += _published(comparison["anchors"])
    text = "\n".join([*lines, "", RESEARCH_ONLY])
    return text.replace(ABSENT, "-")


def _matrix(runs: list[dict[str, Any]], columns: list[str]) -> list[str]:
    """Return the accuracies by trained and tested magnification as lines of a table."""
    lines = ["", f"{'Accuracy, trained on':<40}" + "".join(f"{f'on {name}':>12}" for name in columns)]
    lines.append("-" * len(lines[-1]))
    for row in runs:
        name = f"{', '.join(row['train_magnifications'] or ['unknown'])} ({row['name']})"
        cells = (value_of(row["by_magnification"].get(column)) for column in columns)
        lines.append(f"{name[:39]:<40}" + "".join(f"{score(cell):>12}" for cell in cells))
    return lines


def _published(anchors: list[dict[str, Any]]) -> list[str]:
    """Return published results as lines of a table; none if there are none."""
    if not anchors:
        return []
    lines = ["", f"{'Published':<34}{'Value':>8}  {'Kept apart':<20}Score"]
    lines.append("-" * 97)
    for row in anchors:
        kept = f"{row['kept_apart']} ({row['status']})"
        lines.append(f"{row['name'][:33]:<34}{score(row['value']):>8}  {kept:<20}{row['score'][:33]}")
    return [*lines, "Other splits and images were tested; the page and comparison.json have protocols and sources."]


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
    return [part for line in lines for part in wrap(line, 88)]
