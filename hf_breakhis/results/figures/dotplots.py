"""Figures that set estimates side by side as points with intervals: baselines, patients, slices."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.results.figures.style import (
    CELL,
    LINE,
    MUTED,
    PAPER,
    color_of_class,
    new_figure,
    note,
    rate_label,
    share_axis,
)
from hf_breakhis.results.formatting import count, score, tumor_name, value_of
from hf_breakhis.run import Run

SEVERAL = "several classes"
LEAST_SPAN = 0.02  # of an axis of differences
MOST_NAMED = 3  # patients named in the figure: the worst, so that they can be looked up


def baselines(run: Run) -> Figure | None:
    """Draw the accuracy of the run next to the baselines."""
    summary = run.summary
    pooled = (summary["image"].get("pooled") or {}).get("accuracy")
    if pooled is None or pooled["value"] is None:
        return None
    others = summary.get("baselines") or {}
    rows = [("this model", pooled, summary["image"]["per_fold"], CELL)]
    for name, label in (("mean_color", "mean colour"), ("majority", "majority class")):
        if others.get(name) and others[name].get("accuracy") is not None:
            rows.append((label, {"value": others[name]["accuracy"]}, others[name].get("per_fold", []), MUTED))
    figure = new_figure(10 + 8 * len(rows))
    ax = figure.subplots()
    values = [value for row in rows for value in (row[1]["value"], row[1].get("low"), *_accuracies(row[2]))]
    for y, (_, estimate, per_fold, color) in enumerate(rows):
        _estimate(ax, estimate, y, color, size=5)
        ax.plot(_accuracies(per_fold), [y + 0.3] * len(_accuracies(per_fold)), "|", color=color, markersize=5, mew=0.9)
    _rows(ax, [row[0] for row in rows], _low(values))
    _right(ax, [score(row[1]["value"]) for row in rows])
    ax.set_xlabel("accuracy")
    return figure


def repeats(run: Run) -> Figure | None:
    """Accuracy of each repeat, for the summary that stands above them."""
    rows = [row for row in run.summary.get("repeats") or [] if row["accuracy"] is not None]
    if not rows:
        return None
    estimates = [{"value": row["accuracy"]} | (row.get("interval") or {}) for row in rows]
    figure = new_figure(12 + 6 * len(rows))
    ax = figure.subplots()
    for y, estimate in enumerate(estimates):
        _estimate(ax, estimate, y, CELL)
    ax.axvline(run.summary["mean"]["accuracy"], color=MUTED, linewidth=0.6, linestyle=(0, (3, 3)), zorder=0)
    _rows(ax, [f"repeat {row['repeat']}" for row in rows], _low([v for e in estimates for v in _ends(e)]))
    _right(ax, [score(row["accuracy"]) for row in rows])
    ax.set_xlabel("accuracy")
    return figure


def study(run: Run) -> Figure | None:
    """The score of each row of a study, and its difference from its reference on the same images."""
    rows = [row for row in run.summary.get("rows") or [] if row["ended"]]
    if not rows:
        return None
    measure = run.summary["score"]
    figure = new_figure(16 + 6 * len(rows))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for y, row in enumerate(rows):
        color = MUTED if row["reference"] is None else CELL
        _estimate(left, row[measure], y, color)
        scores = (row["difference"] or {}).get("scores") or {}
        _estimate(right, scores.get(measure), y, color)
    _rows(left, [row["name"] for row in rows], _low([v for row in rows for v in _ends(row[measure])]))
    left.set_xlabel(run.summary["score_name"])
    right.axvline(0, color=MUTED, linewidth=0.6, linestyle=(0, (3, 3)), zorder=0)
    low, high = right.get_xlim()
    if high - low < LEAST_SPAN:  # else the axis of rows that are all equal shows errors of rounding
        right.set_xlim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
    right.set(ylim=left.get_ylim(), yticks=[], xlabel="difference")
    right.spines["left"].set_visible(False)
    right.locator_params(axis="x", nbins=3)
    return figure


def specimens(run: Run) -> Figure | None:
    """The score against the number of training specimens: the base, and the rows that train on a share of them."""
    rows = [row for row in run.summary.get("rows") or [] if row["ended"] and row["train_specimens"] is not None]
    rows = [row for row in rows if set(row["changes"]) <= {"train_share"}]
    if len(rows) < 2:
        return None
    rows.sort(key=lambda row: row["train_specimens"])
    measure = run.summary["score"]
    figure = new_figure(50)
    ax = figure.subplots()
    numbers = [row["train_specimens"] for row in rows]
    ax.plot(numbers, [row[measure]["value"] for row in rows], "o-", color=CELL, markersize=4, linewidth=1)
    for x, row in zip(numbers, rows, strict=True):
        if row[measure]["low"] is not None:
            ax.plot([x, x], [row[measure]["low"], row[measure]["high"]], color=CELL, linewidth=1)
    ax.set(xlabel="training specimens in a fold", ylabel=run.summary["score_name"])
    ax.set_xlim(left=0)
    return figure


def compared(run: Run) -> Figure | None:
    """Accuracy of each run, its repeats or folds below it, and the paper's value where its recipe is one of them."""
    rows = run.summary.get("runs") or []
    if not rows:
        return None
    figure = new_figure(16 + 9 * len(rows))
    ax = figure.subplots()
    papers = [  # the paper's scores are not comparable with those of generated images
        row["paper"]["averages"]["accuracy"] if row["paper"] and not row["is_generated"] else None for row in rows
    ]
    for y, (row, paper) in enumerate(zip(rows, papers, strict=True)):
        _estimate(ax, row["accuracy"], y, CELL, size=5)
        ticks = row["repeats"] or _accuracies(row["per_fold"])
        ax.plot(ticks, [y + 0.25] * len(ticks), "|", color=CELL, markersize=5, mew=0.9)
        if paper is not None:
            ax.plot(paper, y - 0.25, "D", color=MUTED, markersize=3.5, markerfacecolor=PAPER)
    _rows(ax, [row["name"] for row in rows], _low([v for row in rows for v in _ends(row["accuracy"])]))
    _right(ax, [score(value_of(row["accuracy"])) for row in rows])
    ax.set_xlabel("accuracy")
    return figure


