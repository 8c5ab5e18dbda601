"""What `doctor` says of this machine and of a recipe, and when it finds a problem."""

import importlib.metadata
import tomllib
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from packaging.requirements import Requirement

from hf_breakhis.arguments import DataArguments
from hf_breakhis.cli import main
from hf_breakhis.cli.help import doctor
from hf_breakhis.cli.help.estimate import Cost, estimate
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError
from hf_breakhis.recipe import build_recipe

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def lines_of(check):
    return {line.subject: line for line in check()}


def test_one_line_for_each_property_and_no_problem_here(capsys):
    assert main(["doctor"]) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert {row[0] for row in rows} <= {"ok", "note"}
    subjects = [row[1] for row in rows]
    for subject in ("python", "versions", "extras", "processor", "accelerator", "precision", "cache", "runs", "Hub"):
        assert subject in subjects


def test_versions_that_were_tested_are_requirements_and_not_below_them():
    required = {one.name: one.specifier for one in map(Requirement, PROJECT["dependencies"])}
    for name, version in doctor.TESTED.items():
        assert required[name].contains(version), name


def test_extras_are_those_of_the_package():
    named = set(PROJECT["optional-dependencies"]) - {"dev", "docs", "browser"}
    assert set(doctor.EXTRAS) == named


@pytest.mark.parametrize(
    ("installed", "state", "word"),
    [
        ("2.14.1", "ok", "as tested"),
        ("99.0", "note", "newer than tested: torch 99.0"),
        ("0.1", "problem", "is needed"),
    ],
)
def test_versions_are_compared(monkeypatch, installed, state, word):
    real = importlib.metadata.version

    def version(name):
        return installed if name == "torch" else doctor.TESTED.get(name) or real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert any(line.state == state and word in line.text for line in doctor.check_versions())


def test_a_missing_library_is_a_problem(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "evaluate":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    problems = [line.text for line in doctor.check_versions() if line.state == "problem"]
    assert len(problems) == 1
    assert problems[0].startswith("evaluate")
    assert "pip install" in problems[0]


def test_a_checkout_that_is_not_installed_is_noted(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    lines = list(doctor.check_versions())
    assert [line.state for line in lines if "hf-breakhis is not installed" in line.text] == ["note"]
    assert not any(line.state == "problem" for line in lines)


def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert {line.state for line in doctor.check_places()} == {"ok"}
    assert list(tmp_path.iterdir()) == []

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = lines_of(doctor.check_places)
    assert {found[name].state for name in ("cache", "models", "runs")} == {"problem"}
    assert "HF_HOME" in found["cache"].text


def test_a_file_in_the_place_of_a_folder_is_a_problem(monkeypatch, tmp_path):
    """Also for an administrator, whom no permission stops."""
    (tmp_path / "models").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "models"))
    found = lines_of(doctor.check_places)
    assert (found["models"].state, found["cache"].state) == ("problem", "ok")
    assert "models is not writable (Not a directory). Set HF_HOME" in found["models"].text


def test_memory_is_that_of_the_container_or_the_job(monkeypatch, tmp_path):
    job = tmp_path / "groups/slurm/job_1"
    job.mkdir(parents=True)
    for place, limit in ((job, "3000"), (job.parent, "max"), (tmp_path / "groups", "8000")):
        (place / "memory.max").write_text(f"{limit}\n")
        (place / "memory.current").write_text("1000\n")
    (tmp_path / "own").write_text("1:cpu:/other\n0::/slurm/job_1\n")
    limits = doctor.memory_limits(tmp_path / "groups", tmp_path / "own")
    assert limits == [(3000, 1000), (8000, 1000)]
    assert doctor.memory_limits(tmp_path / "groups", tmp_path / "absent") == []
    whole, free = doctor.memory_of_machine()
    monkeypatch.setattr(doctor, "memory_limits", lambda: limits)
    assert doctor.memory_of_machine() == (3000, 2000)
    assert whole > free > 3000, "the control"


