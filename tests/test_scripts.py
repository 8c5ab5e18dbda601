"""Scripts and benchmarks, which no test runs whole, import names that the package has."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for folder in ("benchmarks", "scripts") for path in (ROOT / folder).glob("*.py"))


def absent(text):
    """Return what a text of Python imports from the package and does not find there."""
    return [
        f"{node.module}.{name.name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hf_breakhis")
        for name in node.names
        if not hasattr(importlib.import_module(node.module), name.name)
    ]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_imported_name_exists(path):
    assert absent(path.read_text(encoding="utf-8")) == []


def test_an_absent_name_would_be_noticed():
    text = "def late():\n    from hf_breakhis.data.splits import make_folds, no_folds\n"
    assert absent(text) == ["hf_breakhis.data.splits.no_folds"]
