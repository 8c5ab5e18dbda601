"""Every command starts, and bad input ends in one line with exit code 2."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from hf_breakhis.cli import COMMAND_GROUPS, app, main

pytestmark = pytest.mark.usefixtures("small_reports")

ROOT = Path(__file__).parents[1]
RECIPE = """\
dataset: twin
twin_kwargs: {scale: 0.01, width: 70, height: 46}
num_folds: 2
image_size: 32
init: random
model_kwargs: {layer_type: basic, embedding_size: 4, hidden_sizes: [4, 8], depths: [1, 1]}
optimizer_name: sgd
learning_rate: 0.05
num_train_epochs: 1
batch_size: 32
use_cpu: true
disable_tqdm: true
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE + f"output_dir: {tmp_path / 'run'}\n", encoding="utf-8")
    return path


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hf-breakhis {version('hf-breakhis')}\n"


def test_train_ends_with_table_and_report_and_starts_again_with_neither(recipe, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", str(recipe)]) == 0
    out = capsys.readouterr().out
    assert "Recognition rate" in out
    assert out.strip().endswith(f"report: {run / 'report.html'}")
    for name in (
        "recipe.yaml data.json folds.csv predictions.csv summary.json decision.json cost.json report.html"
    ).split():
        assert (run / name).is_file(), name
    assert any((run / "figures").iterdir())

    assert main(["train", str(recipe)]) == 0
    assert "is already finished" in capsys.readouterr().out

    before = {name: (run / name).read_bytes() for name in ("summary.json", "report.html", "predictions.csv")}
    for name in before:
        (run / name).unlink()
    assert main(["report", str(run)]) == 0
    assert {name: (run / name).read_bytes() for name in before} == before

    assert main(["train", str(recipe), "--fold", "refit"]) == 0
    assert "refit" in capsys.readouterr().out


def test_twin_command_writes_the_official_tree(tmp_path, capsys):
    assert main(["data", "twin", str(tmp_path / "t"), "--scale", "0.001", "--width", "48", "--height", "32"]) == 0
    assert len(list((tmp_path / "t" / "BreaKHis_v1").rglob("*.png"))) == 328
    assert "twin: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["bogus"], "No such command 'bogus'. Try --help.\n"),
        (["explode"], "No such command 'explode'. Did you mean 'export'? Try --help.\n"),
        (["explain", "run", "--num_images", "0"], "Input should be greater than or equal to 1. Try --help.\n"),
        (["data"], "Missing command. Try --help.\n"),
        (["data", "twin"], "Missing argument"),
        (["data", "twin", "x", "--seed", "a"], "--seed"),
        (["data", "twin", "x", "--scale", "2"], "scale"),
        (["train"], "No recipe is given"),
        (["train", "recipes/c9.yaml"], "No recipe at recipes/c9.yaml"),
        (["report", "/nowhere/run"], "No run at /nowhere/run"),
        *(([*words.split(), "a" * 300], "File name too long") for words in (
            "report", "compare", "audit", "export", "explain", "study", "search", "check", "train", "score",
            "data info --data_dir", "data twin", "train demo --output_dir", "publish --repo_id a/b",
        )),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_code_2(argv, message, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("hf-breakhis: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset", "breakhis"], "twin_kwargs"),
        (["--dataset", "brakehis"], "brakehis"),
        (["--num_folds", "60"], "benign has 16 specimens, too few for num_folds=60"),
        (["--batch_size", "0"], "cannot be divided"),
        (["--init", "pretrained", "--model_name_or_path", "/nowhere/model"], "Cannot load"),
        (["--magnifications", "40"], "choose from"),
    ],
)
def test_bad_runs_leave_nothing_behind(flags, message, recipe, tmp_path, capsys):
    assert main(["train", str(recipe), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_the_help_lists_every_command_in_a_group(capsys):
    assert sorted(name for names in COMMAND_GROUPS.values() for name in names) == sorted(
        typer.main.get_command(app).commands
    )
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for title, names in COMMAND_GROUPS.items():
        assert f"{title}:" in shown
        for name in names:
            assert re.search(rf"^  {name} +[A-Z]", shown, re.MULTILINE), name


@pytest.mark.parametrize("group", [[], ["data"], ["recipes"]])
def test_no_list_of_commands_cuts_a_sentence(group, capsys):
    assert main([*group, "--help"]) == 0
    listed = capsys.readouterr().out.partition("--help  ")[2]
    assert len(listed.splitlines()) > 3
    assert not re.search(r"\S\.\.\.", listed)


def test_arguments_are_in_capitals_and_an_output_folder_has_one_name():
    groups = typer.main.get_command(app).commands
    commands = [*groups.items(), *groups["data"].commands.items(), *groups["recipes"].commands.items()]
    params = [(name, param) for name, command in commands for param in command.params]
    arguments = [(name, param.metavar) for name, param in params if param.param_type_name == "argument"]
    assert ("compare", "RUN") in arguments
    assert [found for found in arguments if not (found[1] or "").isupper()] == []
    options = [param for _, param in params if param.param_type_name == "option"]
    folders = [param.opts for param in options if (param.help or "").startswith(("Output folder", "Folder for"))]
    assert folders == [["--output_dir"]] * 4, "compare, export, publish, check"


def test_help_is_quick_to_import():
    """`--help` loads none of the heavy libraries."""
    code = (
        "import sys, json; from hf_breakhis.cli import COMMAND_GROUPS, app, main; main(['--help']);"
        "heavy = ['torch', 'transformers', 'datasets', 'matplotlib', 'sklearn', 'pandas'];"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert "For research, not for diagnosis" in done.stdout


def test_the_script_for_accelerate_is_the_same_door(run_python):
    done = run_python("scripts/train.py", "recipes/c9.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("hf-breakhis: No recipe at recipes/c9.yaml. Give a YAML file, or a recipe of")
    assert done.stderr.count("\n") == 1
