"""The figures of a run: each takes its run and gives a figure, or None when there is nothing to show."""

from collections.abc import Callable, Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hf_breakhis.results.figures.decision_plots import decision_curves, referral, shifts, zones
from hf_breakhis.results.figures.dotplots import (
    baselines,
    compared,
    magnifications,
    patients,
    repeats,
    specimens,
    study,
    tumor_types,
)
from hf_breakhis.results.figures.searches import importance, trials
from hf_breakhis.results.figures.style import (
    BENIGN,
    CELL,
    INK,
    LINE,
    MALIGNANT,
    MUTED,
    PAPER,
    color_of_fold,
    journal_style,
    marker_of_fold,
    new_figure,
    note,
    rate_label,
    share_axis,
)  # fmt: skip
from hf_breakhis.results.formatting import count, percent, score, things
from hf_breakhis.run import Run


def confusion_mean(run: Run) -> Figure | None:
    """Mean confusion matrix over the folds."""
    image = run.summary["image"]
    classes = run.summary["classes"]
    figure = new_figure(58 if len(classes) == 2 and not _long(classes) else 78)
    _matrix(figure.subplots(), image["mean_confusion_matrix"], classes)
    return figure


def confusion_folds(run: Run) -> Figure | None:
    """Confusion matrix of each fold."""
    reports = run.summary["image"]["per_fold"]
    classes = run.summary["classes"]
    narrow = len(classes) == 2 and not _long(classes)
    columns = min(3, len(reports)) if narrow else 1
    rows = -(-len(reports) // columns)
    figure = new_figure(rows * (58 if columns == 1 else 44 if columns == 2 else 37) if narrow else rows * 78)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, (ax, report) in enumerate(zip(panels, reports, strict=False)):
        _matrix(ax, report["confusion_matrix"], classes, columns > 1)
        ax.set_title(f"fold {report['fold']}")
        ax.set_ylabel(ax.get_ylabel() if i % columns == 0 else "")
        if i % columns:
            ax.set_yticklabels([])
    _hide(panels[len(reports) :])
    return figure


def _matrix(ax: Axes, matrix: list[list[float]], classes: list[str], small: bool = False) -> None:
    """Counts shaded by their share of the true class, truth downwards and prediction to the right."""
    size = len(classes)
    for i, row in enumerate(matrix):
        total = sum(row)
        for j, number in enumerate(row):
            part = number / total if total else 0.0
            ax.add_patch(Rectangle((j, i), 1, 1, facecolor=CELL, alpha=round(0.04 + 0.9 * part, 3), linewidth=0))
            text = f"{count(number)}\n{percent(part)}" if size == 2 and total else count(number) if number else "·"
            color = PAPER if part > 0.5 else INK
            ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=color, fontsize=6 if small else 7)
    centers = [i + 0.5 for i in range(size)]
    names = [name if len(name) <= 24 else f"{name[:23]}…" for name in classes]
    ax.set_xticks(centers, names, rotation=90 if _long(names) else 0)
    ax.set_yticks(centers, names, rotation=90 if size == 2 and not _long(names) else 0, va="center")
    ax.set(xlim=(0, size), ylim=(size, 0), aspect="equal", xlabel="predicted", ylabel="truth")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _long(classes: list[str]) -> bool:
    """Whether names of classes are too long for the side of a cell."""
    return max(map(len, classes)) > 10


def roc_mean(run: Run) -> Figure | None:
    """Mean ROC with a band of one standard deviation; more than two classes get a panel each, against the rest."""
    roc = run.summary["image"].get("roc") or {}
    if roc.get("one_vs_rest"):
        return _panels(
            [(name, curves, curves["mean"]) for name, curves in roc["one_vs_rest"].items()], run.summary["classes"]
        )
    return _mean_curve(roc, run.summary["classes"])


def roc_patients(run: Run) -> Figure | None:
    """Mean ROC of the patients' mean probabilities."""
    return _mean_curve((run.summary.get("patient") or {}).get("roc") or {}, run.summary["classes"])


def _mean_curve(roc: dict[str, Any], classes: list[str]) -> Figure | None:
    """Mean ROC of two classes with a band of one standard deviation, the folds in grey."""
    if not roc.get("mean"):
        return None
    figure = new_figure(76)
    ax = _roc_axes(figure.subplots(), classes)
    _curves(ax, roc["per_fold"], roc["mean"])
    lines = [f"AUC {score(roc['mean']['auc'])}"]
    if roc["mean"].get("sd"):
        lines += [f"mean of {things(len(roc['per_fold']), 'fold')}", "band: ±1 sd over folds"]
    note(ax, 0.96, 0.08, "\n".join(lines), ha="right", va="bottom", linespacing=1.5)
    return figure


def roc_folds(run: Run) -> Figure | None:
    """ROC of each fold, the others in grey behind it."""
    roc = run.summary["image"].get("roc") or {}
    return _panels(
        [(f"fold {curve['fold']}", roc, curve) for curve in roc.get("per_fold", [])], run.summary["classes"]
    )


