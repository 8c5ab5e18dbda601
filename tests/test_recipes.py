"""The recipes of the package are listed with a line each, and copied without overwriting anything."""

import shutil
from pathlib import Path

import pytest

from hf_breakhis import yaml_files
from hf_breakhis.cli import main

ROOT = Path(__file__).parents[1]


def test_every_recipe_is_listed_with_one_line(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    files = [path.relative_to(ROOT / "recipes") for path in sorted((ROOT / "recipes").rglob("*.yaml"))]
    names = [path.with_suffix("").as_posix() for path in files if path.parts[0] != "accelerate"]
    studies = [path.stem for path in sorted((ROOT / "studies").glob("*.yaml"))]
    assert [line.split()[0] for line in lines[: len(names)]] == names
    spaces = [path.stem for path in sorted((ROOT / "spaces").glob("*.yaml"))]
    after = len(names) + 2 + len(studies)
    assert [line.split()[0] for line in lines[len(names) + 2 : after]] == studies
    assert [line.split()[0] for line in lines[after + 2 :]] == spaces
    for line in (*lines[: len(names)], *lines[len(names) + 2 : after], *lines[after + 2 :]):
        words = line.partition("  ")[2].strip()
        assert words.endswith(".")
        assert len(line) <= 120


def test_a_study_is_copied_too(tmp_path, capsys):
    copied = tmp_path / "my.yaml"
    assert main(["recipes", "copy", "wishes", str(copied)]) == 0
    assert copied.read_bytes() == (ROOT / "studies" / "wishes.yaml").read_bytes()
    assert f"hf-breakhis study {copied}" in capsys.readouterr().out


def test_a_space_is_copied_too(tmp_path, capsys):
    copied = tmp_path / "my.yaml"
    assert main(["recipes", "copy", "head", str(copied)]) == 0
    assert copied.read_bytes() == (ROOT / "spaces" / "head.yaml").read_bytes()
    assert f"hf-breakhis search RECIPE --space {copied}" in capsys.readouterr().out


def test_a_copied_recipe_is_the_file_of_the_package(tmp_path, capsys):
    copied = tmp_path / "my.yaml"
    assert main(["recipes", "copy", "as_published/c3", str(copied)]) == 0
    assert copied.read_bytes() == (ROOT / "recipes" / "as_published" / "c3.yaml").read_bytes()
    assert f"hf-breakhis train {copied}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "to", "message"),
    [
        ("c3", "mine.yaml", "exists and is not overwritten. Give the name of a new file."),
        ("c3", ".", "exists and is not overwritten. Give the name of a new file."),
        ("c3", "absent/c3.yaml", "Create it, or give another file."),
        ("c9", "new.yaml", "There is no recipe c9 in this package. Choose from as_published/c1, "),
    ],
)
def test_a_copy_that_cannot_be_made_is_one_line_and_changes_nothing(name, to, message, tmp_path, capsys):
    mine = tmp_path / "mine.yaml"
    mine.write_text("mine", encoding="utf-8")
    assert main(["recipes", "copy", name, str(tmp_path / to)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_wheel_has_its_recipes_inside_the_package(tmp_path, monkeypatch, capsys):
    inside = tmp_path / "hf_breakhis"
    shutil.copytree(ROOT / "recipes", inside / "recipes")
    (inside / "recipes" / "only_here.yaml").write_text("# Only here.\n", encoding="utf-8")
    monkeypatch.setattr(yaml_files, "__file__", str(inside / "yaml_files.py"))
    assert main(["recipes"]) == 0
    assert "Only here." in capsys.readouterr().out
