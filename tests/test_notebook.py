"""The notebook runs from top to bottom, and finds its images where each service has them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

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


def test_it_runs_on_the_twin(tmp_path):
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
