"""What is released: the wheel in an environment without the checkout, the version, the header of the script."""

import json
import os
import re
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import hf_breakhis

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TINY = [
    "--twin_kwargs", '{"scale": 0.01, "width": 70, "height": 46}', "--image_size", "32", "--num_folds", "2",
    "--model_kwargs", '{"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}',
    "--num_train_epochs", "1", "--dataloader_num_workers", "0", "--use_cpu", "true", "--disable_tqdm", "true",
]  # fmt: skip

IN_TURN = """
import contextlib, io, json, sys
from hf_breakhis.cli import main
from hf_breakhis.results.report import page
printed = []
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        if code := main(command):
            sys.exit(code)
    printed.append(out.getvalue())
    page.FIGURES = {"confusion_mean": page.FIGURES["confusion_mean"]}  # training has drawn all
print(json.dumps(printed))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        ".",
    ]
    subprocess.run(build, cwd=ROOT, check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Run a command of the wheel, installed in an environment of its own, in an empty folder."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # The dependencies are those of this environment; its own copy of the package comes later on the path.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    work = tmp_path_factory.mktemp("empty")

    def start(*arguments):
        command = [str(folder / "bin/python"), *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(*arguments):
        return start("-m", "hf_breakhis", *arguments)

    def in_turn(commands):
        return json.loads(start("-c", IN_TURN, json.dumps(commands)).splitlines()[-1])

    run.python, run.work, run.packages, run.in_turn = folder / "bin/python", work, packages, in_turn
    return run


def test_the_installed_package_is_that_of_the_wheel(installed):
    code = "import hf_breakhis; print(hf_breakhis.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [installed.python, "-c", code]
    done = subprocess.run(command, cwd=installed.work, capture_output=True, text=True, check=True, env=environment)
    assert Path(done.stdout.strip()).is_relative_to(installed.packages)


def test_every_command_of_the_readme_exists(installed):
    named = set(re.findall(r"^\| `hf-breakhis ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"train", "score", "publish"} <= named
    shown = installed("--help")
    for name in named:
        assert re.search(rf"^\s+{name}\s", shown, re.MULTILINE), name


def test_files_of_the_package_come_with_it(installed):
    listed = installed("recipes")
    for folder in ("recipes", "studies", "spaces"):
        for file in (ROOT / folder).rglob("*.yaml"):
            if "accelerate" not in file.parts:
                assert file.stem in listed, file
    installed("recipes", "copy", "c3", "mine.yaml")
    assert (installed.work / "mine.yaml").read_bytes() == (ROOT / "recipes/c3.yaml").read_bytes()


def test_a_run_goes_from_training_to_a_card_and_a_page(installed):
    """One process runs all commands, so that libraries load once."""
    commands = [
        ["train", "demo", *TINY],
        ["audit", "outputs/demo"],
        ["report", "outputs/demo"],
        ["predict", "outputs/demo", "outputs/demo/fold-0/examples"],
        ["publish", "outputs/demo", "--repo_id", "user/demo", "--dry_run"],
        ["space", "outputs/demo", "app"],
        ["page", "outputs/demo", "site"],
        ["score", "outputs/demo/predictions.csv", "--output_dir", "outputs/theirs"],
        ["compare", "outputs/demo", "outputs/theirs"],
        ["check", "pixels-to-prognosis"],
    ]
    printed = dict(zip([command[0] for command in commands], installed.in_turn(commands), strict=True))
    assert "Sensitivity" in printed["report"]
    assert "prob_malignant" in printed["predict"]
    assert "RCL-7500" in printed["check"]
    for name in ("outputs/demo/report.html", "app/app.py", "site/index.html", "outputs/theirs/report.html"):
        assert (installed.work / name).is_file(), name


def test_the_version_is_in_one_place_and_in_the_changes():
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "hf_breakhis/__init__.py"
    assert hf_breakhis.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_the_wheel_names_version_and_licence(wheel):
    assert wheel.name.startswith(f"hf_breakhis-{hf_breakhis.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_script_says_what_it_needs():
    """The form of PEP 723, with the requirement of the package itself."""
    text = (ROOT / "scripts/train.py").read_text()
    block = re.search(r"(?m)^# /// script\n(?P<body>(^#(| .*)\n)+)^# ///$", text)["body"]
    about = tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in block.splitlines(True)))
    assert about["requires-python"] == PROJECT["project"]["requires-python"]
    assert about["dependencies"] == [PROJECT["project"]["name"]]


def test_configurations_of_accelerate_are_read_by_accelerate():
    from accelerate.commands.config.config_args import load_config_from_file

    files = sorted((ROOT / "recipes/accelerate").glob("*.yaml"))
    assert files
    for file in files:
        given = yaml.safe_load(file.read_text())
        read = load_config_from_file(str(file))
        assert read.num_processes == given["num_processes"], file


def test_the_workflow_runs_the_check_of_the_project_on_the_supported_versions():
    job = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text())["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"][0] == PROJECT["project"]["requires-python"].removeprefix(">=")
    assert job["steps"][-1]["run"] == "make check"


def test_the_citation_has_the_required_fields():
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(found)
