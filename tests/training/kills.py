"""Train one recipe again and again, killed at random moments or with a full disk, and started again until it ends.

Arguments: the recipe, a folder, and `kills NUMBER SEED`, `full BYTES...` (the largest file that may be written, at
first, then in the next start and so on) or `everywhere` (every kind of file that Python opens finds a full disk once).
Forks, so that a start is quick; prints the folders of the runs as JSON, the first one uninterrupted.
"""

import errno
import json
import os
import random
import re
import resource
import signal
import sys
import time
from pathlib import Path

from hf_breakhis.cli import main
from hf_breakhis.results import summary
from hf_breakhis.results.report import page
from hf_breakhis.results.scores.intervals import intervals

FEW = ("confusion_mean", "roc_mean")  # of 15 figures, all written by the same lines; so most kills hit training


def refuse_once(run, found):
    """Let the first file of the run that is not in `found` yet, a file of names, find a full disk."""

    def hook(event, given):
        if event != "open" or not given[2] & (os.O_WRONLY | os.O_RDWR):
            return
        path = os.path.abspath(os.fsdecode(given[0])) if isinstance(given[0], str | bytes) else ""
        if path.startswith(f"{run}{os.sep}"):
            # Temporary names, and what there are many of, are one place.
            place = re.sub(
                r"[0-9a-f]{8}(?=\.part)|-\d+|(?<=figures/).*(?=\.)|[^/]*(?=\.png)", "", path[len(str(run)) :]
            )
            if place not in found.read_text().splitlines():
                with found.open("a") as stream:
                    stream.write(f"{place}\n")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    sys.addaudithook(hook)


def start(recipe, run, largest_file=None, found=None):
    """Train in a process of its own group; its output goes to a file next to the run."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    log = os.open(f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if found is not None:
        refuse_once(run, found)
    os._exit(main(["train", recipe, "--output_dir", str(run)]))


def wait(child, seconds=600.0):
    """Return the exit code, or None when the process is still at work after some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def give_up(run):
    """End with what the run wrote."""
    sys.exit(Path(f"{run}.log").read_text())


def kill_at_random(recipe, folder, usual, kills, seed):
    """Return the folders of the runs that took so many kills, each ended at last."""
    draw = random.Random(seed)
    runs = [folder / "killed-0"]
    while True:
        child = start(recipe, runs[-1])
        code = wait(child, draw.uniform(0.05, 0.9) * usual if kills else 600.0)
        if code is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills -= 1
        elif code:
            give_up(runs[-1])
        elif not kills:
            return runs
        else:
            runs.append(folder / f"killed-{len(runs)}")


def fill_the_disk_everywhere(recipe, folder):
    """Return the folder of a run that found the disk full at each of its files in turn, and ended at last."""
    run, found = folder / "full", folder / "places"
    found.touch()
    code = None
    while code != 0:
        before = found.read_text()
        Path(f"{run}.log").unlink(missing_ok=True)
        code = wait(start(recipe, run, found=found))
        printed = Path(f"{run}.log").read_text()
        if code and (
            code != 2 or found.read_text() == before or "Traceback" in printed or "No space left" not in printed
        ):
            give_up(run)
    return [run]


def fill_the_disk(recipe, folder, limits):
    """Return the folder of a run that could not write a large file, then a larger one, and ended at last."""
    run = folder / "full"
    for limit in limits:
        code = wait(start(recipe, run, limit))
        # the log itself is a file too, but a short one
        if code != 2 or "Traceback" in Path(f"{run}.log").read_text():
            give_up(run)
    if wait(start(recipe, run)):
        give_up(run)
    return [run]


if __name__ == "__main__":
    recipe, folder, what, *numbers = sys.argv[1], Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:])
    intervals.__kwdefaults__["resamples"] = 20  # of 2,000, for the same reason
    summary._baselines = lambda *_: {"majority": None, "mean_color": None}  # a fifth of a summary
    if what != "full":  # there the report has to be large
        page.FIGURES = {name: page.FIGURES[name] for name in FEW}
    # Imports what libraries import at first use; one thread, since others do not survive a fork.
    uninterrupted = folder / "uninterrupted"
    if main(["train", recipe, "--output_dir", str(uninterrupted)]):
        sys.exit(1)
    if what == "kills":
        begin = time.monotonic()
        if wait(start(recipe, folder / "forked")):
            give_up(folder / "forked")
        runs = kill_at_random(recipe, folder, time.monotonic() - begin, *numbers)
    elif what == "full":
        runs = fill_the_disk(recipe, folder, numbers)
    else:
        runs = fill_the_disk_everywhere(recipe, folder)
    sys.stdout.write(json.dumps([str(run) for run in [uninterrupted, *runs]]) + "\n")