def _panels(named: list[tuple[str, dict[str, Any], dict[str, Any] | None]], classes: list[str]) -> Figure | None:
    """A panel for each (title, curves in grey, curve in front) that has a curve."""
    shown = [(title, curves, front) for title, curves, front in named if front]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(rows * {3: 35, 2: 42, 1: 70}[columns] + 7)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for i, (ax, (title, curves, front)) in enumerate(zip(panels, shown, strict=False)):
        _roc_axes(ax, classes, sparse=columns == 3)
        _curves(ax, curves["per_fold"], front)
        ax.set_title(title)
        note(ax, 0.95, 0.08, f"AUC {score(front['auc'])}", ha="right", va="bottom")
        last = i + columns >= len(shown)
        ax.set(ylabel=ax.get_ylabel() if i % columns == 0 else "", xlabel=ax.get_xlabel() if last else "")
        ax.tick_params(labelbottom=last)
    _hide(panels[len(shown) :])
    return figure


def _curves(ax: Axes, folds: list[dict[str, Any]], front: dict[str, Any]) -> None:
    for fold in folds:
        ax.plot(fold["fpr"], fold["tpr"], color=LINE, linewidth=0.7, zorder=1)
    if front.get("sd"):
        low = [max(0.0, rate - sd) for rate, sd in zip(front["tpr"], front["sd"], strict=True)]
        high = [min(1.0, rate + sd) for rate, sd in zip(front["tpr"], front["sd"], strict=True)]
        ax.fill_between(front["fpr"], low, high, color=CELL, alpha=0.18, linewidth=0)
    ax.plot(front["fpr"], front["tpr"], color=CELL, linewidth=1.4)


def _roc_axes(ax: Axes, classes: list[str], sparse: bool = False) -> Axes:
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.6, linestyle=(0, (3, 3)))
    share_axis(ax, "x")
    share_axis(ax, "y")
    if sparse:
        ax.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], xticklabels=["0", ".5", "1"], yticklabels=["0", ".5", "1"])
    across, up = (rate_label(key, classes, 16 if sparse else 24) for key in ("specificity", "sensitivity"))
    ax.set(aspect="equal", xlabel=f"1 \N{MINUS SIGN} {across}", ylabel=up)
    return ax


def watched_parts(run: Run) -> str:
    """Return the part that training was evaluated on after each epoch, "validation" or "test"."""
    tables = [table["eval_part"] for table in run.histories.values() if "eval_part" in table]
    parts = {part for table in tables for part in table.dropna()}
    return " or ".join(sorted(parts)) or "evaluation"


def learning_curves(run: Run) -> Figure | None:
    """Loss, accuracy and learning rate after each epoch, one line a fold."""
    watched = watched_parts(run)
    panels = {
        "train_loss": "training loss",
        "eval_loss": f"{watched} loss",
        "eval_accuracy": f"{watched} accuracy",
        "learning_rate": "learning rate",
    }
    histories = {fold: table for fold, table in run.histories.items() if len(table)}
    shown = [name for name in panels if any(name in t and t[name].notna().any() for t in histories.values())]
    if not shown:
        return None
    rows = -(-len(shown) // 2)
    figure = new_figure(6 + 34 * rows)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, name in zip(axes, shown, strict=False):
        for i, (fold, table) in enumerate(histories.items()):
            if name in table:
                kept = table[table[name].notna()]
                marker = marker_of_fold(i) if len(kept) <= 12 else None
                ax.plot(kept["epoch"], kept[name], color=color_of_fold(i), marker=marker, label=f"fold {fold}")
        ax.set_title(panels[name])
        ax.set(xlabel="epoch", ylabel=panels[name].split()[-1])
        _scale(ax, name, [value for t in histories.values() if name in t for value in t[name].dropna()])
        ax.xaxis.get_major_locator().set_params(integer=True, nbins=6)
        ax.grid(axis="y", color=LINE, linewidth=0.4)
    if {"train_loss", "eval_loss"} <= set(shown):
        axes[0].sharey(axes[1])
        axes[1].autoscale(axis="y")
    _hide(axes[len(shown) :])
    handles, labels = axes[0].get_legend_handles_labels()
    columns = min(5, len(labels))
    # A legend fills column by column; this order reads row by row.
    order = [i for column in range(columns) for i in range(column, len(labels), columns)]
    figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside upper left", ncols=columns,
                  columnspacing=1.2)  # fmt: skip
    return figure


def _scale(ax: Axes, name: str, values: list[float]) -> None:
    if name == "learning_rate" and min(values) > 0 and max(values) >= 10 * min(values):
        ax.set_yscale("log")
        ax.set_ylim(bottom=max(min(values), max(values) / 1e4) / 1.5)  # a cosine's last rate is all but nothing
        ax.minorticks_off()
    elif name == "learning_rate":
        ax.set_ylim(0, 1.15 * max(values) or 1)
    if name == "learning_rate":
        ax.yaxis.set_major_formatter("{x:g}")  # matplotlib's own writes powers of ten as formulas


