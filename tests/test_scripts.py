"""Scripts and benchmarks, which no test runs whole: what they import exists, and the shortest works."""

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


def test_the_benchmark_of_the_start_ends_at_the_first_step(run_python, tmp_path):
    tree = ast.parse((ROOT / "benchmarks" / "start.py").read_text(encoding="utf-8"))
    codes = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    words = [
        "--twin_kwargs", '{"scale": 0.001, "width": 48, "height": 32}', "--image_size", "32", "--use_cpu", "true",
        "--model_kwargs", '{"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4], "depths": [1]}',
        "--dataloader_num_workers", "0", "--output_dir", tmp_path / "run",
    ]  # fmt: skip
    done = run_python("-c", ast.literal_eval(codes["FIRST_STEP"]), "train", "demo", *words)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "run").glob("fold-*/history.csv"))
