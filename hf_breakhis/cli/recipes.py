"""The command `hf-breakhis recipes`: list the recipes of the package, and copy one to edit it."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.files import InputError
from hf_breakhis.yaml_files import packed_files

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the recipes that come with the package; `recipes copy` copies one."""
    if context.invoked_subcommand is not None:
        return
    found = packed_files("recipes")
    width = max(map(len, found))
    for name, path in found.items():
        typer.echo(f"{name:<{width}}  {describe(path)}")


def describe(path: Path) -> str:
    """Return the first line of a recipe, which is a comment that says what the recipe is."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="Name of a recipe, as `hf-breakhis recipes` lists it.")],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="File to create. An existing file is not overwritten.")],
) -> None:
    """Copy a recipe of the package to a new file."""
    found = packed_files("recipes")
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
    typer.echo(f"recipe: {to}")
    typer.echo(f"train it: hf-breakhis train {to}")
