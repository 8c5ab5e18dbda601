"""`hf-breakhis compare`: compare runs with each other and with the tables of the paper."""

import os
from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs on the same data.")],
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Output folder. Default: comparison/ next to the first run.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Also test non-inferiority with this margin of accuracy, for example 0.02."),
    ] = None,
) -> None:
    """Compare runs with each other and with the tables of the paper, and test whether they can be ranked."""
    from hf_breakhis.files import require_writable
    from hf_breakhis.results.compare import compare as compare_runs
    from hf_breakhis.results.report.comparison import comparison_table, write_comparison
    from hf_breakhis.run import SCORES, Run

    folder = output_dir or Path(os.path.normpath(runs[0] / ".." / "comparison"))
    require_writable(folder / "comparison.json")
    for run in runs:
        Run(run).require_unchanged(written=SCORES)
    comparison = compare_runs(runs, margin)
    page = write_comparison(folder, comparison)
    typer.echo(comparison_table(comparison))
    typer.echo(f"comparison: {page}")
