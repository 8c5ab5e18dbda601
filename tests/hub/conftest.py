"""A Hub of its own for each test, and a small export."""

import importlib.util
import os
from pathlib import Path

import pytest

# Xet reads these once a process; by default it tries again for five minutes.
os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
os.environ.setdefault("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).with_name("loopback.py"))
loopback = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loopback)


@pytest.fixture
def hub(tmp_path, run_python):
    """An empty Hub on loopback that knows one user, "user", by the token "hf_loopback"."""
    server = loopback.LoopbackHub(tmp_path / "hub-home", run_python)
    yield server
    server.close()
