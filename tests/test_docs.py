"""The documentation site: it builds, without a dead link, and every public name, field and command has its place."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import hf_breakhis
from hf_breakhis.arguments import DataArguments, ModelArguments
from hf_breakhis.cli import COMMAND_GROUPS

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("site_pages", ROOT / "scripts/site.py")
site_pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(site_pages)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "source"
    site_pages.write_site(folder)
    return folder


def build(source, folder, **changes):
    places = {"docs_dir": str(source), "site_dir": str(folder)}
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text()) | places | changes
    config = folder.parent / "mkdocs.yml"
    config.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_the_site_has_every_public_name_field_and_command(source, tmp_path):
    done = build(source, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = tmp_path / "site/reference"
    python, fields, commands = ((pages / f"{name}.html").read_text() for name in ("python", "fields", "commands"))
    for name in hf_breakhis.__all__:
        assert re.search(rf'id="hf_breakhis\.[\w.]*\.{name}"', python), name
    for group in (DataArguments, ModelArguments):
        for field in dataclasses.fields(group):
            assert f"<code>{field.name}</code>" in fields, field.name
    for name in (name for names in COMMAND_GROUPS.values() for name in names):
        assert f'id="{name}"' in commands, name


def test_a_dead_link_ends_the_build(tmp_path):
    """A site of one page, and nothing else that is wrong."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/index.md").write_text("[nowhere](docs/nowhere.md)")
    done = build(tmp_path / "source", tmp_path / "site", nav=["index.md"])
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr + done.stdout
    assert "Aborted with 1 warnings" in done.stderr + done.stdout


def test_the_defaults_of_the_reference_are_those_of_the_fields(source):
    """Written as in a recipe: a number is not read as true or false."""
    text = (source / "reference/fields.md").read_text()
    rows = {
        name: yaml.safe_load(value)
        for name, value in re.findall(r"^\| `(\w+)` \| `?([^|`]*)`? \|", text, re.MULTILINE)
    }
    assert (rows["repeats"], type(rows["repeats"])) == (1, int)
    for group in (DataArguments, ModelArguments):
        for field in dataclasses.fields(group):
            given = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            expected = None if given == [] else given
            assert (rows[field.name], type(rows[field.name])) == (expected, type(expected)), field.name


def test_every_page_of_docs_is_in_the_navigation():
    def leaves(node):
        if isinstance(node, str):
            return [node]
        children = node.values() if isinstance(node, dict) else node
        return [leaf for child in children for leaf in leaves(child)]

    shown = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(shown)


def test_the_container_installs_what_the_package_offers_and_has_no_home():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = re.findall(r"/src\[([a-z0-9,]+)\]", "\n".join(lines))
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    words = dict(line.split(maxsplit=1) for line in lines if line.startswith(("USER ", "ENTRYPOINT ", "FROM ")))
    assert words["USER"] == "65534:65534"
    assert json.loads(words["ENTRYPOINT"])[0] in project["scripts"]
    assert f"Programming Language :: Python :: {words['FROM'][7:11]}" in project["classifiers"]
