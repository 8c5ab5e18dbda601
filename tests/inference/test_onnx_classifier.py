"""ONNX Runtime scores as torch does, from an export of the same weights and no other."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.cli import main

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = shutil.copytree(run, tmp_path_factory.mktemp("onnx") / "run")
    assert main(["export", str(folder), "--int8"]) == 0
    return folder


def scores(folder, images, backend, tmp_path):
    output = tmp_path / f"{backend}.csv"
    assert main(["predict", str(folder), str(images), "--backend", backend, "--output", str(output)]) == 0
    return pd.read_csv(output).set_index("path").sort_index()


def test_scores_are_those_of_torch(exported, twin, tmp_path):
    torch, onnx, small = (scores(exported, twin, backend, tmp_path) for backend in ("torch", "onnx", "int8"))
    assert list(torch.index) == list(onnx.index)
    np.testing.assert_allclose(onnx["prob_malignant"], torch["prob_malignant"], atol=1e-4)
    apart = np.abs(small["prob_malignant"] - torch["prob_malignant"])
    assert 0 < apart.max() < 0.1, "eight bits are near, and not the same"


@pytest.mark.parametrize(("backend", "flag"), [("onnx", "RUN`"), ("int8", "--int8`")])
def test_without_an_export_the_command_is_told(run, twin, backend, flag, capsys):
    assert main(["predict", str(run), str(twin), "--backend", backend]) == 2
    error = capsys.readouterr().err
    assert "hf-breakhis export RUN" in error
    assert flag in error


def test_an_export_of_other_weights_is_refused(exported, twin, tmp_path, capsys):
    folder = shutil.copytree(exported, tmp_path / "run")
    about = folder / "fold-0" / "onnx" / "export.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"weights_sha256": "0" * 64}))
    assert main(["predict", str(folder), str(twin), "--backend", "onnx"]) == 2
    assert "exported from other weights" in capsys.readouterr().err
