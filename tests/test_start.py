"""Nothing heavy is imported before it is needed."""

import json
import shutil
import subprocess
import sys

import pytest

HEAVY = ["torch", "transformers", "datasets", "evaluate", "sklearn", "scipy", "pandas", "matplotlib", "onnx", "gradio"]
DRAWING = ["matplotlib", "onnx", "onnxruntime", "onnxscript", "gradio", "IPython"]


def loaded(code, modules):
    """Return those of `modules` that a fresh Python has after running `code`."""
    shown = f"{code}\nimport json, sys; print(json.dumps([name for name in {modules!r} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize(
    "command", ["--help", "data --help", "predict --help", "recipes", "compare --help", "audit --help", "check --help"]
)
def test_help_needs_nothing_heavy(command):
    code = f"from hf_breakhis.cli import main; main({command.split()!r})"
    assert loaded(code, HEAVY) == []


def test_a_command_that_is_none_needs_nothing_heavy():
    assert loaded("from hf_breakhis.cli import main; main(['bogus'])", HEAVY) == []


def test_training_before_its_report_and_scoring_images_draw_nothing():
    training = "import hf_breakhis.recipe, hf_breakhis.training.crossval"
    scoring = "import hf_breakhis.inference.predict, hf_breakhis.inference.classifier"
    assert loaded(f"{training}\n{scoring}", DRAWING) == []


def test_images_reports_comparisons_and_checks_need_neither_torch_nor_evaluate(trained_run, small_breakhis, tmp_path):
    """Importing `evaluate` imports the pipelines of transformers and torch, which takes as long as the work."""
    run = shutil.copytree(trained_run, tmp_path / "run")
    images = ["data", "info", "--data_dir", str(small_breakhis)]
    comparison = ["compare", str(run), "--output_dir", str(tmp_path / "comparison")]
    heavy = ["torch", "transformers", "evaluate"]
    code = f"""
import sys
from hf_breakhis.cli import main
for words in {(images, ["report", str(run)], comparison, ["check", "pixels-to-prognosis"])!r}:
    assert main(words) == 0
    assert not set({heavy!r}) & set(sys.modules), words
"""
    assert loaded(code, heavy) == []


def test_a_heavy_import_would_be_seen():
    assert loaded("import pandas", HEAVY) == ["pandas"]
