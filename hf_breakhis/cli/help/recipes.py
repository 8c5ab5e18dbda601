"""The command `hf-breakhis recipes`: list the recipes and studies of the package, and copy one to edit it."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.files import InputError
from hf_breakhis.yaml_files import packed_files

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the recipes and studies that come with the package; `recipes copy` copies one."""
    if context.invoked_subcommand is not None:
        return
    found, studies = packed_files("recipes"), packed_files("studies")
    width = max(map(len, (*found, *studies)))
    for files in (found, studies):
        for name, path in files.items():
            typer.echo(f"{name:<{width}}  {describe(path)}")
        if files is found and studies:
            typer.echo("\nStudies, for `hf-breakhis study`:")


def describe(path: Path) -> str:
    """Return the first line of a file, which is a comment that says what the recipe or study is."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="Name of a recipe or study, as `hf-breakhis recipes` lists it.")],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="File to create. An existing file is not overwritten.")],
) -> None:
    """Copy a recipe or a study of the package to a new file."""
    studies = packed_files("studies")
    found = packed_files("recipes") | studies
    if name not in found:
        raise InputError(f"There is no recipe {name} in this package. Choose from {', '.join(found)}.")
    try:
        with to.open("xb") as stream:
            stream.write(found[name].read_bytes())
    except FileExistsError as error:
        raise InputError(f"{to} exists and is not overwritten. Give the name of a new file.") from error
    except FileNotFoundError as error:
        raise InputError(f"There is no folder {to.parent}. Create it, or give another file.") from error
    except OSError as error:
        raise InputError(f"Cannot write {to}: {error.strerror}. Give another file.") from error
    kind, command = ("study", "study") if name in studies else ("recipe", "train")
    typer.echo(f"{kind}: {to}")
    typer.echo(f"train it: hf-breakhis {command} {to}")
