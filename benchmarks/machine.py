"""What the times of a benchmark hang on."""

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from hf_breakhis.data.pixels.decode import decoder
from hf_breakhis.hardware import count_cores, processor

PACKAGES = ("torch", "torchvision", "transformers", "datasets", "accelerate", "onnxruntime", "pillow", "numpy")


def machine() -> dict[str, Any]:
    """Return processor, versions, and how busy the machine was in the last minute."""
    return {
        "processor": processor(),
        "cores": count_cores(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "decoder": decoder(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "load": round(os.getloadavg()[0], 1),
    }


def in_words(found: dict[str, Any]) -> str:
    """Return one sentence for the page of benchmarks."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    cores = f"{found['cores']} core{'s' * (found['cores'] != 1)}"
    return f"Measured on {found['processor']}, {cores} used, Python {found['python']}, {versions}."
