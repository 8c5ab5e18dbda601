"""The notebook runs from top to bottom, and finds its images where each service has them."""

import os
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.provisioning import local_provisioner
from nbclient import NotebookClient

KERNEL = """
import os, runpy, sys
os.setsid()
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
NOTEBOOK = Path(__file__).parents[1] / "notebooks/breakhis.ipynb"
TINY = {
    "twin_kwargs": {"scale": 0.01, "width": 70, "height": 46}, "image_size": 32, "num_folds": 2, "num_train_epochs": 1,
    "model_kwargs": {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "dataloader_num_workers": 0, "use_cpu": True,
}  # fmt: skip


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def cell_with(notebook, text):
    (found,) = [cell for cell in notebook.cells if cell.cell_type == "code" and text in cell.source]
    return found


@pytest.fixture
def forked_kernel(start_python, monkeypatch):
    """Start the kernel in a forked process, which need not import the libraries again."""

    def launch(command, cwd=None, env=None, **_):
        process = start_python("-c", KERNEL, *command[command.index("-m") + 1 :], environment=env, cwd=cwd)
        process.stdin = process.stdout = process.stderr = None
        while os.getpgid(process.pid) != process.pid:  # signals go to its group
            assert process.poll() is None
            time.sleep(0.01)
        return process

    monkeypatch.setattr(local_provisioner, "launch_kernel", launch)


def test_it_runs_on_the_twin(tmp_path, forked_kernel):
    notebook = read()
    cell = cell_with(notebook, "Recipe.load")
    cell.source = f"data = {{**data, **{TINY!r}}}\n{cell.source}"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    output = {"".join(part.get("text", "") for part in cell.outputs) for cell in notebook.cells if "outputs" in cell}
    assert any("balanced_accuracy: 0." in text for text in output)
    assert (tmp_path / "outputs/notebook/report.html").is_file()


@pytest.mark.parametrize(
    ("place", "expected"),
    [("kaggle", {"dataset": "breakhis"}), ("colab", {"dataset": "breakhis"}), ("", {"dataset": "twin"})],
)
def test_images_are_found(tmp_path, monkeypatch, place, expected):
    source = cell_with(read(), "/kaggle/input").source
    folder = tmp_path / "input"
    if place == "kaggle":
        image = folder / "breakhis/SOB/SOB_B_A-14-22549AB-40-001.png"
        image.parent.mkdir(parents=True)
        image.touch()
        (folder / "other").mkdir()
        expected = {**expected, "data_dir": str(folder / "breakhis")}
    if place == "colab":
        monkeypatch.setitem(__import__("sys").modules, "google.colab", object())
    namespace = {}
    exec(source.replace("/kaggle/input", str(folder)), namespace)  # noqa: S102
    assert {name: namespace["data"].get(name) for name in expected} == expected


def test_it_is_kept_without_outputs():
    assert not [cell for cell in read().cells if cell.get("outputs") or cell.get("execution_count")]
