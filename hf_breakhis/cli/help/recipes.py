"""The command `hf-breakhis recipes`: list recipes, studies and spaces of the package, and copy one to edit it."""

from pathlib import Path
from typing import Annotated

import typer

from hf_breakhis.files import InputError
from hf_breakhis.yaml_files import packed_files

app = typer.Typer(rich_markup_mode=None)
COMMANDS = {"studies": "study", "spaces": "search"}  # folder of the files, and the command that reads them


@app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """List the recipes, studies and spaces that come with the package; `recipes copy` copies one."""
    if context.invoked_subcommand is not None:
        return
    kinds = {folder: packed_files(folder) for folder in ("recipes", *COMMANDS)}
    width = max(len(name) for files in kinds.values() for name in files)
    for folder, files in kinds.items():
        if folder in COMMANDS and files:
            typer.echo(f"\n{folder.capitalize()}, for `hf-breakhis {COMMANDS[folder]}`:")
        for name, path in files.items():
            typer.echo(f"{name:<{width}}  {first_comment(path)}")


def first_comment(path: Path) -> str:
    """Return the first line of a file, which is a comment that says what the recipe or study is."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


@app.command()
def copy(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of a recipe, study or space, as `hf-breakhis recipes` lists it."),
    ],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="File to create. An existing file is not overwritten.")],
) -> None:
    """Copy a recipe, a study or a space of the package to a new file."""
    studies, spaces = packed_files("studies"), packed_files("spaces")
    found = packed_files("recipes") | studies | spaces
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
    if name in spaces:
        typer.echo(f"space: {to}\nsearch it: hf-breakhis search RECIPE --space {to} --trials 30")
        return
    kind, command = ("study", "study") if name in studies else ("recipe", "train")
    typer.echo(f"{kind}: {to}")
    typer.echo(f"train it: hf-breakhis {command} {to}")
