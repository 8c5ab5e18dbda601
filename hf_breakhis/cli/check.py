"""`hf-breakhis check`: whether a published table can be true, and of which data and split."""

from pathlib import Path
from typing import Annotated

import typer


def check(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="YAML file with the printed numbers, or pixels-to-prognosis.")
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option("--output_dir", help="Folder for check.json and check.html. Default: outputs/check/NAME."),
    ] = None,
) -> None:
    """Check whether published scores can be true, and of which data and split. Exit code 1 if any does not fit."""
    from hf_breakhis.files import require_writable
    from hf_breakhis.results.published.check import check_paper
    from hf_breakhis.results.published.table import read_paper
    from hf_breakhis.results.report.checked import check_text, write_check
    from hf_breakhis.yaml_files import find_yaml

    path = find_yaml(table, "table")
    folder = output_dir or Path("outputs/check") / path.stem
    require_writable(folder / "check.json")
    found = check_paper(read_paper(path))
    page = write_check(folder, found)
    typer.echo(check_text(found))
    typer.echo(f"check: {page}")
    if not found["fits"]:
        raise typer.Exit(1)
