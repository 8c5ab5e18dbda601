"""Text for the terminal: tables, and sentences broken into lines."""

import io
import textwrap
from collections.abc import Collection, Iterable, Sequence

WIDTH = 88  # of a sentence
MAX_WIDTH = 100  # of a table
_ASCII = str.maketrans({"±": "+-", "\N{EN DASH}": "-"})


def folded(text: str, width: int = WIDTH) -> list[str]:
    """Return a text as lines of at most `width` columns, all but the first indented; a longer path stays whole."""
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def ascii_only(text: str) -> str:
    """Keep to ASCII, since not every terminal and log file has more."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)) -> list[str]:
    """Return a table as lines of at most 100 columns: a head, a rule and the rows, each column as wide as its cells.

    What the package itself writes is ASCII; names of the user stay as they are.

    Args:
        head: name of each column.
        rows: cells of each row; a row of none is an empty line.
        words: positions of the columns of words, at the left of their column and broken where a row is too long. The
            others hold numbers, at the right.
    """
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # cells are no markup

    rule = Box("    \n    \n----\n    \n    \n    \n    \n    ", ascii=True)
    table = Table(box=rule, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for place, name in enumerate(head):
        table.add_column(Text(name.translate(_ASCII)), justify="left" if place in words else "right", overflow="fold")
        table.columns[-1].no_wrap = place not in words
    for row in rows:
        table.add_row(*(Text(cell.translate(_ASCII)) for cell in row))
    screen = io.StringIO()
    Console(file=screen, width=MAX_WIDTH, color_system=None, force_jupyter=False).print(table)
    return [line.rstrip() for line in screen.getvalue().splitlines()]
