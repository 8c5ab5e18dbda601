"""Recipes that cannot be trained are refused before any image is read, and no file is lost."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.training.crossval import cross_validate, require_one_precision
from hf_breakhis.training.losses import CrossEntropy
from hf_breakhis.training_arguments import BreakHisTrainingArguments

SCRIPT = Path(__file__).parents[2] / "scripts" / "train.py"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric_for_best_model": "acuracy"}, "`metric_for_best_model` is acuracy, but has to be one of loss, "),
        ({"scheduler_name": "cosine", "scheduler_kwargs": {"warmup": "x"}}, "`scheduler_kwargs` is .*not valid"),
        ({"optimizer_name": "adamw", "optimizer_kwargs": {"betas": 5}}, "`optimizer_kwargs` is .*not valid"),
        ({"optimizer_kwargs": {"momentum": -1}}, "Invalid momentum value"),
        ({"optimizer_kwargs": {"nesterov": True}}, "Nesterov momentum requires a momentum"),
        ({"scheduler_name": "step", "scheduler_kwargs": {"step_size": 0}}, "step_size is 0, but has to be above 0"),
        ({"scheduler_name": "plateau", "scheduler_kwargs": {"factor": 2}}, "Factor should be < 1.0"),
        ({"num_train_epochs": 0}, "`num_train_epochs` is 0"),
        ({"early_stopping_patience": 1, "eval_strategy": "no"}, "needs evaluations, but `eval_strategy` is no"),
        ({"model_kwargs": {"embedding_size": -4, "hidden_sizes": [4], "depths": [1]}}, "`model_kwargs` does not fit"),
        ({"report_to": "wandb"}, "`report_to` has wandb, which is not installed. Install it"),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_values_that_the_library_refuses_are_refused_first(changes, message, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_breakhis.training.crossval.load_images", lambda data: pytest.fail("images were read"))
    with pytest.raises(InputError, match=message) as refused:
        cross_validate(recipe(tmp_path / "run", **changes))
    assert "\n" not in str(refused.value)


def test_a_step_shorter_than_an_update_is_one_update(recipe, tmp_path):
    steps = {"scheduler_name": "step", "scheduler_kwargs": {"step_size": 0.01}, "num_train_epochs": 1, "fold": "0"}
    assert cross_validate(recipe(tmp_path / "run", **steps))


def test_a_precision_of_the_launcher_alone_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(
        InputError, match=r"Mixed precision is bf16 in the launcher .*and no in the recipe; give --bf16 true"
    ):
        BreakHisTrainingArguments(use_cpu=True, bf16=False)
    assert BreakHisTrainingArguments(use_cpu=True, bf16=True).bf16
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert BreakHisTrainingArguments(use_cpu=True, bf16=True).bf16, "no in the launcher asks for nothing"


def test_machines_of_other_precision_are_refused(monkeypatch):
    monkeypatch.setattr("hf_breakhis.training.crossval.PartialState", lambda: SimpleNamespace(num_processes=2))
    for bf16 in (True, False):
        monkeypatch.setattr("hf_breakhis.training.crossval.gather_object", lambda own: [*own, True])
        if bf16:
            require_one_precision(bf16)
        else:
            with pytest.raises(InputError, match="`bf16` must be the same on all nodes"):
                require_one_precision(bf16)


def test_labels_are_smoothed_as_torch_does():
    rng = np.random.default_rng(0)
    logits, labels = torch.from_numpy(rng.normal(size=(7, 2))), torch.from_numpy(rng.integers(0, 2, 7))
    ours = CrossEntropy(label_smoothing=0.3)({"logits": logits}, labels, num_items_in_batch=7)
    assert ours.item() == pytest.approx(torch.nn.CrossEntropyLoss(label_smoothing=0.3)(logits, labels).item())
    assert ours.item() != pytest.approx(CrossEntropy()({"logits": logits}, labels).item())


def test_smoothing_of_a_recipe_reaches_the_loss(recipe, tmp_path):
    losses = []
    for name, smoothing in (("plain", 0.0), ("smooth", 0.5)):
        run = tmp_path / name
        cross_validate(recipe(run, fold="0", num_train_epochs=1, label_smoothing_factor=smoothing))
        losses.append((run / "fold-0" / "predictions.csv").read_bytes())
    assert losses[0] != losses[1]


def test_restart_deletes_no_folder_that_is_no_run(recipe, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("keep")
    with pytest.raises(InputError, match=r"contains thesis.txt and no recipe.yaml, so it is not a run"):
        cross_validate(recipe(tmp_path / "precious", restart=True))
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "keep"


def test_restart_on_input_that_cannot_be_used_loses_nothing(recipe, tmp_path):
    run = tmp_path / "run"
    cross_validate(recipe(run, num_train_epochs=1))
    before = (run / "fold-0" / "predictions.csv").read_bytes()
    with pytest.raises(InputError, match="no such file or folder"):
        cross_validate(recipe(run, restart=True, dataset="breakhis", twin_kwargs=None, data_dir=str(tmp_path / "no")))
    with pytest.raises(InputError, match="too few for num_folds=60"):
        cross_validate(recipe(run, restart=True, num_folds=60))
    assert (run / "fold-0" / "predictions.csv").read_bytes() == before


def test_restart_of_one_fold_leaves_the_others(recipe, tmp_path):
    run = tmp_path / "run"
    cross_validate(recipe(run, num_train_epochs=1))
    stamps = {i: (run / f"fold-{i}" / "metrics.json").stat().st_mtime_ns for i in (0, 1)}
    assert cross_validate(recipe(run, num_train_epochs=1, fold="0", restart=True))
    assert (run / "fold-0" / "metrics.json").stat().st_mtime_ns > stamps[0]
    assert (run / "fold-1" / "metrics.json").stat().st_mtime_ns == stamps[1]
    with pytest.raises(InputError, match="run of another recipe"):
        cross_validate(recipe(run, num_train_epochs=2, fold="0", restart=True))


@pytest.mark.parametrize("place", ["/dev/null", "/proc/run"])
def test_a_folder_that_cannot_be_written_is_refused_before_images_are_read(place, recipe, monkeypatch):
    monkeypatch.setattr("hf_breakhis.training.crossval.load_images", lambda data: pytest.fail("images were read"))
    with pytest.raises(InputError, match=r"is not a folder|Cannot write /proc/run"):
        cross_validate(recipe(place))


def test_a_missing_connection_is_one_line(tmp_path, run_python):
    """The library itself retries for half a minute, with a line for each attempt."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    done = run_python(SCRIPT, "c1", "--output_dir", tmp_path / "run", environment=environment, timeout=60)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("hf-breakhis: Cannot load `microsoft/resnet-50`")
    assert "--init random" in lines[0]


def test_the_command_refuses_in_one_line(tmp_path, capsys, fields):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(yaml.safe_dump(fields | {"metric_for_best_model": "acuracy"}), encoding="utf-8")
    assert main(["train", str(recipe), "--output_dir", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
