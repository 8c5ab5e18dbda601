"""Further processes of this program, which share its cores."""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hf_breakhis.hardware import count_cores


def start_job(words: Sequence[str], log: Path, jobs: int) -> "subprocess.Popen[bytes]":
    """Start a command of this program in a process of its own.

    Args:
        words: command and arguments, such as `["study", "wishes"]`.
        log: file to which its command line and output are appended; its folder is created.
        jobs: number of processes that share the cores of this one.
    """
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, count_cores() // jobs)))
    command = [sys.executable, "-m", "hf_breakhis", *words]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        stream.write(f"$ {shlex.join(command)}\n".encode())
        stream.flush()
        return subprocess.Popen(  # noqa: S603 (this program)
            command, stdout=stream, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
