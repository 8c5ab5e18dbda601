"""The command `hf-breakhis doctor`: what this machine can do, and what a recipe needs here."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import typer

from hf_breakhis.files import InputError, reason_of

HELP = (
    "Report what this machine can do: processor, accelerator, memory, disk, Hub, versions, extras. With RECIPE "
    "[--field value ...] also what this recipe needs here, with a time estimate from a few training steps. The exit "
    "code is 1 if there is a problem."
)
OK, NOTE, PROBLEM = "ok", "note", "problem"
# The versions that the test suite last passed with.
TESTED = {
    "torch": "2.14.1", "torchvision": "0.29.1", "transformers": "5.24.0", "datasets": "5.2.0", "evaluate": "0.4.6",
    "accelerate": "1.15.0", "huggingface-hub": "2.4.0", "scikit-learn": "1.9.1", "numpy": "2.4.6", "pandas": "3.1.1",
    "pillow": "13.0.0", "matplotlib": "3.11.2",
}  # fmt: skip
# What `pip install "hf-breakhis[NAME]"` adds, by the module that shows whether it is there.
EXTRAS = {
    "fast": "kornia_rs", "onnx": "onnxruntime", "timm": "timm", "peft": "peft", "h5": "h5py", "space": "gradio",
    "search": "optuna",
}  # fmt: skip
SMALL_SHM = 2**30  # of /dev/shm; Docker gives 64 MB, and data loading processes pass batches through it
TIMEOUT = 5.0
BUSY = 0.25  # share of the cores that others may use before an estimate is called too high


@dataclass(frozen=True)
class Line:
    """One line of the report.

    Attributes:
        state: "ok", "note" or "problem".
        subject: what it is about.
        text: what was found, and for a problem what to do.
    """

    state: str
    subject: str
    text: str

    def __str__(self) -> str:
        """Return the line as it is printed."""
        return f"{self.state:<8} {self.subject:<12} {self.text}"


def doctor(context: typer.Context) -> None:
    """Print one line for each property, and exit with 1 if there is a problem."""
    lines = chain.from_iterable(check() for check in CHECKS)
    problems = 0
    for line in chain(lines, check_given_recipe(context.args) if context.args else ()):
        typer.echo(str(line))
        problems += line.state == PROBLEM
    if problems:
        typer.echo(f"{problems} problem{'s' * (problems > 1)} found.")
        raise typer.Exit(1)


def check_versions() -> Iterator[Line]:
    """Compare the installed libraries with the requirements of the package and with the versions that were tested."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    yield Line(OK, "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    try:
        required = [Requirement(text) for text in importlib.metadata.requires("hf-breakhis") or []]
    except importlib.metadata.PackageNotFoundError:  # used from a checkout
        required = []
        yield Line(
            NOTE, "versions", "the requirements are not known, since hf-breakhis is not installed. Run pip install ."
        )
    for requirement in (one for one in required if one.marker is None):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Line(PROBLEM, "versions", f"{requirement} is not installed. Run pip install '{requirement}'.")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield Line(PROBLEM, "versions", f"{requirement} is needed, {version} is installed. Upgrade it with pip.")
    newer: list[str] = []
    older: list[str] = []
    for name, tested in TESTED.items():
        try:
            version = Version(importlib.metadata.version(name)).public
        except importlib.metadata.PackageNotFoundError:
            continue
        if Version(version) != Version(tested):
            (newer if Version(version) > Version(tested) else older).append(f"{name} {version} (tested {tested})")
    for names, word in ((newer, "newer than tested"), (older, "older than tested")):
        if names:
            yield Line(NOTE, "versions", f"{word}: {', '.join(names)}")
    if not newer and not older:
        yield Line(
            OK, "versions", f"as tested: torch {TESTED['torch']}, transformers {TESTED['transformers']} and others"
        )


def check_extras() -> Iterator[Line]:
    """List which extras are installed."""
    found = {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()}
    present = [name for name, is_there in found.items() if is_there]
    absent = [name for name, is_there in found.items() if not is_there]
    text = f"installed: {', '.join(present) or 'none'}"
    if absent:
        text += f"; not installed: {', '.join(absent)} (pip install 'hf-breakhis[{','.join(absent)}]')"
    yield Line(OK, "extras", text)


