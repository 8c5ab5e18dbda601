"""A Hub of its own for each test, and a small export."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).with_name("loopback.py"))
loopback = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loopback)


@pytest.fixture
def hub(tmp_path):
    """An empty Hub on loopback that knows one user, "user", by the token "hf_loopback"."""
    server = loopback.LoopbackHub(tmp_path / "hub-home")
    yield server
    server.close()
