"""A small run of the twin, trained once, and a Hub of its own for each test."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from transformers import ResNetConfig, ResNetForImageClassification

from hf_breakhis.data.pixels.transforms import image_processor
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.summary import summarise
from hf_breakhis.training.crossval import cross_validate

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).parents[1] / "hub" / "loopback.py")
loopback = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("loopback", loopback)
_spec.loader.exec_module(loopback)

NETWORK = {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}


@pytest.fixture(scope="session", autouse=True)
def exports(shared_exports):
    """Here many tests export or publish the same network."""


@pytest.fixture(scope="session")
def run(once):
    """A finished run of two folds on 328 small pictures, with its decision.json; tests only read it."""
    fields = {
        "dataset": "twin", "twin_kwargs": {"scale": 0.01, "width": 70, "height": 46}, "split_by": "specimen",
        "num_folds": 2, "image_size": 32, "init": "random", "model_kwargs": NETWORK, "optimizer_name": "sgd",
        "learning_rate": 0.05, "num_train_epochs": 1, "batch_size": 36, "use_cpu": True, "bf16": False,
        "disable_tqdm": True, "cache": False,
    }  # fmt: skip

    def fill(folder):
        cross_validate(build_recipe(fields | {"output_dir": str(folder)}, {}))
        summarise(folder)

    return once("inference", fill)


@pytest.fixture(scope="session")
def twin(run):
    """The folder of the pictures of `run`."""
    return Path(json.loads((run / "data.json").read_text())["location"])


@pytest.fixture
def write_model(tmp_path):
    """Write a small random model with the processor of this package: `write_model(classes, name, seed)`."""

    def write(classes=("benign", "malignant"), name="model", seed=0, image_size=32):
        torch.manual_seed(seed)
        folder = tmp_path / name
        config = ResNetConfig(
            **NETWORK, id2label=dict(enumerate(classes)), label2id={c: i for i, c in enumerate(classes)}
        )
        ResNetForImageClassification(config).save_pretrained(folder)
        image_processor(image_size).save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def hub(tmp_path, run_python):
    """An empty Hub on loopback that knows one user, "user"."""
    server = loopback.LoopbackHub(tmp_path / "hub-home", run_python)
    yield server
    server.close()


@pytest.fixture
def at_loopback(hub, monkeypatch, tmp_path):
    """Let this process take the server for the Hub."""
    pattern = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", pattern)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    yield hub
    close_session()


@pytest.fixture
def put_model(at_loopback):
    """Put the files of a folder on the Hub: `put_model(folder, name)` returns the repository."""

    def put(folder, name="user/small"):
        repo = at_loopback.repos["model", name] = at_loopback.new_repo()
        repo.commit({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})
        return repo

    return put