def check_processor() -> Iterator[Line]:
    """Describe processor, accelerators and the precision that is chosen for them."""
    import torch

    from hf_breakhis.hardware import CPU_BF16, choose_settings, find_hardware, processor_flags

    hardware = find_hardware()
    flags = sorted(CPU_BF16 & processor_flags())
    how = f"bfloat16 in hardware ({', '.join(flags)})" if flags else "no bfloat16 in hardware"
    yield Line(OK, "processor", f"{hardware.cores} core{'s' * (hardware.cores > 1)} for this process, {how}")
    if hardware.device == "cpu":
        yield Line(NOTE, "accelerator", "none; training runs on the processor")
    else:
        count = torch.accelerator.device_count()
        names = [torch.cuda.get_device_name(i) for i in range(count)] if hardware.device == "cuda" else []
        yield Line(OK, "accelerator", f"{count} x {hardware.device}{': ' if names else ''}{', '.join(names)}")
    chosen = choose_settings(hardware)
    precision = "bfloat16" if chosen["bf16"] else "float32"
    yield Line(OK, "precision", f"{precision} for training unless a recipe sets `bf16`; predictions are float32")


def check_memory() -> Iterator[Line]:
    """Report the memory of the machine, and that which data loading processes share."""
    total, free = memory_of_machine()
    if total is not None and free is not None:
        yield Line(OK, "memory", f"{size(total)}, {size(free)} available")
    shared = Path("/dev/shm")  # noqa: S108 (the name of the kernel's file system)
    if shared.is_dir():
        room = shutil.disk_usage(shared)
        text = f"{size(room.total)}, {size(room.free)} free"
        if room.free < SMALL_SHM:
            text += (
                ": data loading processes may fail. Use --dataloader_num_workers 0, or start the container with more "
                "(docker run --shm-size 2g)."
            )
        yield Line(NOTE if room.free < SMALL_SHM else OK, "shared", f"{shared}: {text}")


def check_places() -> Iterator[Line]:
    """Report whether caches and runs can be written, and how much room there is."""
    from huggingface_hub import constants

    from hf_breakhis.cli.start import require_place_for_caches
    from hf_breakhis.data.sources.datasets_cache import cache_folder

    places = {"cache": cache_folder(), "models": Path(constants.HF_HUB_CACHE), "runs": Path("outputs").absolute()}
    try:
        require_place_for_caches()
    except InputError as error:
        yield Line(PROBLEM, "home", str(error))
        places = {"runs": places["runs"]}  # the others are below the home directory
    for name, folder in places.items():
        yield check_place(
            name, folder, "Work in another folder." if name == "runs" else "Set HF_HOME to another folder."
        )


def check_place(name: str, folder: Path, advice: str) -> Line:
    """Report whether files can be written to a folder, which may be absent, and how much room there is."""
    existing = _existing(folder)
    try:  # permissions alone do not tell: a file may be in the way, or the file system may take no files
        with tempfile.TemporaryFile(dir=existing):
            return Line(OK, name, f"{folder}, {size(shutil.disk_usage(existing).free)} free")
    except OSError as error:
        return Line(PROBLEM, name, f"{folder} is not writable ({error.strerror}). {advice}")


def check_hub() -> Iterator[Line]:
    """Report whether the Hub answers, and whose token is stored."""
    from huggingface_hub import HfApi, constants, get_session, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    from hf_breakhis.settings import require_hub_settings

    try:
        require_hub_settings()
    except InputError as error:
        yield Line(PROBLEM, "Hub", str(error))
        return
    try:
        answer = get_session().get(f"{constants.ENDPOINT}/api/models", params={"limit": 1}, timeout=TIMEOUT)
        if answer.is_success:
            yield Line(OK, "Hub", f"{constants.ENDPOINT} answers")
        else:
            yield Line(NOTE, "Hub", f"{constants.ENDPOINT} answers with an error ({answer.status_code})")
    except OfflineModeIsEnabled:
        yield Line(NOTE, "Hub", "switched off by HF_HUB_OFFLINE; models and data sets have to be in the cache")
    except (HTTPError, OSError, ValueError) as error:
        reason = reason_of(error)
        yield Line(NOTE, "Hub", f"{constants.ENDPOINT} does not answer ({reason}). Models have to be in the cache.")
    token = get_token()
    if token is None:
        yield Line(NOTE, "token", "none; needed to publish and for gated models only (hf auth login)")
        return
    try:
        yield Line(OK, "token", f"of user {HfApi().whoami(token=token)['name']}")
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            yield Line(PROBLEM, "token", "the Hub refuses the stored token. Run hf auth login.")
        else:
            yield Line(NOTE, "token", f"one is stored; the Hub answers with an error ({error.response.status_code})")
    except (HTTPError, OSError, ValueError):
        yield Line(NOTE, "token", "one is stored, and was not tested")


CHECKS: list[Callable[[], Iterator[Line]]] = [
    check_versions, check_extras, check_processor, check_memory, check_places, check_hub,
]  # fmt: skip


