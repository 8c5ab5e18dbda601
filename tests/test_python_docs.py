"""The Python interface works as docs/python.md shows it, and leaves the process as it was."""

import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import datasets
import huggingface_hub.utils
import pandas as pd
import pytest
import torch
import transformers

import hf_breakhis

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def settings():
    return {
        "environment": dict(os.environ),
        "warning filters": list(warnings.filters),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "transformers bars": transformers.utils.logging.is_progress_bar_enabled(),
        "datasets bars": datasets.is_progress_bar_enabled(),
        "hub bars": huggingface_hub.utils.are_progress_bars_disabled(),
        "levels": {name: logging.getLogger(name).level for name in ("", "transformers", "transformers.trainer_utils")},
    }


def test_the_page_runs_and_leaves_the_process_as_it_was(tmp_path, monkeypatch, few_figures, capsys):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    compiled = compile(code, str(PAGE), "exec")
    for name in hf_breakhis.__all__:
        getattr(hf_breakhis, name)  # libraries add warning filters when they are imported
    before = settings()
    namespace = {}
    exec(compiled, namespace)  # noqa: S102
    after = settings()
    assert {name: after[name] for name in after if after[name] != before[name]} == {}
    assert namespace["page"].is_file()
    assert namespace["found"]["accuracy"]["value"] == namespace["accuracy"]["value"]
    assert namespace["audit"]["shares"]["same_specimen"] == 0
    assert len(namespace["table"]) == len(namespace["labels"]) == 328
    # the same recipe again in the same process gives the same predictions
    first = (tmp_path / "outputs/tiny/predictions.csv").read_bytes()
    exec(compile(code.replace("outputs/tiny", "outputs/again"), str(PAGE), "exec"), {})  # noqa: S102
    assert (tmp_path / "outputs/again/predictions.csv").read_bytes() == first


def test_every_public_name_is_found_and_shown():
    page = PAGE.read_text(encoding="utf-8")
    for name in hf_breakhis.__all__:
        assert getattr(hf_breakhis, name).__doc__, name
        assert name in page or name in ("check_images", "split_images"), f"docs/python.md does not show {name}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'train_everything'"):
        _ = hf_breakhis.train_everything


def test_importing_the_package_imports_no_library():
    code = "import sys, hf_breakhis; dir(hf_breakhis); print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def things(trained_run, run_fields):
    """One of each kind that the functions take and return, by name."""
    recipe = hf_breakhis.Recipe.load("demo", **run_fields)
    images = hf_breakhis.load_images(recipe.data)
    run = hf_breakhis.Run(trained_run)
    predictions = hf_breakhis.read_predictions(trained_run / "predictions.csv")
    test = hf_breakhis.images_of(predictions)
    return {
        "recipe": recipe, "data": recipe.data, "images": images, "dataset": images.dataset, "run": run,
        "folder": str(trained_run), "predictions": predictions, "folds": run.read_folds(), "test": test,
        "scores": hf_breakhis.image_scores(test), "summary": run.summary, "labels": images.dataset["label"][:],
    }  # fmt: skip


