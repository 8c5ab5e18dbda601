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


def test_no_session_is_made_before_telemetry_is_off(exported, twin, tmp_path, monkeypatch):
    import onnxruntime

    calls = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append("telemetry off"))
    real = onnxruntime.InferenceSession

    def session(*given, **more):
        calls.append("session")
        return real(*given, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    scores(exported, twin, "onnx", tmp_path)
    assert calls == ["telemetry off", "session"]


@pytest.mark.parametrize(
    ("backend", "command"),
    [
        ("onnx", "Write it with `hf-breakhis export {run} --fold 1`."),
        ("int8", "Write it with `hf-breakhis export {run} --fold 1 --int8`."),
    ],
)
def test_without_an_export_the_message_has_the_command(run, twin, backend, command, capsys):
    assert main(["predict", str(run), str(twin), "--fold", "1", "--backend", backend]) == 2
    error = capsys.readouterr().err
    assert "There is no model" in error
    assert command.format(run=run) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("backend", "command"),
    [("fp16", "Write it with `hf-breakhis export {folder} --fp16`."), ("int8", "Use another --backend.")],
)
def test_a_model_folder_without_an_export_says_what_works(write_model, twin, backend, command, capsys):
    folder = write_model()
    assert main(["predict", str(folder), str(twin), "--backend", backend]) == 2
    assert command.format(folder=folder) in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["fp16", "int8"])
def test_other_exports_of_a_model_on_the_hub_are_written_after_downloading(backend, twin, capsys, monkeypatch):
    monkeypatch.setattr("hf_breakhis.inference.hub_model.snapshot_download", None)  # the Hub is not asked
    assert main(["predict", "user/model", str(twin), "--backend", backend]) == 2
    error = capsys.readouterr().err
    assert "run `hf download user/model --local-dir DIR`, then `hf-breakhis export DIR`, and give DIR" in error
    assert error.count("\n") == 1


def test_a_model_on_the_hub_without_an_onnx_file_says_what_works(write_model, twin, capsys, monkeypatch):
    folder = write_model()
    monkeypatch.setattr("hf_breakhis.inference.hub_model.snapshot_download", lambda *given, **named: folder)
    assert main(["predict", "user/model", str(twin), "--backend", "onnx"]) == 2
    error = capsys.readouterr().err
    assert "user/model has no onnx/model.onnx. Run `hf download user/model --local-dir DIR`" in error
    assert error.count("\n") == 1


def test_an_export_of_other_weights_is_refused(exported, twin, tmp_path, capsys):
    folder = shutil.copytree(exported, tmp_path / "run")
    about = folder / "fold-0" / "onnx" / "export.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"weights_sha256": "0" * 64}))
    assert main(["predict", str(folder), str(twin), "--backend", "onnx"]) == 2
    assert "exported from other weights" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "export"])
def test_an_onnx_file_as_the_model_says_what_to_give(command, twin, tmp_path, capsys):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"onnx")
    assert main([command, str(path), *([str(twin)] if command == "predict" else [])]) == 2
    assert "is an ONNX file. Give the run or the model folder that it was exported from" in capsys.readouterr().err
