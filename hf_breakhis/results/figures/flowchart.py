"""The pipeline of a run as a figure: boxes downwards, the train part on the left, the test part on the right."""

from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.patches import FancyBboxPatch

from hf_breakhis.results.figures.style import CELL, INK, MM, MUTED, PAPER, STYLE
from hf_breakhis.results.record import Record
from hf_breakhis.results.report.pipeline import Stage, loop_label, stages

WIDTH = 85.0  # all lengths in millimetres, y downwards
SIDES = {"all": (1.0, 84.0), "both": (5.0, 80.0), "train": (5.0, 62.0), "test": (5.0, 80.0)}
TRAIN_X, TEST_X = 33.5, 72.0
PAD, TITLE, LEADING, ARROW, FRAME = 2.0, 3.4, 3.1, 4.6, 4.4
NAME_SIZE, LINE_SIZE = 7.0, 6.5


@dataclass(frozen=True)
class Box:
    """A stage with its place."""

    stage: Stage
    lines: list[str]
    top: float

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + 2 * PAD + TITLE + LEADING * len(self.lines) - 0.8


def pipeline(record: Record) -> Figure | None:
    """The pipeline of the run, drawn from its recipe."""
    if not record.recipe:
        return None
    boxes, y = [], 1.0
    told = stages(record.recipe, record.summary)
    for i, stage in enumerate(told):
        before = told[i - 1].lane if i else "all"
        y += FRAME + 0.6 if before == "all" != stage.lane else 2.4 if stage.lane == "all" != before else 0
        left, right = SIDES[stage.lane]
        boxes.append(Box(stage, [part for line in stage.lines for part in wrap(line, right - left - 2 * PAD)], y))
        y = boxes[-1].bottom + ARROW
    height = boxes[-1].bottom + 1.0
    figure = Figure(figsize=(WIDTH * MM, height * MM))
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    ax.set_axis_off()
    frame = _frame(ax, boxes, loop_label(record.recipe, record.summary))
    for box in boxes:
        _box(ax, box)
    _arrows(ax, boxes, *frame)
    return figure


def text_width(text: str, size: float) -> float:
    """Width in mm of a line of text in the figures' font."""
    font = get_font(findfont(FontProperties(family=STYLE["font.family"])))
    font.set_size(size, 72)
    font.set_text(text, flags=LoadFlags.NO_HINTING)
    return font.get_width_height()[0] / 64 / 72 / MM


def wrap(text: str, width: float, size: float = LINE_SIZE) -> list[str]:
    """Break `text` into lines of at most `width` mm; a word too long for a line is cut."""
    lines = [""]
    for word in text.split():
        grown = f"{lines[-1]} {word}".strip()
        if text_width(grown, size) <= width:
            lines[-1] = grown
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if text_width(lines[-1] + letter, size) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _box(ax: Axes, box: Box) -> None:
    left, right = SIDES[box.stage.lane]
    shape = "round,pad=0,rounding_size=1.2"
    ax.add_patch(FancyBboxPatch((left, box.top), right - left, box.bottom - box.top, boxstyle=shape, facecolor=PAPER,
                                edgecolor=CELL, linewidth=0.7, mutation_aspect=1))  # fmt: skip
    x, y = left + PAD, box.top + PAD + TITLE / 2
    ax.text(x, y - 0.3, box.stage.name, fontsize=NAME_SIZE, weight="bold", va="center", color=CELL)
    for i, line in enumerate(box.lines):
        ax.text(x, y + TITLE / 2 + LEADING * (i + 0.5), line, fontsize=LINE_SIZE, va="center", color=INK)


def _frame(ax: Axes, boxes: list[Box], label: str) -> tuple[float, float]:
    """A ground under the stages that every fold repeats, with its label on top; its upper and lower edge."""
    inside = [box for box in boxes if box.stage.lane != "all"]
    top, bottom = inside[0].top - FRAME, inside[-1].bottom + 2.4
    shape = "round,pad=0,rounding_size=1.8"
    ax.add_patch(FancyBboxPatch((2, top), 81, bottom - top, boxstyle=shape, facecolor=CELL, alpha=0.09, linewidth=0))
    ax.text(5, top + FRAME / 2 + 0.1, label, fontsize=LINE_SIZE, va="center", color=MUTED, style="italic")
    return top, bottom


def _arrows(ax: Axes, boxes: list[Box], top: float, bottom: float) -> None:
    """Arrows lead to the frame and leave it; inside they lead from stage to stage, the test part past training."""
    first, last = (next(box for box in order if box.stage.lane != "all") for order in (boxes, boxes[::-1]))
    for above, below in pairwise(boxes):
        _arrow(ax, TRAIN_X, bottom if above is last else above.bottom, top if below is first else below.top)
        if below is first:
            _arrow(ax, TEST_X, above.bottom, top)
            for x, word in ((TRAIN_X, "train part"), (TEST_X, "test part")):
                ax.text(x - 1.2, (above.bottom + top) / 2, word, fontsize=6, va="center", ha="right", color=MUTED)
    if last is not first:
        _arrow(ax, TEST_X, first.bottom, last.top)


def _arrow(ax: Axes, x: float, top: float, bottom: float) -> None:
    style = {"arrowstyle": "-|>,head_length=0.3,head_width=0.16", "color": MUTED, "linewidth": 0.8}
    ax.annotate("", (x, bottom), (x, top), arrowprops=style | {"shrinkA": 0, "shrinkB": 0})
