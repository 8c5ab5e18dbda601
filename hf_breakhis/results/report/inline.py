"""Figures and pictures as parts of one page: no file beside it, no network, both colour schemes."""

import base64
import io
import re
from pathlib import Path

from markupsafe import Markup, escape

from hf_breakhis.data.open_image import PILLOW_ERRORS, open_image
from hf_breakhis.results.figures import style

# The page gives each of these colours a value for light and for dark.
VARIABLES = {
    style.INK: "ink",
    style.MUTED: "muted",
    style.LINE: "line",
    style.PAPER: "paper",
    style.CELL: "cell",
    style.BENIGN: "benign",
    style.MALIGNANT: "malignant",
} | {color: f"fold-{i}" for i, color in enumerate(style.FOLDS)}

_COLOR = re.compile(r"#[0-9a-f]{6}\b")
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_FONT = re.compile(r"font-family: [^;\"]*")
_STYLE = re.compile(r'style="([^"]*)"')


def inline_svg(svg: bytes, name: str, label: str) -> Markup:
    """An SVG file of matplotlib's as an element of a page.

    It loses its own size, so that it fills its column; its ids get `name` in front, since a page holds many figures;
    its colours become CSS variables, and its text takes the font of the page.

    Args:
        svg: the file.
        name: unique in the page.
        label: what a screen reader says.
    """
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    opening, rest = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', opening)
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    rest = re.sub(r'<style type="text/css">.*?</style>', "", rest, flags=re.DOTALL)
    rest = rest.replace("xlink:href", "href")
    rest = _ID.sub(lambda found: found[1] + f"{name}-", rest)
    rest = _STYLE.sub(lambda found: f'style="{_themed(found[1])}"', rest)
    head = f'<svg class="figure" role="img" aria-label="{escape(label)}" {box[0] if box else ""}>'
    return Markup(head + rest.strip())  # noqa: S704 (matplotlib has escaped the text inside)


def _themed(declarations: str) -> str:
    """Colours as variables, and the font of the page."""

    def variable(found: re.Match[str]) -> str:
        return f"var(--{VARIABLES[found[0]]})" if found[0] in VARIABLES else found[0]

    return _FONT.sub("font-family: var(--font)", _COLOR.sub(variable, declarations))


def thumbnail_uri(path: Path, width: int = 224) -> str | None:
    """The picture as a data URI (JPEG, a tenth of the PNG's size); None when there is no readable picture."""
    try:
        with open_image(path) as image:
            picture = image.convert("RGB")
    except PILLOW_ERRORS:
        return None
    picture.thumbnail((width, width))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
