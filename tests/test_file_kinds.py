"""A recipe, a study, a space or a table that is given to the command of another one."""

from pathlib import Path

import pytest

from hf_breakhis import study, yaml_files
from hf_breakhis.cli import main
from hf_breakhis.recipe import KNOWN
from hf_breakhis.results.published import table

ROOT = Path(__file__).parents[1]


def test_the_keys_of_a_kind_are_its_own():
    allowed = {"study": set(study.KEYS), "table": set(table.TOP), "recipe": set(KNOWN), "space": set(KNOWN)}
    assert set(yaml_files.KINDS) == set(allowed)
    for kind, about in yaml_files.KINDS.items():
        others = set().union(*(names for other, names in allowed.items() if other != kind))
        assert about.keys <= allowed[kind]
        assert not about.keys & (others if kind != "recipe" else allowed["study"] | allowed["table"])


@pytest.mark.parametrize(
    ("read", "name", "other"),
    [
        ("train", "studies/stains.yaml", "study"),
        ("train", "papers/pixels-to-prognosis.yaml", "table"),
        ("study", "recipes/c3.yaml", "recipe"),
        ("study", "papers/pixels-to-prognosis.yaml", "table"),
        ("check", "recipes/c3.yaml", "recipe"),
        ("check", "studies/stains.yaml", "study"),
    ],
)
def test_a_file_of_another_kind_is_named_with_its_command(read, name, other, capsys):
    path = ROOT / name
    assert main([read, str(path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    command = {"study": "study", "table": "check", "recipe": "train"}[other]
    assert line.endswith(f"It looks like a {other}. Use it with `hf-breakhis {command} {path}`.")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "stains"], "stains is a study: `hf-breakhis study stains`."),
        (["study", "c3"], "c3 is a recipe: `hf-breakhis train c3`."),
        (["train", "head"], "head is a space: `hf-breakhis search RECIPE --space head`."),
        (["check", "demo"], "demo is a recipe: `hf-breakhis train demo`."),
        (["train", "c3.yml"], "Did you mean `c3`?"),
        (["train", "./recipes/demos.yaml"], "Did you mean `demo`?"),
        (["study", "studies/stain.yml"], "Did you mean `stains`?"),
    ],
)
def test_a_name_of_the_package_is_recognised(words, hint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f" at {words[1]}. {hint} Give a YAML file, or a " in line


def test_a_misspelt_key_is_of_no_other_kind(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    path.write_text("datasett: twin\n", encoding="utf-8")
    assert main(["train", str(path)]) == 2
    assert "unknown key `datasett`. Did you mean `dataset`?" in capsys.readouterr().err
