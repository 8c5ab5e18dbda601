"""`hf-breakhis compare`: runs side by side, beside the numbers of the paper."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs on the same data.")],
    folder: Annotated[Path | None, typer.Option(help="Where to write it; `comparison` beside the first run.")] = None,
) -> None:
    """Set runs side by side, beside the paper's tables, and say whether the evidence ranks them; trains nothing."""
    from hf_breakhis.results.compare import compare as set_side_by_side
    from hf_breakhis.results.report.comparison import comparison_table, write_comparison
    from hf_breakhis.run import SCORES, Run

    for run in runs:
        Run(run).require_unchanged(written=SCORES)
    comparison = set_side_by_side(runs)
    page = write_comparison(folder or runs[0].resolve().parent / "comparison", comparison)
    typer.echo(comparison_table(comparison))
    typer.echo(f"comparison: {page}")
