"""Fine-tune image classifiers on BreakHis and report how far their scores can be believed.

The names in `__all__` are the Python interface; docs/python.md shows each of them. A name is imported when it is first
used, so that `import hf_breakhis` and the help of the command line do not wait for torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_MODULE_OF = {
    "InputError": "files",
    "Recipe": "recipe",
    "Run": "run",
    "audit_folds": "results.audit",
    "check_images": "data.integrity.check_images",
    "cross_validate": "training.crossval",
    "image_scores": "results.scores.resampling",
    "images_of": "results.scores.resampling",
    "intervals": "results.scores.intervals",
    "load_images": "data.sources.table",
    "make_folds": "data.splits",
    "predict_images": "inference.predict",
    "read_predictions": "results.predictions",
    "split_images": "data.splits",
    "summarise": "results.summary",
    "write_report": "results.report.page",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
