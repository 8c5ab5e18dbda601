"""Write the pages of the documentation site into a folder: those of the repository, and the reference from the code.

python scripts/site.py outputs/site-source && mkdocs build
"""

import contextlib
import dataclasses
import io
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import hf_breakhis
from hf_breakhis.arguments import DataArguments, ModelArguments
from hf_breakhis.cli import COMMAND_GROUPS, main
from hf_breakhis.training_arguments import BreakHisTrainingArguments

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "recipes/README.md", "benchmarks/README.md")
LINK = re.compile(r"\]\(([^)#:\s]+)[^)]*\)")
GROUPS: tuple[tuple[str, Any], ...] = (
    ("Data and split", DataArguments), ("Network", ModelArguments), ("Training", BreakHisTrainingArguments),
)  # fmt: skip
# Names of fields are not broken, except on a phone.
CSS = "@media screen and (min-width: 60em) { .md-typeset td:first-child code { white-space: nowrap; } }\n"
SUBCOMMANDS = {"data": ("info", "verify", "download", "export", "twin"), "recipes": ("copy",)}


def write_site(folder: Path) -> None:
    """Copy the pages with the files that they link to, and write the reference."""
    shutil.rmtree(folder, ignore_errors=True)
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            _copy(page, folder)
            for target in LINK.findall(page.read_text(encoding="utf-8")):
                linked = (page.parent / target).resolve()
                if linked.is_file() and linked.suffix != ".md":
                    _copy(linked, folder)
    (folder / "site.css").write_text(CSS, encoding="utf-8")
    (folder / "reference").mkdir()
    for name, text in (("commands", commands()), ("fields", fields()), ("python", python())):
        (folder / "reference" / f"{name}.md").write_text(text, encoding="utf-8")


def commands() -> str:
    """Return the help of every command."""
    parts = ["# Commands\n\n`RECIPE` and `--field value` take the [fields of a recipe](fields.md).\n"]
    for title, names in COMMAND_GROUPS.items():
        parts.append(f"## {title}\n")
        for name in names:
            for words in ([name], *([name, sub] for sub in SUBCOMMANDS.get(name, ()))):
                parts.append(f"### {' '.join(words)}\n\n```text\n{help_of(words)}\n```\n")
    return "\n".join(parts)


def help_of(words: list[str]) -> str:
    """Return what a command prints with --help; the fields of `train` have a page of their own."""
    if words == ["train"]:
        return "usage: hf-breakhis train RECIPE [--field value ...]"
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return stream.getvalue().strip()


def fields() -> str:
    """Return a table of the fields of a recipe for each of their three groups."""
    parts = ["# Fields of a recipe\n\nEach field is also a flag of `hf-breakhis train`: `--image_size 96`.\n"]
    for title, group in GROUPS:
        own = vars(group)["__annotations__"] if group is BreakHisTrainingArguments else None
        rows = [
            f"| `{field.name}` | {_cell(default_of(field))} | {_cell(field.metadata['help'])} |"
            for field in dataclasses.fields(group)
            if own is None or field.name in own
        ]
        parts.append(f"## {title}\n\n| field | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    parts.append(
        "Every other field of `transformers.TrainingArguments` can be used too, such as `learning_rate` and `seed`.\n"
        "Fields that a run cannot use are refused with the reason.\n"
    )
    return "\n".join(parts)


def default_of(field: Any) -> str:
    """Return the default of a field as it is written in a recipe."""
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is None or value == []:
        return ""
    if isinstance(value, bool):  # 1 and 0 are numbers
        return f"`{str(value).lower()}`"
    return f"`[{', '.join(map(str, value))}]`" if isinstance(value, list) else f"`{value}`"


def python() -> str:
    """Return the reference of the public names."""
    names = [f"::: hf_breakhis.{module}.{name}" for name, module in sorted(hf_breakhis._MODULE_OF.items(), key=str)]
    intro = "The names of `hf_breakhis`. [Using the package from Python](../docs/python.md) shows them in use."
    return "\n\n".join(["# Python", intro, *names]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _copy(file: Path, folder: Path) -> None:
    target = folder / file.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


if __name__ == "__main__":
    write_site(Path(sys.argv[1]))
