"""benchmarks/gpu.py without a GPU: it says so and writes nothing, and the parts that need none work on a CPU."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
without_gpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has a GPU")


def load(name):
    """Import a module of the benchmarks, which are no package."""
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@without_gpu
def test_without_a_gpu_it_is_skipped_and_nothing_is_written(tmp_path, run_python):
    done = run_python(BENCHMARKS / "gpu.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "skipped: no GPU\n"), done.stderr
    assert list(tmp_path.iterdir()) == []


@without_gpu
def test_on_a_cpu_it_says_that_it_is_no_result(tmp_path, run_python):
    flags = ("--device", "cpu", "--network", "small", "--parts", "float64", "--work", tmp_path / "work")
    done = run_python(BENCHMARKS / "gpu.py", *flags, "--json", tmp_path / "gpu.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert not found["is_gpu_result"]
    assert [row["value"] < 1e-8 for row in found["rows"]["float64"]] == [True] * 3


def test_parts_of_the_same_settings_and_versions_stay(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    kept_rows = load("gpu").kept_rows
    settings, here = {"device": "a", "scale": 1.0}, {"versions": {"torch": "2.11"}}
    before = {**settings, "machine": here, "rows": {"training": [{"value": 1}]}}
    assert kept_rows(before, settings, here) == before["rows"]
    assert kept_rows(before, {**settings, "scale": 0.5}, here) == {}
    assert kept_rows(before, settings, {"versions": {"torch": "2.12"}}) == {}


def test_another_learning_rate_would_differ_from_plain_torch(monkeypatch):
    """The control of the comparison in float64."""
    plain_torch = load("plain_torch")
    monkeypatch.setattr(plain_torch, "OPTIMIZERS", {"sgd": lambda weights, **kwargs: torch.optim.SGD(weights, lr=0.1)})
    assert plain_torch.against_plain_torch("c1", use_cpu=True) > 1e-4