def reliability(run: Run) -> Figure | None:
    """Reliability diagram, with the number of images in each bin below it."""
    calibration = run.summary.get("calibration") or {}
    bins = [part for part in calibration.get("bins", []) if part["count"]]
    if not bins:
        return None
    positive = run.summary.get("positive_class")
    figure = new_figure(88)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    top.plot([0, 1], [0, 1], color=MUTED, linewidth=0.6, linestyle=(0, (3, 3)))
    x, y = [part["mean_probability"] for part in bins], [part["share_positive"] for part in bins]
    top.plot(x, y, color=CELL, marker="o", markersize=4.5, linestyle="none", label="as trained")
    bounded = [part for part in bins if part.get("share_low") is not None]
    top.vlines(
        [part["mean_probability"] for part in bounded],
        [part["share_low"] for part in bounded],
        [part["share_high"] for part in bounded],
        color=CELL,
        linewidth=0.9,
    )
    after = [part for part in (calibration.get("temperature") or {}).get("bins_after", []) if part["count"]]
    if after:
        x, y = [part["mean_probability"] for part in after], [part["share_positive"] for part in after]
        top.plot(x, y, color=MUTED, marker="s", markersize=3, linestyle="none", label="with temperature")
        top.legend(loc="upper left")
    share_axis(top, "x")
    share_axis(top, "y")
    top.set_ylabel(f"share that is {positive}" if positive else "share classified correctly")
    top.set_title(f"ECE {score(calibration['ece'])}, Brier score {score(calibration['brier'])}", weight="normal")
    middle = [(part["low"] + part["high"]) / 2 for part in bins]
    below.bar(middle, [part["count"] for part in bins], [0.9 * (p["high"] - p["low"]) for p in bins], color=LINE)
    below.set(xlabel=f"predicted probability of {positive}" if positive else "probability of the predicted class")
    below.set_ylabel("images")
    below.yaxis.get_major_locator().set_params(nbins=3)
    return figure


def prevalence(run: Run) -> Figure | None:
    """Predictive values at the threshold over a range of prevalences."""
    point = ((run.summary.get("decision") or {}).get("cross_fitted") or {}).get("operating_point")
    if not point:
        return None
    figure = new_figure(58)
    ax = figure.subplots()
    shares = [row["prevalence"] for row in point["by_prevalence"]]
    for name, color, label in (("ppv", MALIGNANT, "PPV"), ("npv", BENIGN, "NPV")):
        rows = [row[name] for row in point["by_prevalence"]]
        known = [k for k, row in enumerate(rows) if row["value"] is not None]
        ax.plot([shares[k] for k in known], [rows[k]["value"] for k in known], color=color, marker="o", label=label)
        bounded = [k for k in known if rows[k]["low"] is not None]
        low, high = ([rows[k][end] for k in bounded] for end in ("low", "high"))
        ax.fill_between([shares[k] for k in bounded], low, high, color=color, alpha=0.15, linewidth=0)
    share_axis(ax, "y")
    ax.set(xscale="log", xticks=shares, xlabel="share of images that are positive", ylabel="predictive value")
    ax.set_xticklabels([f"{share:g}" for share in shares])
    ax.minorticks_off()
    ax.legend(loc="lower center", ncols=2)
    return figure


def _hide(axes: Iterable[Axes]) -> None:
    for ax in axes:
        ax.set_visible(False)


# In the order of the report; a new figure is one function and one line here, and its words in captions.py.
FIGURES: dict[str, Callable[[Run], Figure | None]] = {
    "baselines": baselines,
    "confusion_mean": confusion_mean,
    "confusion_folds": confusion_folds,
    "roc_mean": roc_mean,
    "roc_folds": roc_folds,
    "roc_patients": roc_patients,
    "learning_curves": learning_curves,
    "reliability": reliability,
    "prevalence": prevalence,
    "decision_curves": decision_curves,
    "referral": referral,
    "zones": zones,
    "shifts": shifts,
    "magnifications": magnifications,
    "tumor_types": tumor_types,
    "patients": patients,
    "repeats": repeats,
}
BETWEEN_RUNS: dict[str, Callable[[Run], Figure | None]] = {
    "study": study,
    "specimens": specimens,
    "compared": compared,
    "trials": trials,
    "importance": importance,
}


def draw_figure(name: str, run: Run) -> Figure | None:
    """Draw one figure in the style of all; None when the run has nothing for it.

    Raises:
        ValueError: there is no figure of this name.
    """
    figures = FIGURES | BETWEEN_RUNS
    if name not in figures:
        raise ValueError(f"Unknown figure {name!r}; choose from {sorted(figures)}.")
    with journal_style():
        return figures[name](run)
