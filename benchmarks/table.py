"""A table in Markdown, for the pages that `tables.py` writes."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown, the first column to the left."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
