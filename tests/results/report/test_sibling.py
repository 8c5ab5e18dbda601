"""Beside a score that leaks stands that of the same recipe with specimens apart, or the command that makes it."""

import shutil

import pytest

from hf_breakhis.results.report.page import MAIN_FIELDS, write_report
from hf_breakhis.results.report.sibling import sibling
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run

pytestmark = pytest.mark.usefixtures("small_reports")


def of(run):
    return sibling(Run(run), tuple(MAIN_FIELDS))


@pytest.fixture(scope="module")
def summarised(write_run, tmp_path_factory, small_reports):
    run = write_run(tmp_path_factory.mktemp("leaky") / "c3", split_by="image")
    summarise(run)
    return run


@pytest.fixture
def leaky(summarised, tmp_path):
    """A copy, beside which others may stand."""
    return shutil.copytree(summarised, tmp_path / "c3")


def test_a_run_with_specimens_apart_needs_none(write_run, tmp_path):
    run = write_run(tmp_path / "run", split_by="specimen")
    summarise(run)
    assert of(run) is None


def test_without_one_the_command_is_told(leaky):
    found = of(leaky)
    assert found["run"] is None
    start = "hf-breakhis train c3.yaml --split_by specimen --stratify true --carry_over none --output_dir "
    assert found["command"].startswith(start)
    page = write_report(leaky).read_text(encoding="utf-8")
    assert "not run" in page
    assert found["command"] in page


@pytest.mark.parametrize("place", ["c3-specimen", "c3-audit/specimen-fresh"])
def test_a_run_of_the_same_recipe_is_found(leaky, write_run, tmp_path, place):
    honest = write_run(tmp_path / place, split_by="specimen")
    accuracy = summarise(honest)["image"]["pooled"]["accuracy"]
    found = of(leaky)
    assert found["run"] == honest.name
    assert found["accuracy"] == accuracy
    assert "number to quote" in write_report(leaky).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "other",
    [
        {"learning_rate": 0.1},
        {"stratify": False},
        {"split_by": "image", "seed": 1},
        {"carry_over": "model"},
        {"present": [0, 1]},
    ],
    ids=["other rate", "not stratified", "not apart", "carried", "unfinished"],
)
def test_another_recipe_or_an_unfinished_run_is_no_sibling(leaky, write_run, tmp_path, other):
    run = write_run(tmp_path / "other", **({"split_by": "specimen"} | other))
    summarise(run)
    assert of(leaky)["run"] is None
