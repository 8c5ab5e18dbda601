"""Published results that stand next to a comparison, each with its protocol and whether patients were kept apart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hf_breakhis.data.sources.about import source_of

ANCHORS = Path(__file__).with_name("anchors.yaml")
FIELDS = ("name", "score", "value", "spread", "protocol", "kept_apart", "status", "source")
STATUS = ("honest", "unclear", "leaking")


def read_anchors() -> list[dict[str, Any]]:
    """Return the published results, each with `FIELDS`; `spread` is a standard deviation across folds, or None."""
    found: list[dict[str, Any]] = yaml.safe_load(ANCHORS.read_text(encoding="utf-8"))
    return found


def anchors_for(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the published results that runs on these data may stand next to: those on BreakHis, and real images.

    Args:
        data: the field `data` of summary.json.
    """
    source = source_of(data)
    return read_anchors() if source.has_breakhis_names and not source.is_generated else []