A_RUN = "A run is given by its folder, not {}; give the folder that `train` wrote."
A_RECIPE = "A recipe is given by its path or its name, not {}; give for example 'c1'."
FOLDS = "give Run(FOLDER).read_folds()."
REFUSED = {  # a call, and what it says
    "Recipe.load(summary)": A_RECIPE.format("dict"),
    "Recipe.load(recipe)": A_RECIPE.format("Recipe"),
    "load_images('outputs/c3')": (
        "load_images takes the data fields of a recipe, not 'outputs/c3'; "
        "give Recipe.load('c3', data_dir=FOLDER).data."
    ),
    "cross_validate('outputs/c3')": (
        "cross_validate takes a recipe, not 'outputs/c3'; give Recipe.load('c3', data_dir=FOLDER)."
    ),
    "check_images(dataset)": (
        "check_images takes what load_images returns, not Dataset; give load_images(recipe.data)."
    ),
    "split_images(images, data)": "split_images takes the table of images, not Images; give load_images(...).dataset.",
    "split_images(dataset, folder)": "split_images takes the data fields of a recipe, not '",
    "make_folds(labels, dataset, split_by='specimen', num_folds=2)": (
        "`columns` is a dict from names to columns, not Dataset; give {'specimen_id': images.dataset['specimen_id']}."
    ),
    "Run(recipe)": A_RUN.format("Recipe"),
    "summarise(summary)": A_RUN.format("dict"),
    "summarise(None)": A_RUN.format("NoneType"),
    "write_report(recipe)": A_RUN.format("Recipe"),
    "read_predictions(predictions)": (
        "read_predictions takes a file, not DataFrame; give for example 'outputs/c3/predictions.csv'."
    ),
    "read_predictions(run)": "is a folder; give a file in it, such as ",
    "images_of(run)": "images_of takes a table of predictions, not Run; give read_predictions(FILE).",
    "images_of(folds)": "The table of predictions has no column predicted; it needs label, predicted, fold.",
    "image_scores(predictions)": (
        "image_scores takes what images_of returns, not DataFrame; give images_of(read_predictions(FILE))."
    ),
    "intervals(test, 2)": (
        "intervals takes a function from weights to scores, not Predicted; give image_scores(images)."
    ),
    "intervals(scores, test)": "`num_groups` is a number, not Predicted; give images.num_groups.",
    "intervals(scores, 0)": "`num_groups` is 0, but has to be at least 1.",
    "intervals(scores, test.num_groups, classes=test.group_classes[:2])": "`classes` has 2 values for ",
    "audit_folds(run, 'none', None)": f"audit_folds takes a table of folds, not Run; {FOLDS}",
    "audit_folds(predictions, 'none', None)": (
        "Fold 0 has no training images; give all parts, as Run(FOLDER).read_folds()."
    ),
    "audit_folds(folds.query('part != \"test\"'), 'none', None)": "Fold 0 has no test images; give all parts, ",
    "audit_folds(folds.drop(columns='part'), 'none', None)": "The table of folds has no column part; it needs ",
    "predict_images(recipe, 'a.png')": (
        "predict_images takes a run, a model folder or OWNER/NAME, not Recipe; give for example 'outputs/c3'."
    ),
    "predict_images(run, images)": "predict_images takes paths of images, not Images; give for example images.loc",
    "predict_images(run, dataset)": "predict_images takes paths of images, not dict; give for example images.loc",
    "predict_images(run, 'a.png', batch_size=-1)": "`batch_size` is -1, but has to be at least 1.",
}


@pytest.mark.parametrize("call", REFUSED)
def test_an_argument_of_another_kind_is_refused_in_one_line(call, things):
    """Nobody checks types in a notebook, and most of these ended far from the call; an audit without training
    images said that nothing leaks."""
    names = {name: getattr(hf_breakhis, name) for name in hf_breakhis.__all__}
    with pytest.raises(hf_breakhis.InputError) as caught:
        eval(call, names | things)  # noqa: S307
    assert REFUSED[call] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_function_refuses_another_kind():
    called = {call.partition("(")[0].partition(".")[0] for call in REFUSED}
    assert called == set(hf_breakhis.__all__) - {"InputError"}


def test_the_predictions_of_a_fold_are_taken_one_part_at_a_time(trained_run):
    """Of validation and test together an interval would be about neither."""
    table = hf_breakhis.read_predictions(trained_run / "fold-0" / "predictions.csv")
    both = pd.concat([table.assign(part="test"), table.assign(part="validation")])
    with pytest.raises(
        hf_breakhis.InputError, match=r"images of test, validation; give one part: rows\[rows\['part'\]"
    ):
        hf_breakhis.images_of(both)
    assert len(hf_breakhis.images_of(both[both["part"] == "test"]).labels) == len(table)


@pytest.mark.usefixtures("small_reports")
def test_a_run_can_be_given_in_place_of_its_folder(trained_run, tmp_path):
    run = hf_breakhis.Run(shutil.copytree(trained_run, tmp_path / "run"))
    assert hf_breakhis.summarise(run)["image"]
    assert hf_breakhis.write_report(run) == tmp_path / "run" / "report.html"
    picture = next(trained_run.glob("fold-0/examples/*.png"))
    first, second = (hf_breakhis.predict_images(run, picture, fold=fold) for fold in (0, 1))
    assert first.equals(hf_breakhis.predict_images(run, [str(picture)], fold="0"))
    assert first["prob_malignant"].item() != second["prob_malignant"].item()
    with pytest.raises(hf_breakhis.InputError, match=f"No run at {tmp_path}/none"):
        hf_breakhis.summarise(hf_breakhis.Run(tmp_path / "none"))
