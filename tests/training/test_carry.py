"""A model carried over from fold to fold resumes exactly, and every image it has seen is marked."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from hf_breakhis.recipe import build_recipe
from hf_breakhis.training.crossval import cross_validate

FIELDS = {
    "dataset": "twin",
    "twin_kwargs": {"scale": 0.01, "width": 70, "height": 46},
    "split_by": "specimen",
    "num_folds": 3,
    "image_size": 32,
    "init": "random",
    "model_kwargs": {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "optimizer_name": "sgd",
    "optimizer_kwargs": {"momentum": 0.9},
    "learning_rate": 0.05,
    "scheduler_name": "step",
    "scheduler_kwargs": {"step_size": 1, "gamma": 0.5},
    "num_train_epochs": 1,
    "batch_size": 32,
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}


def run(folder, **fields):
    cross_validate(build_recipe({**FIELDS, **fields, "output_dir": str(folder)}, {}))
    return folder


def weights(run, fold):
    return load_file(run / f"fold-{fold}" / "model" / "model.safetensors")


def distance(one, two):
    return sum((one[name].float() - two[name].float()).abs().sum().item() for name in one)


def first_rates(run):
    return [pd.read_csv(run / f"fold-{i}" / "history.csv")["learning_rate"].iloc[0] for i in range(3)]


def seen(run):
    return [pd.read_csv(run / f"fold-{i}" / "predictions.csv")["seen_in_training"].mean() for i in range(3)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same recipe fresh, with the model carried, and with everything carried."""
    folder = tmp_path_factory.mktemp("carry")
    return {carry: run(folder / carry, carry_over=carry) for carry in ("none", "model", "all")}


def test_fresh_folds_have_seen_no_test_image(runs):
    assert seen(runs["none"]) == [0, 0, 0]


@pytest.mark.parametrize("carry", ["model", "all"])
def test_carried_folds_have_seen_every_test_image_but_the_firsts(carry, runs):
    """Every later test set was in the training set of the first fold."""
    assert seen(runs[carry]) == [0, 1, 1]


def test_the_first_fold_is_the_same_whatever_is_carried(runs):
    assert distance(weights(runs["none"], 0), weights(runs["model"], 0)) == 0
    assert distance(weights(runs["none"], 0), weights(runs["all"], 0)) == 0


def test_carried_weights_start_from_the_previous_fold(runs):
    """A rate of zero shows it bare: the second fold's model is then the first's, but for batch-norm statistics."""
    still = run(runs["model"].parent / "still", carry_over="model", learning_rate=0.0)
    first, second = weights(still, 0), weights(still, 1)
    trained = [name for name in first if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(first[name], second[name]) for name in trained)
    assert distance(weights(runs["model"], 1), weights(runs["none"], 1)) > 0


def test_the_schedule_continues_only_if_all_is_carried(runs):
    assert first_rates(runs["model"]) == pytest.approx([0.05, 0.05, 0.05])
    assert first_rates(runs["all"]) == pytest.approx([0.05, 0.025, 0.0125])


def test_a_carried_run_continues_from_its_files(runs, tmp_path):
    """The third fold trained again from the files of the second gives the same bytes."""
    folder = runs["all"]
    before = (folder / "fold-2" / "predictions.csv").read_bytes()
    for name in ("fold-2/metrics.json", "finished.json"):
        (folder / name).unlink()
    run(folder, carry_over="all")
    assert (folder / "fold-2" / "predictions.csv").read_bytes() == before


def test_refit_trains_on_everything_and_scores_nothing(tmp_path):
    folder = run(tmp_path / "refit", fold="refit")
    assert sorted(path.name for path in (folder / "refit").iterdir()) == [
        "checksums.json",
        "history.csv",
        "metrics.json",
        "model",
    ]
    assert not (folder / "finished.json").exists()


def test_class_weights_and_balanced_sampling_change_the_model(runs, tmp_path):
    plain = weights(runs["none"], 0)
    for i, fields in enumerate(({"class_weights": "balanced"}, {"sampler": "balanced"})):
        other = run(tmp_path / str(i), fold="0", **fields)
        assert distance(plain, weights(other, 0)) > 0


def test_early_stopping_on_the_test_part_is_marked(tmp_path):
    import json

    fields = {"load_best_model_at_end": True, "num_train_epochs": 2, "fold": "0"}
    test = run(tmp_path / "test", **fields)
    assert json.loads((test / "fold-0" / "metrics.json").read_text())["selected_on"] == "test"
    own = run(tmp_path / "own", **fields, validation_size=0.2)
    report = json.loads((own / "fold-0" / "metrics.json").read_text())
    assert report["selected_on"] == "validation"
    assert set(report) == {"test", "validation", "selected_on"}


def test_repeats_are_runs_with_other_seeds(tmp_path):
    folder = run(tmp_path / "repeats", repeats=2)
    folds = [pd.read_csv(folder / f"repeat-{r}" / "folds.csv") for r in range(2)]
    assert not folds[0]["part"].equals(folds[1]["part"])
    assert (folder / "recipe.yaml").is_file()
    assert (folder / "repeat-1" / "finished.json").is_file()


def test_a_plateau_that_fires_on_the_test_part_is_marked(tmp_path):
    import json

    fields = {"scheduler_name": "plateau", "fold": "0", "num_train_epochs": 3}
    fires = run(tmp_path / "fires", **fields, scheduler_kwargs={"patience": 0, "threshold": 0.9})
    waits = run(tmp_path / "waits", **fields, scheduler_kwargs={"patience": 3})
    marks = [json.loads((r / "fold-0" / "metrics.json").read_text())["selected_on"] for r in (fires, waits)]
    assert marks == ["test", None]
