"""Pictures of a data set: the contact sheet, and the paper's Figures 1 and 2."""

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageStat

from hf_breakhis.data.counts import choose_pair, choose_sheet, original_bytes
from hf_breakhis.data.filenames import TUMOR_TYPES
from hf_breakhis.data.images import Images
from hf_breakhis.data.open_image import PILLOW_ERRORS, open_image
from hf_breakhis.files import InputError, write_whole
from hf_breakhis.results.figures.style import COLUMN, LINE, MM, MUTED, color_of_class, figure_bytes, journal_style
from hf_breakhis.results.formatting import things

MAX_ROWS = 40
THUMBNAIL = 480  # pixels; as many as a cell has in print
# Millimetres: two columns of a journal, what stands left of the pictures, above them, between and below them.
_PAGE, _NAMES, _TOP, _GAP, _NAME_OF_FILE, _CAPTION, _MARGIN = 176, 24, 11, 2, 5, 16, 2


def require_picture_name(path: Path) -> None:
    """Refuse early what could only fail after the work.

    Raises:
        InputError: the name does not end in .png.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"The picture {path} is to be written as PNG; give a name that ends in .png.")


def write_picture(path: Path, draw: Callable[..., Figure], images: Images, seed: int) -> Path:
    """Draw `contact_sheet` or `class_figure` into a PNG."""
    require_picture_name(path)
    with journal_style():
        content = figure_bytes(draw(images, seed), "png")
    return write_whole(path, lambda beside: beside.write_bytes(content))


def contact_sheet(images: Images, seed: int = 0) -> Figure:
    """A page of pictures: a row for each class or tumour type, a column for each magnification."""
    sheet = choose_sheet(images.dataset, seed)
    rows, columns = sheet.rows[:MAX_ROWS], len(sheet.columns)
    wide = (_PAGE - _NAMES + _GAP) / columns - _GAP
    tall = wide * _shape(images.dataset, int(sheet.cells.max()))
    page = _Page(_PAGE, _TOP + len(rows) * (tall + _NAME_OF_FILE) + 5)
    for i, (label, name, tumor) in enumerate(rows):
        y = _TOP + i * (tall + _NAME_OF_FILE)
        _name_row(page, y, tall, label, name, tumor)
        for j, row in enumerate(sheet.cells[i]):
            x = _NAMES + j * (wide + _GAP)
            if i == 0:
                page.write(x, y - 4.2, sheet.columns[j], weight="bold")
            _show(page.box(x, y, wide, tall), images.dataset, int(row))
            if row >= 0:
                name_of_file = images.dataset.select_columns("file_name")[int(row)]["file_name"]
                page.write(x, y + tall + 0.7, _short(name_of_file), fontsize=5.5)
    more = "" if len(rows) == len(sheet.rows) else f"; the first {MAX_ROWS} of {len(sheet.rows)} classes"
    title = f"{images.source}, {things(len(images.dataset), 'image')}: a choice by chance, seed {seed}{more}"
    page.write(0, 0, title, weight="bold", fontsize=8)
    page.write(0, page.height - 3, images.about.short_credit, color=MUTED, fontsize=6)
    return page.figure


def class_figure(images: Images, seed: int = 0) -> Figure:
    """The paper's Figures 1 and 2: an image of each class, each with its caption."""
    chosen = choose_pair(images.dataset, seed, lambda row: _contrast(images.dataset, row))[:4]
    wide = COLUMN / MM
    tall = [wide * _shape(images.dataset, row) for row in chosen]
    page = _Page(wide, sum(tall) + _CAPTION * len(chosen))
    y = 0.0
    for i, row in enumerate(chosen):
        _show(page.box(0, y, wide, tall[i]), images.dataset, row, side=2 * THUMBNAIL)
        caption = f"Fig. {i + 1}. {_caption(images, row)}"
        page.write(0, y + tall[i] + 2, "\n".join(textwrap.wrap(caption, 64)), linespacing=1.35)
        y += tall[i] + _CAPTION
    return page.figure


