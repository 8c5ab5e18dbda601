"""Faults from outside are recognised by what the libraries really say; faults of our own keep their traceback."""

import errno
import os
import signal

import numpy as np
import pytest
import safetensors.torch
import torch

from hf_breakhis.cli import faults, main

pytestmark = pytest.mark.usefixtures("small_figures")


class KillsItsWorker(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        os.kill(os.getpid(), signal.SIGKILL)


def full_disk():
    with open("/dev/full", "w") as file:
        file.write("x" * 100_000)


def full_disk_for_torch():
    torch.save(torch.zeros(100_000), "/dev/full")


def killed_worker():
    list(torch.utils.data.DataLoader(KillsItsWorker(), num_workers=1))


def full_memory():
    torch.empty(2**60, dtype=torch.uint8)


def full_memory_for_numpy():
    np.empty(2**60, dtype=np.uint8)


def full_memory_for_python():
    raise MemoryError


def full_memory_for_a_process():
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def full_memory_of_a_gpu():
    """What an H100 said, shortened."""
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 24.00 MiB. GPU 0 has a total capacity of 79.18 GiB of which 11.31 MiB "
        "is free. Process 5926 has 5.80 GiB memory in use."
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (full_disk, "The disk is full"),
        (full_disk_for_torch, "The disk is full"),
        (full_memory, "There is not enough memory"),
        (full_memory_for_numpy, "There is not enough memory"),
        (full_memory_for_python, "There is not enough memory"),
        (full_memory_for_a_process, "There is not enough memory"),
        (full_memory_of_a_gpu, "There is not enough memory"),
        (killed_worker, "A data loading process has exited"),
    ],
)
def test_what_libraries_say_is_recognised(cause, line, monkeypatch, capsys):
    monkeypatch.setattr("hf_breakhis.cli.app", lambda **_: cause())
    assert main(["report", "x"]) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith(f"hf-breakhis: {line}")
    assert error.count("\n") == 1


def test_weights_that_find_no_room_are_recognised(tmp_path):
    """safetensors maps its file into memory, so it wants a real one: the limit stands for a full disk."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(Exception, match=r"os error 27|File too large") as caught:
            safetensors.torch.save_file({"a": torch.zeros(100_000)}, tmp_path / "weights.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "disk is full" in faults.fault_of(caught.value).line


def test_a_permission_is_told_where_a_file_lacks_it():
    """Without a file, as where a container refuses semaphores, the traceback says more."""
    assert faults.fault_of(PermissionError(errno.EACCES, "Permission denied", "run")) is not None
    assert faults.fault_of(PermissionError(errno.EACCES, "Permission denied")) is None


def test_a_fault_of_our_own_is_not_hidden(monkeypatch):
    def broken(**_):
        raise RuntimeError("an index is out of range")

    assert faults.fault_of(RuntimeError("an index is out of range")) is None
    monkeypatch.setattr("hf_breakhis.cli.app", broken)
    with pytest.raises(RuntimeError, match="out of range"):
        main(["report", "x"])
