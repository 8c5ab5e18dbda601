"""Tests of the drawing draw anew."""

import pytest

from hf_breakhis.data.twin import twin
from hf_breakhis.hardware import count_cores


@pytest.fixture(autouse=True)
def drawn_anew(shared_pictures, monkeypatch):
    monkeypatch.setattr(twin, "encode", shared_pictures[1])
    monkeypatch.setattr(twin, "count_cores", count_cores)
