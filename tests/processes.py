"""Start `python ARGUMENTS` in a process that has imported the libraries: it is forked from a server that did.

An import takes seven seconds of a processor and a fork a hundredth of one. Everything else is as with
`subprocess.Popen`: a process with its own number, arguments, environment, folder, output and exit code, which can be
killed. Each kind of command is also started by `subprocess` in at least one test.
"""

import dataclasses
import faulthandler
import functools
import gc
import hashlib
import importlib
import io
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
# These start no thread. After a fork only the thread that called it exists in the child.
PRELOAD = [
    "hf_breakhis.cli", "hf_breakhis.training.crossval", "hf_breakhis.results.summary",
    "hf_breakhis.results.report.page", "hf_breakhis.hub.publish", "hf_breakhis.inference.predict",
    "hf_breakhis.results.study", "hf_breakhis.search.start", "transformers.pipelines",
    "transformers.models.resnet.modeling_resnet", "pytest", "pydantic.type_adapter", "alembic.command",
    "sqlalchemy.orm", "optuna.importance", "fsspec.implementations.http", "rich.console", "rich.table",
]  # fmt: skip


def fork_server():
    """The context of processes that are forked from one with the libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def serve_from_here():
    """Fork the server from this process, which has imported what tests import, instead of starting another Python.

    Before the first test: threads that libraries start with their work do not exist in a fork.
    """
    resource_tracker.ensure_running()
    fork_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver.util, "spawnv_passfds", _fork)
        forkserver.ensure_running()


def _fork(_path, arguments, descriptors):
    """Do what `python ARGUMENTS` would do, for `-c CODE`, and return the number of the process."""
    child = os.fork()
    if child:
        return child
    try:
        # Not closed: objects that know these numbers would write into files that were opened later.
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in map(int, os.listdir("/dev/fd")):
            if descriptor not in descriptors:
                os.dup2(nothing, descriptor)
        # What pytest put in their places.
        faulthandler.disable()
        sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
        sys.excepthook, sys.unraisablehook = sys.__excepthook__, sys.__unraisablehook__
        threading.excepthook = threading.__excepthook__
        forkserver._forkserver = forkserver.ForkServer()  # the lock of the other is held
        exec(arguments[-1], {"__name__": "__main__"})  # noqa: S102
    finally:
        os._exit(1)


def share_pictures(folder):
    """Draw each picture of a twin once for all processes that call this, in the process that asks for it.

    A picture does not depend on how many others the twin has. Returns what draws anew.
    """
    from hf_breakhis.data.twin import twin

    draw = twin.encode

    def encode(file_name, settings):
        key = repr((file_name, dataclasses.replace(settings, scale=1.0))).encode()
        path = folder / hashlib.sha256(key).hexdigest()
        if not path.is_file():
            part = path.with_name(f"{path.name}.{os.getpid()}")
            part.write_bytes(draw(file_name, settings))
            part.replace(path)
        return path.read_bytes()

    twin.encode = encode
    twin.count_cores = lambda: 1
    return draw


def share_exports(folder, patch):
    """Convert equal networks to ONNX once for all processes that share a folder."""
    import torch

    from hf_breakhis.averaging import DIHEDRAL

    real = torch.onnx.export
    names = {turn: name for name, turn in DIHEDRAL.items()}

    def export(model, inputs, stream, **named):
        key = hashlib.sha256()
        for name, tensor in model.state_dict().items():
            key.update(name.encode() + tensor.flatten().view(torch.uint8).numpy().tobytes())
        configs = [(one.config.to_json_string(), one.config._attn_implementation) for one in model.classifiers]
        turns = [names[turn] for turn in model.transforms]
        key.update(repr((configs, turns, inputs[0].shape, named["opset_version"])).encode())
        path = folder / key.hexdigest()
        with FileLock(path.with_suffix(".lock")):
            if not path.is_file():
                content = io.BytesIO()
                real(model, inputs, content, **named)
                path.write_bytes(content.getvalue())
        stream.write(path.read_bytes())

    patch.setattr(torch.onnx, "export", export)


def do_once(patch):
    """Build the command line once, and check equal networks of random weights once; tests of the check call it."""
    import typer.main

    from hf_breakhis.training import crossval

    check, checked = crossval.check_network, set()

    def check_once(args, image_size):
        if args.init != "random" or f"{args} {image_size}" not in checked:
            check(args, image_size)
            checked.add(f"{args} {image_size}")

    patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
    patch.setattr(crossval, "check_network", check_once)


def draw_coarsely(patch, dots=50):
    """Save figures with 50 instead of 300 dots per inch, a tenth of the time; the drawing is the same."""
    from hf_breakhis.results.figures.style import STYLE

    patch.setitem(STYLE, "savefig.dpi", dots)


def draw_few_figures(patch):
    """Let reports have 2 of 15 figures and cards 2 of 7, which are written by the same lines as the others."""
    from hf_breakhis.hub import publish
    from hf_breakhis.results.report import page

    few = ("confusion_mean", "magnifications")
    patch.setattr(page, "FIGURES", {name: page.FIGURES[name] for name in few})
    patch.setattr(publish, "FIGURES", ("confusion_mean", "roc_mean"))


def draw_resamples(patch, number=20):
    """Draw 20 instead of 2,000 resamples, which take a third of the time of a summary."""
    from hf_breakhis.results import compare
    from hf_breakhis.results.scores import intervals, paired

    patch.setitem(intervals.intervals.__kwdefaults__, "resamples", number)
    for function in (intervals.draw_groups, paired.paired_scores, compare.compare_tables):
        first, *rest = function.__defaults__
        assert first in (intervals.RESAMPLES, 20)
        patch.setattr(function, "__defaults__", (number, *rest))


class Started:
    """A process that runs `python ARGUMENTS`; a part of `subprocess.Popen` with text."""

    def __init__(self, arguments, folder, pictures, environment=None, cwd=ROOT, together=False, small=(), pipe=None):
        """Start it.

        Args:
            arguments: of Python.
            folder: where to write what it prints.
            pictures: folder that `share_pictures` takes.
            environment: its environment, by default that of this process.
            cwd: the folder it runs in.
            together: whether errors go where output goes.
            small: "figures" for `draw_few_figures` there, "resamples" for `draw_resamples`.
            pipe: a named pipe for its output; it waits for a reader, and `communicate` returns None for it.
        """
        context = fork_server()
        self.args = list(map(str, arguments))
        number = len(list(folder.glob("*.out")))
        self._printed = [folder / f"{number}.out", folder / f"{number}.{'out' if together else 'err'}"]
        for path in self._printed:
            path.touch()
        self._pipe = pipe
        request = {
            "arguments": self.args,
            "folder": str(cwd),
            "environment": dict(os.environ if environment is None else environment),
            "printed": list(map(str, [pipe or self._printed[0], self._printed[1]])),
            "pictures": str(pictures),
            "small": list(small),
        }
        self._process = context.Process(target=runpy.run_path, args=(__file__, {"request": request}, "__forked__"))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        """The exit code; None while the process runs, and the negative number of the signal that ended it."""
        return self._process.exitcode

    poll = returncode.fget

    def kill(self):
        """End it with SIGKILL."""
        self._process.kill()

    def send_signal(self, number):
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait_for(self, text, seconds=120):
        """Return when it has printed a text to its standard error."""
        end = time.monotonic() + seconds
        while text not in (printed := self._printed[1].read_text(encoding="utf-8")):
            assert self.poll() is None, printed
            assert time.monotonic() < end, printed
            time.sleep(0.02)

    def wait(self, timeout=None):
        """Return the exit code, or raise `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """Wait; return what was printed, and errors unless they are in it."""
        self.wait(timeout)
        out, err = (path.read_text(encoding="utf-8") for path in self._printed)
        return None if self._pipe else out, None if self._printed[0] == self._printed[1] else err


def run_two(start, *arguments, machines=1, timeout=300, environment=os.environ, **options):
    """Run a script in two processes, as `torchrun` would start them, and wait; return what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    shared = {
        **place,
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": str(2 // machines),
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }
    both = []
    for rank in (0, 1):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank % (2 // machines))}
        both.append(start(*arguments, environment=environment | shared | own, together=True, **options))
    printed = [process.communicate(timeout)[0] for process in both]
    for process, out in zip(both, printed, strict=True):
        assert process.returncode == 0, out[-4000:]
    return printed


def take_environment(environment):
    """Set the environment, also where libraries have read it when they were imported."""
    import evaluate.config
    from datasets import config
    from huggingface_hub import constants, hf_api

    before = {module: dict(vars(module)) for module in (constants, config, evaluate.config)}
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for module in before:
        importlib.reload(module)
    changed = {
        name: (old, vars(module)[name])
        for module, values in before.items()
        for name, old in values.items()
        if name.isupper() and vars(module)[name] != old
    }
    for module in list(sys.modules.values()):
        for name, (old, new) in changed.items():
            if vars(module).get(name) == old:
                setattr(module, name, new)
    hf_api.api.endpoint = constants.ENDPOINT


def become(arguments, folder, environment, printed, pictures, small):
    """Run a module (-m), code (-c) or a script; the arguments and the rest as `Started` was given them."""
    gc.freeze()
    share_pictures(Path(pictures))
    draw_coarsely(pytest.MonkeyPatch())
    for name in small:
        {"figures": draw_few_figures, "resamples": draw_resamples}[name](pytest.MonkeyPatch())
    multiprocessing.set_start_method(None, force=True)  # not that of this process
    for descriptor, path in enumerate([os.devnull, *printed]):
        opened = os.open(path, os.O_WRONLY | os.O_APPEND if descriptor else os.O_RDONLY)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - a pipe cannot seek
    os.chdir(folder)
    take_environment(environment)
    first, *rest = arguments
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(first).parent))
        runpy.run_path(first, run_name="__main__")


if __name__ == "__forked__":
    become(**globals()["request"])
