"""Text for the terminal: tables, and sentences broken into lines."""

import io
import textwrap
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

WIDTH = 88  # of a sentence
UNBROKEN = "\N{NO-BREAK SPACE}"
MAX_WIDTH = 100  # of a table
MAX_HEAD = 20  # of a line of the head of a column of numbers
MIN_WORDS = 16  # of a column of words that are broken
_GAP = 2  # between two columns
_ASCII = str.maketrans({"±": "+-", "\N{EN DASH}": "-"})


def folded(text: str, width: int = WIDTH) -> list[str]:
    """Return a text as lines of at most `width` columns, all but the first indented; a longer path stays whole.

    No line begins with a percent sign.
    """
    text = text.replace(" %", f"{UNBROKEN}%")
    lines = textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [line.replace(UNBROKEN, " ") for line in lines]


def ascii_only(text: str) -> str:
    """Keep to ASCII, since not every terminal and log file has more."""
    return text.translate(_ASCII).encode("ascii", "replace").decode()


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], words: Collection[int] = (0,)) -> list[str]:
    """Return a table as lines: a head, a rule and the rows, each column as wide as its cells.

    It has at most 100 columns of characters, unless the numbers alone need more: they are never cut. What the package
    itself writes is ASCII; names of the user stay as they are.

    Args:
        head: name of each column.
        rows: cells of each row; a row of none is an empty line.
        words: positions of the columns of words, at the left of their column and broken where a row is too long. The
            others hold numbers, at the right.
    """
    from rich.box import Box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # cells are no markup

    cells = [[cell.translate(_ASCII) for cell in row] for row in rows]
    rule = Box("    \n    \n----\n    \n    \n    \n    \n    ", ascii=True)
    table = Table(box=rule, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    least = _GAP * (len(head) - 1)
    for place, name in enumerate(head):
        lines = [name.translate(_ASCII)] if place in words else textwrap.wrap(name.translate(_ASCII), MAX_HEAD)
        longest = max(map(cell_len, [*lines, *(row[place] for row in cells if place < len(row))]), default=0)
        least += min(longest, MIN_WORDS) if place in words else longest
        side: Literal["left", "right"] = "left" if place in words else "right"
        table.add_column(Text("\n".join(lines)), justify=side, no_wrap=side == "right", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    screen = io.StringIO()
    Console(file=screen, width=max(MAX_WIDTH, least), color_system=None, force_jupyter=False).print(table)
    return [line.rstrip() for line in screen.getvalue().splitlines()]
