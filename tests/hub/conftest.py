"""A Hub of its own for each test, and a small export."""

import dataclasses
import importlib.util
import os
import shutil
from pathlib import Path

import pytest

# Xet reads these once a process; by default it tries again for five minutes.
os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
os.environ.setdefault("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).with_name("loopback.py"))
loopback = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loopback)


@pytest.fixture(scope="session", autouse=True)
def exports(shared_exports):
    """Here many tests export or publish the same network."""


@pytest.fixture
def hub(tmp_path, run_python):
    """An empty Hub on loopback that knows one user, "user", by the token "hf_loopback"."""
    server = loopback.LoopbackHub(tmp_path / "hub-home", run_python)
    yield server
    server.close()


@pytest.fixture(scope="session")
def published(trained_run, tmp_path_factory):
    """The folder of fold 0 of `trained_run`, ready to go up as "user/breakhis-tiny"; tests do not change it."""
    from hf_breakhis.hub.publish import publications

    folder = tmp_path_factory.mktemp("published") / "publish"
    (publication,) = publications(trained_run, "user/breakhis-tiny", "fold:0", folder)
    return publication


@pytest.fixture
def ready(published, tmp_path):
    """A copy of `published`."""
    return dataclasses.replace(published, folder=shutil.copytree(published.folder, tmp_path / "publish"))
