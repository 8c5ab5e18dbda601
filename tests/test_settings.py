"""Settings that are changed for a while come back."""

import gc
import weakref

from hf_breakhis import settings
from hf_breakhis.settings import frozen_objects


class Knot:
    """An object that only garbage collection frees, since it refers to itself."""

    def __init__(self):
        self.itself = self


def tie():
    """Make such an object that nobody uses, and return how to look whether it still exists."""
    return weakref.ref(Knot())


def test_objects_from_before_are_skipped_inside_and_freed_afterwards(monkeypatch):
    monkeypatch.setattr(settings, "_depth", 0)  # the whole suite runs inside one
    gc.disable()
    try:
        old = tie()
        with frozen_objects():
            new = tie()
            gc.collect()
            assert new() is None
            with frozen_objects():
                gc.collect()
            assert old() is not None, "only the outermost makes objects collectable again"
        gc.collect()
        assert old() is None
    finally:
        gc.enable()
        gc.freeze()
