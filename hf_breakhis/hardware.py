"""What this machine has, and the settings that a recipe leaves to it."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

AMPERE = (8, 0)  # the first NVIDIA generation that calculates in bfloat16 and TensorFloat-32
MAX_WORKERS = 8
PREFETCH = 4
# Without one of these a CPU only imitates bfloat16, and takes 14 times as long as with float32.
CPU_BF16 = {"amx_bf16", "avx512_bf16"}
# Options of glibc's mallopt: how many blocks come straight from the system, and how much that is free stays.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1


@dataclass(frozen=True)
class Hardware:
    """What decides how fast a network trains.

    Attributes:
        device: kind of device as torch names it, such as "cpu", "cuda" or "mps".
        capability: generation of an NVIDIA GPU, such as (8, 0); None for every other device.
        cores: processor cores that this process and its siblings may use.
        processes: processes of the same run on this machine, which share the cores.
        cpu_bf16: whether the processor has instructions for bfloat16.
    """

    device: str = "cpu"
    capability: tuple[int, int] | None = None
    cores: int = 1
    processes: int = 1
    cpu_bf16: bool = False


def find_hardware(use_cpu: bool = False) -> Hardware:
    """Return what this machine has; `use_cpu` passes a GPU over."""
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
def full_precision() -> Iterator[None]:
    """Let float32 be float32: GPUs shorten it in convolutions unless they are told not to."""
    import torch

    backends: Any = torch.backends
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    with torch.backends.flags(fp32_precision="ieee"):
        # What was ever set for a part counts more than what is set for all, and exporting a model sets it.
        own = [(part, part.fp32_precision) for part in parts if part.fp32_precision != "ieee"]
        for part, _ in own:
            part.fp32_precision = "ieee"
        try:
            yield
        finally:
            for part, precision in own:
                part.fp32_precision = precision


def keeps_memory() -> bool:
    """Return whether `keep_memory` acts here: with glibc, where the environment leaves its allocator alone."""
    told = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    told = told or "malloc" in os.environ.get("LD_PRELOAD", "")  # jemalloc, tcmalloc
    return platform.libc_ver()[0] == "glibc" and not told


def keep_memory() -> None:
    """Let this process keep the memory that a network frees, for its next layer and batch.

    glibc returns every block above 32 MiB to the system once it is free and is given empty pages for the next, which
    costs a ResNet-50 on a CPU up to a third of its time. The process stays as large as its largest step made it; that
    was up to a third more than without in runs of a ResNet-50, and is more where sizes keep growing.
    """
    if keeps_memory():
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def count_cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's share of the host."""
    from joblib import cpu_count

    return cpu_count()


def processor_flags() -> set[str]:
    """Return the names of the processor's instructions, as Linux lists them; elsewhere none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    return set(next((line.split(":")[1].split() for line in lines if line.startswith("flags")), []))


def choose(hardware: Hardware, num_workers: int | None = None) -> dict[str, Any]:
    """Return a value for every field that a recipe may leave open.

    bfloat16 where the device is known to calculate in it. On a GPU also TensorFloat-32, and processes that load images
    ahead of it; on a CPU none, since they would take cores from the network.

    Args:
        hardware: as `find_hardware` gives it.
        num_workers: processes that load images, where the recipe says.
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