def test_without_a_home_nothing_else_is_said_of_it_and_nothing_is_written(monkeypatch, tmp_path, capsys):
    def refuse():
        raise InputError("There is no home directory.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hf_breakhis.cli.start.require_place_for_caches", refuse)
    assert main(["doctor", "demo"]) == 1
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows if row[0] == "problem"] == ["home", "recipe"]
    assert {"cache", "models"} & {row[1] for row in rows} == set()
    assert list(tmp_path.iterdir()) == []
    assert main(["data", "info"]) == 2, "every other command ends at once"


@pytest.mark.parametrize(("free", "state"), [(2**26, "note"), (2**32, "ok")])
def test_little_shared_memory_is_noted(monkeypatch, free, state):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage(free, 0, free))
    assert lines_of(doctor.check_memory)["shared"].state == state


def test_a_recipe_that_cannot_be_written_or_published_is_a_problem(run_fields, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", [])
    monkeypatch.setattr(doctor, "check_cost", lambda *_: [])
    monkeypatch.setattr("hf_breakhis.hub.remote.get_token", lambda: None)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("\n".join(f"{name}: {value}" for name, value in run_fields.items()))
    command = ["doctor", str(recipe), "--push_to_hub", "true", "--hub_model_id", "user/name", "--output_dir"]

    def states(folder):
        code = main([*command, str(folder)])
        return code, {line.split()[1]: line.split()[0] for line in capsys.readouterr().out.splitlines()[:4]}

    found = {"images": "ok", "run": "problem", "publish": "problem", "pixels": "ok"}
    assert states(recipe / "run") == (1, found), "a file is in the way"
    monkeypatch.setattr("hf_breakhis.hub.remote.get_token", lambda: "hf_loopback")
    assert states(tmp_path / "run") == (0, dict.fromkeys(found, "ok"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("load", "noted"), [(0.0, False), (100.0, True)])
def test_an_estimate_on_a_busy_machine_is_called_too_high(monkeypatch, load, noted):
    monkeypatch.setattr(doctor.os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr("hf_breakhis.cli.help.estimate.estimate", lambda *_: Cost(100.0, 60.0, 10**9, 6000))
    recipe = SimpleNamespace(
        data=SimpleNamespace(features=[]), training=SimpleNamespace(device=SimpleNamespace(type="cpu"))
    )
    lines = list(doctor.check_cost(recipe, SimpleNamespace(dataset=None)))
    assert any("too high" in line.text for line in lines) is noted
    assert "about 60 seconds: 6,000 images at 100 per second" in "\n".join(line.text for line in lines)


def test_a_recipe_has_images_pixels_memory_and_time(run_fields, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", [])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("\n".join(f"{name}: {value}" for name, value in run_fields.items()))
    assert main(["doctor", str(recipe), "--output_dir", str(tmp_path / "run")]) == 0
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert list(rows) == ["images", "run", "pixels", "memory", "time"]  # a dict keeps one line for each
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_trained_is_one_problem_before_an_image_is_read(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", [])
    monkeypatch.setattr("hf_breakhis.data.sources.table.load_images", None)
    assert main(["doctor", "recipes/demo.yaml", "--optimizer_name", "sgdd", "--num_folds", "3"]) == 1
    out = capsys.readouterr().out
    assert "sgd" in out
    assert out.splitlines()[-1] == "1 problem found."


def test_an_estimate_counts_every_pass_of_every_fold_and_repeat(run_fields, tmp_path):
    fields = {**run_fields, "output_dir": str(tmp_path), "repeats": 2, "eval_strategy": "no"}
    recipe = build_recipe(fields, {})
    images = load_images(DataArguments(dataset="twin", twin_kwargs=run_fields["twin_kwargs"]))
    cost = estimate(recipe, images.dataset)
    # two folds train on every image once between them, for two epochs and two repeats
    assert cost.images == len(images.dataset) * 2 * 2
    assert cost.seconds > cost.images / cost.images_per_second * 0.9
    members = estimate(build_recipe({**fields, "repeats": 1, "members": 3}, {}), images.dataset)
    assert members.images == len(images.dataset) * 2 * 3
    one = estimate(build_recipe({**fields, "repeats": 1, "fold": "0"}, {}), images.dataset)
    assert 0 < one.images < len(images.dataset) * 2
