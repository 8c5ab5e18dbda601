"""Feature vectors without images for searches of seconds, under names of BreakHis."""

import time

import numpy as np
import optuna
import pandas as pd
import pytest

from hf_breakhis.cli import main
from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.files import read_json
from hf_breakhis.search.claims import open_storage
from tests.conftest import processes

FOLDERS = 40  # slide folders, as many of each class
IMAGES = 3  # of each


def names_of_images():
    """Return names of images at 40X, of slide folders of both classes, and the class of each."""
    names, labels = [], []
    for label, letter in enumerate("BM"):
        folders = [one for one in INVENTORY if one.patient_id.startswith(f"SOB_{letter}")]
        for folder in folders[: FOLDERS // 2]:
            own = [str(name) for name in folder.names() if name.magnification == "40X"][:IMAGES]
            names += own
            labels += [label] * len(own)
    return names, np.array(labels)


def write_vectors(path, signal, columns=12, seed=0):
    """Write vectors with an effect of the slide folder, noise, and a shift between the classes."""
    names, labels = names_of_images()
    rng = np.random.default_rng(seed)
    folder = np.arange(len(names)) // IMAGES
    values = rng.normal(size=(folder.max() + 1, columns))[folder] + rng.normal(size=(len(names), columns))
    values[:, 0] += signal * labels
    table = pd.DataFrame(values, columns=[f"feature_{number}" for number in range(columns)])
    table.insert(0, "file_name", names)
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def noise(tmp_path_factory):
    """Vectors without a signal of the class."""
    return write_vectors(tmp_path_factory.mktemp("noise") / "noise.csv", 0)


@pytest.fixture(scope="session")
def signal(tmp_path_factory):
    """Vectors with a signal of the class."""
    return write_vectors(tmp_path_factory.mktemp("signal") / "signal.csv", 8)


def recipe_of(vectors):
    return {
        "features": [str(vectors)], "split_by": "specimen", "num_folds": 3, "num_train_epochs": 3, "batch_size": 32,
        "optimizer_name": "adamw", "learning_rate": 0.01, "scheduler_name": "cosine", "use_cpu": True, "bf16": False,
        "disable_tqdm": True, "dataloader_num_workers": 0,
    }  # fmt: skip


@pytest.fixture(scope="session")
def fields():
    """Return a function from vectors to the fields of a recipe."""
    return recipe_of


class Workers:
    """Processes that run a command; a server that has the imports forks them."""

    def __init__(self):
        self.context = processes.fork_server()

    def start(self, command):
        """Start a process; its exit code is 0 whatever the command returns."""
        process = self.context.Process(target=main, args=(list(command),))
        process.start()
        return process

    def trials(self, folder, url=None):
        """Return the trials of each part in the storage; none before the search has begun."""
        if not (folder / "plan.json").is_file() or not (folder / ".locks" / "claims.lock").exists():
            return {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        name = f"hf-breakhis/{read_json(folder / 'plan.json')['id']}/"
        storage = open_storage(folder, url)
        return {
            study.study_name.removeprefix(name): optuna.load_study(study_name=study.study_name, storage=storage).trials
            for study in optuna.get_all_study_summaries(storage)
            if study.study_name.startswith(name)
        }

    def wait_for(self, process, folder, number, url=None):
        """Wait until a number of trials has ended."""
        limit = time.monotonic() + 300
        while time.monotonic() < limit:
            ended = [one for trials in self.trials(folder, url).values() for one in trials if one.state.is_finished()]
            if len(ended) >= number:
                return
            assert process.exitcode is None
            time.sleep(0.02)
        raise AssertionError(f"{number} trials did not end within five minutes")


@pytest.fixture(scope="session")
def workers():
    """Processes that share a search."""
    return Workers()