def check_given_recipe(words: list[str]) -> Iterator[Line]:
    """Report the images, the pixels, the memory and the time of a recipe on this machine.

    The recipe and its data are checked as `train` does it. The time is that of a few training steps on noise, times
    the number of steps of all folds and repeats.
    """
    from hf_breakhis.cli.start import require_place_for_caches
    from hf_breakhis.data.pixels.cache import cache_path, describe_cache
    from hf_breakhis.data.sources.table import load_images
    from hf_breakhis.recipe import parse_recipe
    from hf_breakhis.training.crossval import check_recipe as check_fields

    try:
        require_place_for_caches()
        recipe = parse_recipe(words)
        check_fields(recipe)
        images = load_images(recipe.data)
    except InputError as error:
        yield Line(PROBLEM, "recipe", str(error))
        return
    yield Line(OK, "images", f"{len(images.dataset):,} from {images.location}")
    yield check_place("run", Path(recipe.training.output_dir).absolute(), "Give another --output_dir.")
    if recipe.training.push_to_hub:
        yield check_login(recipe.training)
    data = recipe.data
    if data.features:
        yield Line(OK, "pixels", "none; the head is trained on feature vectors")
    elif data.cache:
        needed = len(images.dataset) * 3 * data.image_size**2
        room = shutil.disk_usage(_existing(cache_path(describe_cache(images.dataset, data.image_size, "")))).free
        text = f"{size(needed)} of cache at {data.image_size} pixels"
        yield Line(
            OK if room > needed else PROBLEM, "pixels", text + ("" if room > needed else f"; {size(room)} free")
        )
    yield from check_cost(recipe, images)


def check_login(training: Any) -> Line:
    """Report whether the model of a recipe could be published, as far as this is known without the Hub."""
    from hf_breakhis.hub.remote import require_login, require_repo_id, using_token

    try:
        with using_token(training.hub_token):
            require_repo_id(str(training.hub_model_id))
            require_login()
    except InputError as error:
        return Line(PROBLEM, "publish", str(error))
    return Line(OK, "publish", f"{training.hub_model_id}; the Hub is asked for this name when training starts")


def check_cost(recipe: Any, images: Any) -> Iterator[Line]:
    """Report memory and time of a recipe from a few training steps."""
    from transformers.utils import logging

    from hf_breakhis.cli.help.estimate import STEPS, estimate
    from hf_breakhis.settings import restored_settings

    if recipe.data.features:
        yield Line(OK, "time", "not estimated; a head on feature vectors takes seconds per fold")
        return
    busy = busy_share()  # before this process adds its own
    try:
        with restored_settings():
            logging.set_verbosity_error()
            cost = estimate(recipe, images.dataset)
    except InputError as error:
        yield Line(PROBLEM, "network", str(error))
        return
    free = memory_of_machine()[1]
    on_gpu = recipe.training.device.type != "cpu"
    text = f"{size(cost.memory)} {'of the GPU' if on_gpu else 'of this process'} in {STEPS} steps"
    yield Line(NOTE if not on_gpu and free is not None and cost.memory > free else OK, "memory", text)
    speed = f"{cost.images:,} images at {cost.images_per_second:.0f} per second"
    yield Line(OK, "time", f"about {rough_duration(cost.seconds)}: {speed}, in one process, without decoding")
    if busy is not None and busy > BUSY:
        yield Line(
            NOTE, "time", f"other programs use {100 * busy:.0f} % of the cores now, so the estimate is too high"
        )


def busy_share() -> float | None:
    """Return the load of the last minute per core; None where the system does not say."""
    return None if not hasattr(os, "getloadavg") else min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def memory_of_machine() -> tuple[int | None, int | None]:
    """Return total and available memory in bytes, by the limit of a container or job; None where it is not known."""
    about = Path("/proc/meminfo")
    if not about.is_file():
        return None, None
    rows = dict(line.split(":", 1) for line in about.read_text(encoding="utf-8").splitlines())
    total, free = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    for limit, used in memory_limits():
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


def memory_limits(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[tuple[int, int]]:
    """Return limit and used memory in bytes of each control group (version 2) of this process that has a limit.

    Args:
        groups: where the kernel shows the control groups.
        own: where the kernel names the control group of this process.
    """
    lines = own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
    names = [line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")]
    found = []
    for place in (folder for name in names for folder in (groups / name, *(groups / name).parents)):
        limit, used = place / "memory.max", place / "memory.current"
        if limit.is_file() and used.is_file() and (text := limit.read_text(encoding="utf-8").strip()).isdecimal():
            found.append((int(text), int(used.read_text(encoding="utf-8"))))
    return found


def size(num_bytes: int) -> str:
    """Return a number of bytes for people."""
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def rough_duration(seconds: float) -> str:
    """Return a time for people: seconds below two minutes, minutes below two hours, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def _existing(place: Path) -> Path:
    return next(one for one in (place, *place.parents) if one.exists())