class _Page:
    """A figure on which places are given in millimetres from the upper left corner, within a margin."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.full = (width + 2 * _MARGIN, height + 2 * _MARGIN)
        self.figure = Figure(figsize=(self.full[0] * MM, self.full[1] * MM))

    def box(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes without ticks; a picture of another shape stands in their upper left corner."""
        left, top = (x + _MARGIN) / self.full[0], 1 - (y + _MARGIN) / self.full[1]
        down = height / self.full[1]
        ax = self.figure.add_axes((left, top - down, width / self.full[0], down), xticks=[], yticks=[], anchor="NW")
        ax.spines[:].set(visible=True, color=LINE, linewidth=0.5)
        return ax

    def write(self, x: float, y: float, text: str, **kwargs: Any) -> None:
        """Write text whose upper left corner is at this place."""
        place = ((x + _MARGIN) / self.full[0], 1 - (y + _MARGIN) / self.full[1])
        self.figure.text(*place, text, va="top", **kwargs)


def _caption(images: Images, row: int) -> str:
    """Say what an image shows, as far as its source knows it, and whose it is."""
    known = images.dataset.remove_columns("image")[row]
    label = images.dataset.features["label"].names[known["label"]]
    rest = {"magnification": known["magnification"], "slide": known["patient_id"]}
    if known["tumor_type"] not in TUMOR_TYPES:
        parts = [f"Image of class {label} ({known['file_name']})"]
    elif images.about.is_generated:  # no biopsy, and no slide
        rest["named as slide"] = rest.pop("slide")
        parts = [f"Drawn picture in the manner of a {label} breast tumour: {TUMOR_TYPES[known['tumor_type']]}"]
    else:
        parts = [f"Biopsy section of a {label} breast tumour: {TUMOR_TYPES[known['tumor_type']]}"]
    if known["tumor_type"] in TUMOR_TYPES:
        parts += [f"{name} {value}" for name, value in rest.items() if value]
    credit = images.about.short_credit
    return f"{', '.join(parts)}. {credit}".rstrip()


def _contrast(dataset: datasets.Dataset, row: int) -> float | None:
    """Return how far the grey levels of an image spread, None if it does not decode; where no tumour is, little."""
    picture = _picture(dataset, row, 128)
    return None if picture is None else float(ImageStat.Stat(picture.convert("L")).stddev[0])


def _name_row(page: _Page, y: float, tall: float, label: int, name: str, tumor: str | None) -> None:
    """Write the class and tumour type left of a row, with a bar in the colour of the class."""
    bar = page.box(_NAMES - 1.6, y, 0.8, tall)
    bar.set_facecolor(color_of_class(label))
    bar.spines[:].set_visible(False)
    lines = textwrap.wrap(TUMOR_TYPES.get(tumor, tumor) if tumor else name, 13)
    page.write(0, y, "\n".join(lines), weight="bold", linespacing=1.3)
    if tumor and tumor != name:
        page.write(0, y + 3.3 * len(lines), name, color=color_of_class(label), fontsize=6.5)


def _show(ax: Axes, dataset: datasets.Dataset, row: int, side: int = THUMBNAIL) -> None:
    """Show one image, or say why there is none."""
    picture = _picture(dataset, row, side) if row >= 0 else None
    if picture is None:
        text = "none" if row < 0 else "cannot be read"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=MUTED)
    else:
        ax.imshow(picture)


def _short(file_name: str) -> str:
    """Leave out of a name what its row says already: SOB_B_A-14-22549AB-40-001.png -> 14-22549AB-40-001."""
    name = Path(file_name).stem
    tail = name.partition("-")[2] if name.startswith("SOB_") else name
    return tail if len(tail) <= 30 else f"{tail[:29]}…"


def _shape(dataset: datasets.Dataset, row: int) -> float:
    """Return height by width of an image, within what a page can bear."""
    picture = _picture(dataset, row, THUMBNAIL)
    return 460 / 700 if picture is None else min(1.3, max(0.4, picture.height / picture.width))


def _picture(dataset: datasets.Dataset, row: int, side: int) -> Image.Image | None:
    """Return an image of at most `side` pixels across, None if it does not decode."""
    files = dataset.select_columns("image").cast_column("image", datasets.Image(decode=False))
    try:
        picture = open_image(original_bytes(files[row]["image"])).convert("RGB")
    except PILLOW_ERRORS:
        return None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture
