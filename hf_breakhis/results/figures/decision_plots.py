"""Figures of decisions: net benefit, referral of uncertain cases, zones, and scores under simulated shifts."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hf_breakhis.results.figures.style import BENIGN, CELL, INK, LINE, MALIGNANT, MUTED, PAPER, new_figure, share_axis
from hf_breakhis.results.formatting import things
from hf_breakhis.results.shifts import read_shifts
from hf_breakhis.run import Run

ZONE_COLORS = {"low": BENIGN, "uncertain": LINE, "high": MALIGNANT}
MIN_WIDTH = 0.07  # share of a bar that has room for a number


def _levels(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """Return the levels of decisions that are known, each with its title."""
    decisions = run.summary.get("decisions") or {}
    titles = {"image": "by image", "patient": f"by {decisions.get('unit') or 'patient'}"}
    return [(title, decisions[name]) for name, title in titles.items() if decisions.get(name)]


def decision_curves(run: Run) -> Figure | None:
    """Net benefit over thresholds with its band, and of both strategies without a model."""
    levels = _levels(run)
    if not levels:
        return None
    figure = new_figure(62 if len(levels) > 1 else 70)
    axes = figure.subplots(1, len(levels), squeeze=False, sharey=True)[0]
    highest = 0.0
    for ax, (title, level) in zip(axes, levels, strict=True):
        rows = level["net_benefit"]
        at = [row["threshold"] for row in rows]
        bounded = [row for row in rows if row["low"] is not None]
        ax.fill_between(
            [row["threshold"] for row in bounded], [row["low"] for row in bounded], [row["high"] for row in bounded],
            color=CELL, alpha=0.18, linewidth=0,
        )  # fmt: skip
        ax.plot(at, [row["value"] for row in rows], color=CELL, linewidth=1.4, label="model")
        ax.plot(at, [row["treat_all"] for row in rows], color=MALIGNANT, linestyle=(0, (4, 2)), label="call all")
        ax.axhline(0, color=MUTED, linewidth=0.8, label="call none")
        share_axis(ax, "x")
        highest = max([highest, level["prevalence"], *(row["high"] for row in bounded if row["threshold"] <= 0.5)])
        ax.set(title=title, xlabel="threshold probability")
    axes[0].set_ylim(-0.12, min(1.0, 1.05 * highest) + 0.02)
    axes[0].set_ylabel("net benefit")
    axes[0].legend(loc="upper right")
    return figure


def referral(run: Run) -> Figure | None:
    """Error among the cases that are kept, over the share of cases that is referred."""
    levels = _levels(run)
    if not levels:
        return None
    figure = new_figure(58)
    ax = figure.subplots()
    for (title, level), color, marker, move in zip(levels, (CELL, MALIGNANT), "os", (-0.004, 0.004), strict=False):
        rows = level["referral"]["curve"]
        at = [1 - row["coverage"] + move for row in rows]
        ax.plot(at, [row["value"] for row in rows], color=color, marker=marker, label=title)
        bounded = [(x, row) for x, row in zip(at, rows, strict=True) if row["low"] is not None]
        low, high = ([row[end] for _, row in bounded] for end in ("low", "high"))
        ax.vlines([x for x, _ in bounded], low, high, color=color, linewidth=0.8)
    ax.set(xlabel="share of cases that is referred", ylabel="error among the others")
    ends = ("value", "high")
    highest = max(row[end] or 0.0 for _, level in levels for row in level["referral"]["curve"] for end in ends)
    ax.set_ylim(0, min(1.0, max(0.5, 1.25 * highest)))
    ax.legend()
    return figure


def zones(run: Run) -> Figure | None:
    """Share of the patients of each class in each zone, cross-fitted."""
    found = (run.summary.get("decisions") or {}).get("zones") or {}
    checked = found.get("cross_fitted", {}).get("mean")
    if not checked:
        return None
    figure = new_figure(34)
    ax = figure.subplots()
    classes = list(checked["counts"])[::-1]
    for row, name in enumerate(classes):
        _bar(ax, row, checked["counts"][name])
    labels = [f"{name}\n{things(sum(checked['counts'][name].values()), found['unit'])}" for name in classes]
    ax.set_yticks(range(len(classes)), labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(0, 1), xlabel=f"share of the {found['unit']}s of the class")
    handles = [Patch(color=color, label=zone) for zone, color in ZONE_COLORS.items()]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def shifts(run: Run) -> Figure | None:
    """AUC under each simulated shift over its strength."""
    found = {} if "protocol" not in run.summary else read_shifts(run)
    if not found:
        return None
    names = list(dict.fromkeys(row["shift"] for row in found["rows"]))
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = new_figure(lines * 34 + 6)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    start = found["plain"]["scores"]["roc_auc"]
    for number, (ax, name) in enumerate(zip(axes, names, strict=False)):
        rows = [(0, start), *((row["strength"], row["scores"]["roc_auc"]) for row in found["rows"]
                              if row["shift"] == name)]  # fmt: skip
        ax.axhline(start["value"], color=LINE, linewidth=0.8)
        ax.axhline(0.5, color=MUTED, linewidth=0.6, linestyle=(0, (3, 3)))
        ax.plot([at for at, _ in rows], [one["value"] for _, one in rows], color=CELL, marker="o")
        bounded = [(at, one) for at, one in rows if one["low"] is not None]
        low, high = ([one[end] for _, one in bounded] for end in ("low", "high"))
        ax.vlines([at for at, _ in bounded], low, high, color=CELL, linewidth=0.8)
        share_axis(ax, "y")
        ax.set(title=name, xticks=range(4), xlim=(-0.3, 3.3))
        ax.set_xlabel("strength" if number + columns >= len(names) else "")
        ax.set_ylabel("" if number % columns else "ROC AUC")
        ax.tick_params(labelbottom=number + columns >= len(names))
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    return figure


def _bar(ax: Axes, row: int, counts: dict[str, int]) -> None:
    total, left = sum(counts.values()), 0.0
    for zone, color in ZONE_COLORS.items():
        width = counts[zone] / total if total else 0.0
        ax.barh(row, width, left=left, color=color, height=0.6)
        if width >= MIN_WIDTH:
            ink = INK if zone == "uncertain" else PAPER
            ax.text(left + width / 2, row, str(counts[zone]), ha="center", va="center", color=ink)
        left += width
