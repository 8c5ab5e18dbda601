"""Train one recipe again and again, killed at random moments and started again until it ends.

Arguments: the recipe, a folder, the number of kills, a seed. Imports once and forks, so that a start is quick; prints
the folders of the runs as JSON, the first one left alone.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from hf_breakhis.cli import main


def start(recipe, run):
    """Train in a process of its own group; its output goes to a file beside the run."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    log = os.open(f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os._exit(main(["train", recipe, "--output_dir", str(run)]))


def wait(child, seconds=600.0):
    """Return the exit code, or None when the process is still at work after some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


if __name__ == "__main__":
    recipe, folder, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    draw = random.Random(seed)
    runs = [folder / "alone", folder / "killed-0"]
    # Draws the twin, and imports what libraries import at first use; one thread, since others do not survive a fork.
    if main(["train", recipe, "--output_dir", str(folder / "warm")]):
        sys.exit(1)
    begin = time.monotonic()
    if wait(start(recipe, runs[0])):
        sys.exit(Path(f"{runs[0]}.log").read_text())
    usual = time.monotonic() - begin
    while True:
        child = start(recipe, runs[-1])
        code = wait(child, draw.uniform(0.05, 0.9) * usual if kills else 600.0)
        if code is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills -= 1
        elif code:
            sys.exit(Path(f"{runs[-1]}.log").read_text())
        elif not kills:
            break
        else:
            runs.append(folder / f"killed-{len(runs) - 1}")
    sys.stdout.write(json.dumps([str(run) for run in runs]) + "\n")
