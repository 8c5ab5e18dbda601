"""How figures look, in one place: sizes, colours, and the bytes they become."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hf_breakhis.results.formatting import MEASURES, rate_name

MM = 1 / 25.4
COLUMN = 85 * MM  # width of a journal's column, in inches; a phone shows it at about its own size
INK, MUTED, LINE, PAPER = "#1c2330", "#5b6575", "#ccd3dd", "#ffffff"
# Blue and vermilion of Okabe and Ito (2008), distinguishable with every kind of colour vision.
BENIGN, MALIGNANT = "#0072b2", "#d55e00"
CELL = "#33568a"
FOLDS = ("#8a63d2", "#159a86", "#b58900", "#d0487e", "#64748b")
MARKERS = ("o", "s", "^", "D", "v")
CLASS_COLORS = (BENIGN, MALIGNANT, *FOLDS, CELL)

# svg.hashsalt makes the ids inside an SVG, and so its bytes, the same each time.
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 7,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.fontsize": 6.5,
    "legend.handlelength": 1.4,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "svg.fonttype": "none",
    "svg.hashsalt": "hf_breakhis",
    "savefig.dpi": 300,
}


@contextmanager
def journal_style() -> Iterator[None]:
    """Draw and save inside this; the caller's own matplotlib settings come back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def new_figure(height_mm: float, width_mm: float = 85) -> Figure:
    """An empty figure of a journal's column width that makes room for its own labels."""
    return Figure(figsize=(width_mm * MM, height_mm * MM), layout="constrained")


def color_of_class(label: int) -> str:
    """Blue for benign and vermilion for malignant; other targets take the list in order."""
    return CLASS_COLORS[label % len(CLASS_COLORS)]


def color_of_fold(position: int) -> str:
    """Colour of the fold at this position; after five they come again, with another marker."""
    return FOLDS[position % len(FOLDS)]


def marker_of_fold(position: int) -> str:
    """Marker of the fold at this position; with its colour it is unique among 25 folds."""
    return MARKERS[(position + position // len(FOLDS)) % len(MARKERS)]


def share_axis(ax: Axes, axis: str, low: float = 0.0, step: float = 0.25) -> None:
    """Let an axis run from `low` to 1 with a little air, so that a point at 1 is whole."""
    air = 0.03 * (1 - low)
    ticks = [step * k for k in range(round(1 / step) + 1) if step * k > low - 1e-9]
    ax.set(**{f"{axis}lim": (low - air, 1 + air), f"{axis}ticks": ticks})
    ax.set(**{f"{axis}ticklabels": [f"{tick:g}" for tick in ticks]})


def note(ax: Axes, x: float, y: float, text: str, **kwargs: Any) -> None:
    """Write in axes coordinates: 0, 0 is the lower left corner."""
    ax.text(x, y, text, transform=ax.transAxes, **kwargs)


def rate_label(key: str, classes: Sequence[str], width: int) -> str:
    """Sensitivity or specificity with its class, in lines of `width` characters; a long name of a class is cut."""
    short = [name if len(name) <= 14 else f"{name[:13]}\N{HORIZONTAL ELLIPSIS}" for name in classes]
    return fill(rate_name(key, MEASURES[key].lower(), short), width, break_long_words=False)


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as "svg" or "png"; equal figures give equal bytes, so no date and no version."""
    buffer = io.BytesIO()
    absent = {"svg": ("Date", "Creator", "Format", "Type"), "png": ("Software",)}[kind]
    with journal_style():
        _arrange(figure)
        figure.savefig(buffer, format=kind, metadata=dict.fromkeys(absent))
    return buffer.getvalue()


def _arrange(figure: Figure) -> None:
    """Make room for labels once; `savefig` would do it again for each file, and draw twice to do it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        FigureCanvasSVG(figure)
        engine.execute(figure)
        figure.set_layout_engine(None)