def _accuracies(per_fold: list[dict[str, Any]]) -> list[float]:
    return [report["accuracy"] for report in per_fold if report.get("accuracy") is not None]


def magnifications(run: Run) -> Figure | None:
    """Scores at each magnification."""
    slices = run.summary.get("by_magnification") or {}
    by_patient = (run.summary.get("patient") or {}).get("by_magnification") or {}
    merged = {name: part | (by_patient.get(name) or {}) for name, part in slices.items()}
    wanted = ("accuracy", "recognition_rate", "sensitivity", "specificity")
    shown = [m for m in wanted if any(value_of(part.get(m)) is not None for part in merged.values())]
    if not shown:
        return None
    rows = -(-len(shown) // 2)
    figure = new_figure(8 + rows * (11 + 5 * len(merged)))
    panels = figure.subplots(rows, min(2, len(shown)), squeeze=False).ravel()
    low = _low([v for part in merged.values() for m in shown for v in _ends(part.get(m))])
    for i, (ax, measure) in enumerate(zip(panels, shown, strict=False)):
        for y, part in enumerate(merged.values()):
            _estimate(ax, part.get(measure), y, CELL)
        _rows(ax, list(merged) if i % 2 == 0 else [""] * len(merged), low, dense=False)
        _right(ax, [score(value_of(part.get(measure)), 2) for part in merged.values()])
        ax.set_title(rate_label(measure, run.summary["classes"], 26))
        ax.set_xlabel("share" if i >= len(shown) - 2 else "")
    for ax in panels[len(shown) :]:
        ax.set_visible(False)
    return figure


def tumor_types(run: Run) -> Figure | None:
    """Share of images classified correctly for each tumour type."""
    slices = run.summary.get("by_tumor_type") or {}
    slices = {name: part for name, part in slices.items() if name and value_of(part.get("accuracy")) is not None}
    if not slices:
        return None
    figure = new_figure(14 + 5.6 * len(slices))
    ax = figure.subplots()
    labels = _labels_of_types(run.summary)
    order = sorted(slices, key=lambda name: (labels.get(name, 0), name))
    for y, name in enumerate(order):
        _estimate(ax, slices[name]["accuracy"], y, color_of_class(labels.get(name, 0)))
    is_breakhis = source_of(run.summary["data"]).has_breakhis_names
    names = [tumor_name(name, is_breakhis) for name in order]
    _rows(ax, names, _low([v for p in slices.values() for v in _ends(p["accuracy"])]))
    parts = [(count(slices[n]["num_images"]), count(slices[n].get("num_specimens"))) for n in order]
    _right(ax, [f"{images} / {specimens}" for images, specimens in parts])
    note(ax, 1.02, 0.98, "images /\nspecimens", va="bottom", color=MUTED, fontsize=6)
    ax.set_xlabel("share of images classified correctly")
    return figure


def _labels_of_types(summary: dict[str, Any]) -> dict[str, int]:
    table = (summary.get("patient") or {}).get("table") or []
    known = {row["tumor_type"]: row["label"] for row in table if row["label"] is not None}
    return known if len(summary["classes"]) == 2 else {name: i for i, name in enumerate(summary["classes"])}


def patients(run: Run) -> Figure | None:
    """Patient scores, sorted within each tumour type."""
    table = (run.summary.get("patient") or {}).get("table") or []
    if not table:
        return None
    figure = new_figure(62)
    ax = figure.subplots()
    classes = [*run.summary["classes"], SEVERAL]
    last = len(classes) - 1  # after the classes, patients with images of several
    table = [row | {"label": last} if row["label"] is None else row for row in table]
    table.sort(key=lambda r: (r["label"], r["tumor_type"] or "", r["patient_score"], r["patient_id"]))
    gap, x = max(1.0, len(table) / 45), -1.0
    places: list[float] = []
    groups: dict[tuple[int, str], list[float]] = {}
    for i, row in enumerate(table):
        group = (row["label"], SEVERAL if row["label"] == last else row["tumor_type"] or classes[row["label"]])
        x += 1 + (gap if i and group not in groups else 0)
        groups.setdefault(group, []).append(x)
        places.append(x)
    size = min(3.6, 200 / len(table))
    for x, row in zip(places, table, strict=True):
        color = MUTED if row["label"] == last else color_of_class(row["label"])
        ax.plot([x, x], [row["patient_score"], 1], color=color, linewidth=0.6, alpha=0.35)
        ax.plot(x, row["patient_score"], "o", color=color, markersize=size, mew=0)
    _mean_line(ax, run.summary)
    _name_worst(ax, table, places)
    ax.set_xticks([(xs[0] + xs[-1]) / 2 for xs in groups.values()], [name for _, name in groups])
    for (label, _), tick in zip(groups, ax.get_xticklabels(), strict=True):
        tick.set_color(MUTED if label == last else color_of_class(label))
    ax.set(xlim=(places[0] - 1.5, places[-1] + 1.5), ylabel="patient score", xlabel="patients, by tumour type")
    share_axis(ax, "y", _low([row["patient_score"] for row in table]), 0.25)
    ax.tick_params(axis="x", length=0)
    _class_key(figure, run.summary, table)
    return figure


def _mean_line(ax: Axes, summary: dict[str, Any]) -> None:
    rate = value_of((summary["patient"].get("pooled") or {}).get("recognition_rate"))
    if rate is not None:
        ax.axhline(rate, color=MUTED, linewidth=0.6, linestyle=(0, (3, 3)), zorder=0)


def _name_worst(ax: Axes, table: list[dict[str, Any]], places: list[float]) -> None:
    """Name the lowest patients beside their points, on a side where no other point or name is met."""
    length = 0.24 * (places[-1] - places[0] + 3)
    taken = [(x, row["patient_score"]) for x, row in zip(places, table, strict=True)]
    for i in sorted(range(len(table)), key=lambda i: (table[i]["patient_score"], i))[:MOST_NAMED]:
        x, y = taken[i]
        sides = {1: (x, x + length), -1: (x - length, x)}
        for side, (left, right) in sides.items():
            outside = left < places[0] - 1 or right > places[-1] + 1
            met = [a for a, b in taken if left <= a <= right and abs(b - y) < 0.05 and a != x]
            if y < 0.999 and not outside and not met:
                name = str(table[i]["patient_id"]).split("-", 1)[-1][:14]
                ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
                ax.annotate(name, (x, y), (4 * side, 0), textcoords="offset points", va="center", fontsize=6,
                            ha="left" if side == 1 else "right", bbox=ground)  # fmt: skip
                taken += [(left, y), ((left + right) / 2, y), (right, y)]
                break


def _class_key(figure: Figure, summary: dict[str, Any], table: list[dict[str, Any]]) -> None:
    labels = sorted({row["label"] for row in table} & set(range(len(summary["classes"]))))
    handles = [Line2D([], [], color=color_of_class(k), marker="o", linestyle="", markersize=4) for k in labels]
    names = [f"{summary['classes'][k]} ({sum(row['label'] == k for row in table)})" for k in labels]
    if len(labels) <= 4:
        columns = len(labels) if sum(map(len, names)) < 50 else 1
        figure.legend(handles, names, loc="outside upper left", ncols=columns, handletextpad=0.2)


def _estimate(ax: Axes, estimate: dict[str, Any] | None, y: float, color: str, size: float = 4) -> None:
    if estimate is None or estimate["value"] is None:
        return
    hollow = estimate.get("low") is None
    if not hollow:
        ax.plot([estimate["low"], estimate["high"]], [y, y], color=color, linewidth=1.1, solid_capstyle="butt")
    ax.plot(estimate["value"], y, "o", color=color, markersize=size, markerfacecolor=PAPER if hollow else color, mew=1)


def _rows(ax: Axes, names: list[str], low: float, dense: bool = True) -> None:
    """Name the rows downwards; faint lines lead the eye from a name to its point."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.45, -0.55)
    upper, whole = (0.1, 0.25) if dense else (0.25, 0.5)
    share_axis(ax, "x", low, upper if low else whole)
    ax.hlines(range(len(names)), *ax.get_xlim(), color=LINE, linewidth=0.4, zorder=0)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _right(ax: Axes, texts: list[str]) -> None:
    for y, text in enumerate(texts):
        ax.annotate(text, (1, y), (2, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                    fontsize=6.5)  # fmt: skip


def _ends(estimate: dict[str, Any] | None) -> list[float | None]:
    return [value_of(estimate), (estimate or {}).get("low")]


def _low(values: list[float | None]) -> float:
    """Where a shared axis starts: at .5, or at 0 when a value lies near or below .5."""
    return 0.5 if all(value is None or value > 0.52 for value in values) else 0.0
