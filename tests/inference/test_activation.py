"""An activation of the recipe is in the saved model, and so in every use of it."""

import json

import numpy as np
import pytest
import yaml

from hf_breakhis.cli import main
from hf_breakhis.files import read_json

pytestmark = pytest.mark.usefixtures("small_reports")


def test_predict_and_onnx_see_the_activation_of_the_recipe(recipe_of_run, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    path = recipe_of_run(activation="tanh")
    assert main(["train", str(path)]) == 0
    run = tmp_path / "run"
    assert read_json(run / "fold-0" / "model" / "config.json")["hidden_act"] == "tanh"
    assert main(["export", str(run)]) == 0
    twin = json.loads((run / "data.json").read_text())["location"]
    tables = []
    for backend in ("torch", "onnx"):
        out = tmp_path / f"{backend}.csv"
        assert main(["predict", str(run), twin, "--backend", backend, "--output", str(out)]) == 0
        tables.append(np.genfromtxt(out, delimiter=",", names=True, dtype=None, encoding="utf-8"))
    assert np.allclose(tables[0]["prob_malignant"], tables[1]["prob_malignant"], atol=1e-5)
    assert np.ptp(tables[0]["prob_malignant"]) > 1e-4
    assert "activation tanh" in (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def recipe_of_run(run_fields, tmp_path):
    """Write the recipe of a tiny run with other fields."""

    def write(**fields):
        path = tmp_path / "tiny.yaml"
        values = {**run_fields, "num_train_epochs": 1, "output_dir": str(tmp_path / "run"), **fields}
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return write
