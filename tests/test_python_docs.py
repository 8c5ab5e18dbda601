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


@pytest.mark.parametrize("function", [hf_breakhis.load_images, hf_breakhis.cross_validate])
def test_a_name_in_place_of_a_recipe_is_refused(function):
    with pytest.raises(hf_breakhis.InputError, match=r"takes .*, not 'outputs/c3'; give Recipe\.load\("):
        function("outputs/c3")


def test_images_and_fields_of_other_kinds_are_refused(small_breakhis, data_args):
    fields = data_args(small_breakhis)
    images = hf_breakhis.load_images(fields)
    with pytest.raises(hf_breakhis.InputError, match="check_images takes what load_images returns, not Dataset"):
        hf_breakhis.check_images(images.dataset)
    with pytest.raises(hf_breakhis.InputError, match=r"as images\.dataset and recipe\.data, not Images and DataArgum"):
        hf_breakhis.split_images(images, fields)
    with pytest.raises(hf_breakhis.InputError, match="not Dataset and str"):
        hf_breakhis.split_images(images.dataset, str(small_breakhis))


@pytest.mark.usefixtures("small_reports")
def test_a_run_can_be_given_in_place_of_its_folder(trained_run, tmp_path):
    run = hf_breakhis.Run(shutil.copytree(trained_run, tmp_path / "run"))
    assert hf_breakhis.summarise(run)["image"]
    assert hf_breakhis.write_report(run) == tmp_path / "run" / "report.html"
    assert len(hf_breakhis.predict_images(run, next(trained_run.glob("fold-0/examples/*.png")))) == 1
    with pytest.raises(hf_breakhis.InputError, match=f"No run at {tmp_path}/none"):
        hf_breakhis.summarise(hf_breakhis.Run(tmp_path / "none"))
