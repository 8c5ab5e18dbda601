"""Figures of a search: the score of each trial, and the importance of each field."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hf_breakhis.results.figures.style import CELL, LINE, MUTED, PAPER, color_of_fold, marker_of_fold, new_figure
from hf_breakhis.run import Run


def trials(run: Run) -> Figure | None:
    """The score of each trial of the final search, the best one so far, and the nested score."""
    rows = run.summary["parts"][-1]["trials"]
    ended = [(row["trial"], row["value"]) for row in rows if row["value"] is not None]
    stopped = [(row["trial"], row["steps"][-1]) for row in rows if row["state"] == "pruned" and row["steps"]]
    if not ended:
        return None
    figure = new_figure(58)
    ax = figure.subplots()
    nested = run.summary["scores"]["nested"][run.summary["metric"]]
    if nested["low"] is not None:
        ax.axhspan(nested["low"], nested["high"], color=LINE, alpha=0.5, linewidth=0, zorder=0)
    ax.axhline(nested["value"], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)), label="nested score")
    if stopped:
        style: dict[str, Any] = {"color": MUTED, "markerfacecolor": PAPER, "markersize": 3, "mew": 0.7}
        ax.plot(*zip(*stopped, strict=True), "o", label="stopped early", **style)
    ax.plot(*zip(*ended, strict=True), "o", color=CELL, markersize=3, mew=0, label="trial")
    numbers, values = np.array(ended).T
    best = np.maximum.accumulate(values)
    ends = np.append(numbers, rows[-1]["trial"]), np.append(best, best[-1])
    ax.step(*ends, where="post", color=CELL, linewidth=1, label="best so far")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="trial of the final search", ylabel=run.summary["score_name"])
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def importance(run: Run) -> Figure | None:
    """The importance of each field in the final search, and in the search of each outer fold."""
    parts = [part for part in run.summary["parts"] if part["importance"] is not None]
    final = run.summary["parts"][-1]["importance"]
    if final is None:
        return None
    names = sorted(final, key=lambda name: (-final[name], name))
    figure = new_figure(16 + 6 * len(names))
    ax = figure.subplots()
    ax.barh(range(len(names)), [final[name] for name in names], height=0.55, color=CELL, alpha=0.35,
            label="final search")  # fmt: skip
    for place, part in enumerate(part for part in parts if part["outer_fold"] is not None):
        values = [part["importance"].get(name, np.nan) for name in names]
        style: dict[str, Any] = {
            "color": color_of_fold(place),
            "markersize": 3.5,
            "label": f"outer fold {part['outer_fold']}",
        }
        ax.plot(values, range(len(names)), marker_of_fold(place), **style)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlim=(0, None), xlabel="importance (share of 1)")
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper left", ncols=3)
    return figure
