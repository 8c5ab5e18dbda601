"""A run with stain normalisation: predict and explain see the same images, and nobody gets it as another model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.cli import main
from hf_breakhis.data.pixels.stains import macenko
from hf_breakhis.data.pixels.transforms import read_rgb, resize
from hf_breakhis.inference.fold_images import FoldImages
from hf_breakhis.inference.model import find_model
from hf_breakhis.inference.predict import predict_images
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.summary import summarise
from hf_breakhis.training.crossval import cross_validate

pytestmark = pytest.mark.usefixtures("small_reports")


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_fields):
    folder = tmp_path_factory.mktemp("stains") / "run"
    fields = run_fields | {"stain_normalization": "macenko", "num_train_epochs": 1, "output_dir": str(folder)}
    cross_validate(build_recipe(fields, {}))
    summarise(folder)
    write_report(folder)
    return folder


@pytest.fixture
def images(run):
    table = pd.read_csv(run / "fold-0" / "predictions.csv").iloc[:8]
    location = Path(json.loads((run / "data.json").read_text())["location"])
    return table, [next(location.rglob(name)) for name in table["file_name"]]


def test_predict_is_predictions_csv(run, images):
    table, paths = images
    found = predict_images(run, paths).set_index("path").loc[[str(path) for path in paths]]
    np.testing.assert_allclose(found["prob_malignant"], table["prob_malignant"], atol=1e-5)


def test_without_the_method_predictions_differ(run, images, tmp_path):
    """The negative control."""
    table, paths = images
    shutil.copytree(run / "fold-0" / "model", tmp_path / "model")
    place = tmp_path / "model" / "preprocessor_config.json"
    saved = json.loads(place.read_text())
    assert saved.pop("stain_normalization") == "macenko"
    place.write_text(json.dumps(saved))
    found = predict_images(tmp_path / "model", paths).set_index("path").loc[[str(path) for path in paths]]
    assert np.abs(found["prob_malignant"].to_numpy() - table["prob_malignant"].to_numpy()).max() > 1e-3


def test_explain_sees_the_normalised_pixels(run, images):
    table, paths = images
    ours = FoldImages(find_model(run))
    found = ours.pixels.take(ours.rows_named(table["file_name"]))
    for pixels, path in zip(found, paths, strict=True):
        plain = resize(read_rgb(path), 32).permute(1, 2, 0).numpy()
        expected = macenko(plain)
        assert (pixels.transpose(1, 2, 0) == expected).all()
        assert (expected != plain).any()


def test_the_report_names_the_method(run):
    assert "stain normalised (macenko)" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words", [("export",), ("publish", "--repo_id", "a/b", "--dry_run"), ("page", "OUT"), ("space", "OUT")], ids=str
)
def test_other_software_would_see_other_images_and_gets_no_model(run, tmp_path, capsys, words):
    command, *more = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    assert main([command, str(run), *more]) == 2
    error = capsys.readouterr().err
    assert "This model normalises stains (macenko)" in error
    assert error.count("\n") == 1


def test_a_push_is_refused_before_training(tmp_path, capsys):
    words = ["--output_dir", str(tmp_path / "run"), "--stain_normalization", "reinhard", "--push_to_hub", "true"]
    assert main(["train", "recipes/demo.yaml", *words, "--hub_model_id", "a/b"]) == 2
    assert "`push_to_hub` needs `stain_normalization` none" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
