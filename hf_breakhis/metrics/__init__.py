"""Scores of image classifiers, each an `evaluate.Metric` that calls one of `functions`; no network is needed.

The classes are imported when first used: `evaluate` takes seconds, and the package itself calls the functions.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_breakhis.metrics.fold_aggregate.fold_aggregate import FoldAggregate
    from hf_breakhis.metrics.image_report.image_report import ImageReport
    from hf_breakhis.metrics.recognition_rate.recognition_rate import RecognitionRate
    from hf_breakhis.metrics.table import METRICS

__all__ = ["METRICS", "FoldAggregate", "ImageReport", "RecognitionRate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("hf_breakhis.metrics.table"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
