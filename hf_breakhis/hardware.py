"""The hardware of this machine, and the settings that are chosen from it."""

import ctypes
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AMPERE = (8, 0)  # the first NVIDIA generation with bfloat16 and TensorFloat-32
MAX_WORKERS = 8
PREFETCH = 4
# Without one of these a CPU only emulates bfloat16, which is 14 times slower than float32.
CPU_BF16 = {"amx_bf16", "avx512_bf16"}
# Options of mallopt in glibc: number of blocks allocated with mmap, and size of the free memory that is kept.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1


@dataclass(frozen=True)
class Hardware:
    """Properties of a machine that determine the speed of training.

    Attributes:
        device: type of device in torch, such as "cpu", "cuda" or "mps".
        capability: compute capability of an NVIDIA GPU, such as (8, 0); None for every other device.
        cores: processor cores that the processes of the run may use.
        processes: number of processes of the run on this machine.
        cpu_bf16: whether the processor has instructions for bfloat16.
    """

    device: str = "cpu"
    capability: tuple[int, int] | None = None
    cores: int = 1
    processes: int = 1
    cpu_bf16: bool = False


def find_hardware(use_cpu: bool = False) -> Hardware:
    """Return the hardware of this machine; with `use_cpu` a GPU is ignored."""
    import torch

    accelerator = None if use_cpu or not torch.accelerator.is_available() else torch.accelerator.current_accelerator()
    device = "cpu" if accelerator is None else accelerator.type
    return Hardware(
        device=device,
        capability=torch.cuda.get_device_capability() if device == "cuda" and torch.version.cuda else None,
        cores=count_cores(),
        processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        cpu_bf16=bool(CPU_BF16 & processor_flags()),
    )


@contextmanager
def kept_precision() -> Iterator[None]:
    """Restore at the end how torch computes float32, whatever happens inside."""
    import torch

    shown = []
    for for_all in ("ieee", "tf32"):
        with torch.backends.flags(fp32_precision=for_all):
            shown.append([part.fp32_precision for part in _parts()])
    # A part that follows what is set for all stays as it is: once set, it would not have its default again.
    own = [(part, one) for part, one, other in zip(_parts(), *shown, strict=True) if one == other]
    backends: Any = torch.backends
    for_all, older = backends.fp32_precision, _older_precision()
    try:
        yield
    finally:
        if _older_precision() != older:
            _set_older_precision(older)
        backends.fp32_precision = for_all
        for part, value in own:
            part.fp32_precision = value


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in full float32 inside; by default GPUs use TensorFloat-32 in convolutions."""
    with kept_precision():
        use_tf32(False)
        yield


def use_tf32(is_used: bool) -> None:
    """Compute float32 with TensorFloat-32, or in full, in every part of torch.

    torch has an older and a newer setting for it, and compiling a network raises an error where they differ.
    transformers sets the newer one only.
    """
    import torch

    backends: Any = torch.backends
    value, older = ("tf32", "high") if is_used else ("ieee", "highest")
    if _older_precision() != older:
        _set_older_precision(older)
    backends.fp32_precision = value
    for part in _parts():
        if part.fp32_precision != value:
            part.fp32_precision = value


def _parts() -> tuple[Any, ...]:
    import torch

    backends: Any = torch.backends
    return backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv


def _older_precision() -> str:
    import torch

    try:
        with _no_advice():
            precision: str = torch.get_float32_matmul_precision()
    except RuntimeError:  # only the newer setting was changed, so this one has its default
        return "highest"
    return precision


def _set_older_precision(precision: str) -> None:
    import torch

    with _no_advice():
        torch.set_float32_matmul_precision(precision)
    backends: Any = torch.backends
    for part in (backends.cuda.matmul, backends.mkldnn.matmul):
        part.fp32_precision = "none"  # which it sets too; they follow what is set for all


@contextmanager
def _no_advice() -> Iterator[None]:
    """Ignore that some versions of torch advise to use the newer setting alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please use the new API settings", UserWarning)
        yield


def keeps_memory() -> bool:
    """Return whether `keep_memory` has an effect: with glibc, unless the environment sets its allocator."""
    is_set = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    is_set = is_set or "malloc" in os.environ.get("LD_PRELOAD", "")  # jemalloc, tcmalloc
    return platform.libc_ver()[0] == "glibc" and not is_set


def keep_memory() -> None:
    """Let this process reuse the memory that a network frees.

    By default glibc returns every free block above 32 MiB to the system and gets new pages for the next one, which
    costs a ResNet-50 on a CPU up to a third of its time. With this setting the process keeps its largest size: up to a
    third more memory in runs of a ResNet-50, and more if sizes keep growing.
    """
    if keeps_memory():
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def count_cores() -> int:
    """Return the number of cores of this process, by its affinity and the limit of its container."""
    from joblib import cpu_count

    result: int = cpu_count()
    return result


def processor_flags() -> set[str]:
    """Return the instruction sets of the processor, as Linux lists them; empty on other systems."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return set(next((line.split(":")[1].split() for line in lines if line.startswith("flags")), []))


def device_name(device: Any) -> str:
    """Return the name of the GPU, or of the processor for a device of another type."""
    import torch

    name: str = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return name


def processor() -> str:
    """Return the name of the processor, or its architecture if the system does not know the name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({os.cpu_count()} cores)" if names else platform.machine()


def peak_memory(device: Any) -> int:
    """Return the most bytes that this process had so far: allocated on an NVIDIA GPU, else in main memory."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource  # Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def choose_settings(hardware: Hardware, num_workers: int | None = None) -> dict[str, Any]:
    """Return a value for every field that a recipe may leave to the hardware.

    bfloat16 is chosen if the device is known to support it. On a GPU TensorFloat-32 and processes that load images are
    chosen too; on a CPU no such processes, since they would take cores from the network.

    Args:
        hardware: of this machine.
        num_workers: number of processes that load images, if the recipe sets it.
    """
    cores = max(1, hardware.cores // hardware.processes)
    modern = hardware.capability is not None and hardware.capability >= AMPERE
    if num_workers is None:
        num_workers = 0 if hardware.device == "cpu" else min(MAX_WORKERS, max(1, cores - 1))
    return {
        "bf16": modern or (hardware.device == "cpu" and hardware.cpu_bf16),
        "tf32": True if modern else None,
        "num_threads": cores,
        "dataloader_num_workers": num_workers,
        "dataloader_prefetch_factor": PREFETCH if num_workers and hardware.device != "cpu" else None,
    }
