"""Tiny runs of the synthetic twin, and whether two of them gave the same files."""

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml
from transformers import TrainerCallback

from hf_breakhis.recipe import build_recipe
from hf_breakhis.training import fold
from hf_breakhis.training.crossval import cross_validate

FIELDS = {
    "dataset": "twin",
    "twin_kwargs": {"scale": 0.01, "width": 70, "height": 46},
    "split_by": "specimen",
    "num_folds": 2,
    "image_size": 32,
    "init": "random",
    "model_kwargs": {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "optimizer_name": "sgd",
    "optimizer_kwargs": {"momentum": 0.9},
    "learning_rate": 0.05,
    "num_train_epochs": 2,
    "batch_size": 36,
    "augmentation": "dihedral",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}


@pytest.fixture(scope="session")
def fields():
    """The fields of a tiny run."""
    return dict(FIELDS)


@pytest.fixture(scope="session")
def recipe():
    """Return the recipe of a tiny run, about 5 updates an epoch: `recipe(folder, seed=3)`."""

    def build(folder, **fields):
        return build_recipe({**FIELDS, **fields, "output_dir": str(folder)}, {})

    return build


@pytest.fixture(scope="module")
def run(tmp_path_factory, recipe, fields):
    """A finished run with the `fields` of a test file."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert cross_validate(recipe(folder, **fields))
    return folder


@pytest.fixture
def signal_in_update():
    """Send this process a signal in the n-th update of a fold: `with signal_in_update(3, signal.SIGINT): ...`."""

    @contextmanager
    def sending(step, number=signal.SIGTERM):
        class Send(TrainerCallback):
            def on_pre_optimizer_step(self, args, state, control, **kwargs):
                if state.global_step == step - 1:
                    os.kill(os.getpid(), number)

        def make_and_add(*args):
            trainer = make(*args)
            trainer.add_callback(Send())
            return trainer

        make = fold.make_trainer
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fold, "make_trainer", make_and_add)
            yield

    return sending


# Names of folders and times of day differ between two equal runs.
OWN = ("cost.json", "recipe.yaml", "summary.json", "report.html")


def files_of(run):
    """Every file of a run that two equal runs share, by name."""
    run = Path(run)
    paths = [path.relative_to(run) for path in run.rglob("*") if path.is_file() and path.name not in OWN]
    # a kill may leave a lock, or the hidden beginning of a file
    shown = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    return {str(path): run / path for path in sorted(shown)}


def checksums_of(path):
    """The checksums in a file, without those of files that may differ between two equal runs."""
    content = json.loads(path.read_text())
    sums = {**content["sha256"], **content.get("run", {})}
    curves = ("history.csv", "checksums.json")  # those of members are in the checksums of their fold
    return {name: value for name, value in sums.items() if Path(name).name not in (*OWN, *curves)}


@pytest.fixture(scope="session")
def same_run():
    """Assert that two runs left the same files with the same bytes, curves to the digits of a 32-bit sum."""

    def check(one, other):
        left, right = files_of(one), files_of(other)
        assert left.keys() == right.keys()
        for name, path in left.items():
            if path.name == "history.csv":
                pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(right[name]), rtol=1e-6)
            elif path.name == "checksums.json":
                assert checksums_of(path) == checksums_of(right[name]), name
            else:
                assert path.read_bytes() == right[name].read_bytes(), name

    return check


@pytest.fixture
def gives_the_same_result(tmp_path, same_run, run_python):
    """Train in processes that are interrupted and started again, and compare with an uninterrupted run."""

    def check(fields, fault, *numbers):
        recipe = tmp_path / "small.yaml"
        recipe.write_text(yaml.safe_dump(fields), encoding="utf-8")
        (tmp_path / "runs").mkdir()
        script = Path(__file__).with_name("kills.py")
        done = run_python(script, recipe, tmp_path / "runs", fault, *numbers, timeout=None)
        assert done.returncode == 0, done.stderr[-3000:]
        uninterrupted, *interrupted = json.loads(done.stdout.splitlines()[-1])
        assert interrupted
        for run in interrupted:
            same_run(run, uninterrupted)
            one, other = (json.loads(Path(folder, "summary.json").read_text()) for folder in (run, uninterrupted))
            assert one.pop("name") != other.pop("name")
            assert one == other
            assert Path(run, "report.html").is_file()

    return check
