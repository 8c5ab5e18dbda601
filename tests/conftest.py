"""What tests of several folders share: a cache of their own, and a small BreakHis drawn in a temporary folder."""

import atexit
import importlib.util
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

# Each worker would start two threads, and threads that wait in turns on two cores take four times as long. Set
# before torch is imported; the processes that tests start inherit it. What takes long to import is imported in
# fixtures: the process that starts the workers needs none of it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.twin import twin
from hf_breakhis.settings import frozen_objects, rare_collections

_spec = importlib.util.spec_from_file_location("processes", Path(__file__).with_name("processes.py"))
processes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(processes)

REAL = Path(__file__).parents[2] / "shared/breakhis"
SLIDES = ("B_A-14-22549AB", "B_A-14-22549CD", "B_F-14-14134", "M_DC-14-2523", "M_LC-14-12204", "M_PC-14-9146")
SMALL = [  # the first two names that BreakHis has of each slide folder at 40X and 200X
    str(name)
    for folder in INVENTORY
    for name in folder.names()
    if folder.patient_id.removeprefix("SOB_") in SLIDES
    and name.magnification in ("40X", "200X")
    and name.number in folder.numbers[name.magnification][:2]
]

_to_the_end = ExitStack()
atexit.register(_to_the_end.close)
RUN_FIELDS = {
    "dataset": "twin", "twin_kwargs": {"scale": 0.01, "width": 70, "height": 46}, "split_by": "specimen",
    "num_folds": 2, "image_size": 32, "init": "random", "learning_rate": 0.05, "num_train_epochs": 2, "batch_size": 36,
    "model_kwargs": {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "use_cpu": True, "bf16": False, "disable_tqdm": True,
}  # fmt: skip


# Files that take more than four seconds in all; `make quick` leaves them out.
SLOW = (
    "data/integrity/test_described.py", "data/integrity/test_memory.py", "data/integrity/test_overlaps.py",
    "data/integrity/test_real_copies.py", "data/integrity/test_verify.py", "data/integrity/test_verify_twin.py",
    "data/pixels/test_cache.py", "data/sources/test_hub.py", "data/sources/test_kaggle.py",
    "data/sources/test_rcl7500.py", "data/sources/test_table.py", "data/test_train_magnifications.py",
    "data/test_vectors.py", "data/test_walk.py", "hub", "inference/test_activation.py", "inference/test_bf16.py",
    "inference/test_compile.py", "inference/test_ensembles.py", "inference/test_evaluate",
    "inference/test_explain.py", "inference/test_export.py", "inference/test_model.py",
    "inference/test_onnx_classifier.py", "inference/test_predict.py", "inference/test_preprocessing.py",
    "inference/test_shifts.py", "inference/test_stain_normalization.py", "inference/test_worklist.py",
    "metrics/test_metric_modules.py", "results/figures/test_contact_sheet.py", "results/figures/test_plots.py",
    "results/report/test_checklist.py", "results/report/test_page.py", "results/report/test_page_names.py",
    "results/report/test_screen.py", "results/report/test_sibling.py", "results/scores/test_conformal.py",
    "results/scores/test_decisions.py", "results/scores/test_doubts.py", "results/scores/test_estimands.py",
    "results/scores/test_thresholds.py", "results/test_compare.py", "results/test_imported.py",
    "results/test_signature.py", "results/test_split_by_folders.py", "results/test_splits.py",
    "results/test_study.py", "results/test_summary.py", "search/test_inner_folds.py", "search/test_networks.py",
    "search/test_searches.py", "search/test_workers.py", "training", "test_as_published.py", "test_cli.py",
    "test_docs.py", "test_doctor.py", "test_eight_classes.py", "test_eva.py", "test_extension_points.py",
    "test_folder_commands.py", "test_gpu_benchmark.py", "test_hardware.py", "test_notebook.py",
    "test_processes.py", "test_python_docs.py", "test_recipes_run.py", "test_release.py", "test_run.py",
    "test_start.py", "test_start_of_commands.py", "test_studies.py", "test_study_runs.py",
)  # fmt: skip

# The longest first, so that no worker is left with a long file at the end; then the other slow files, then the rest.
LONGEST = (
    "training/test_kill.py", "training/test_machines.py", "training/test_full_disk.py", "test_study_runs.py",
    "training/test_audit_train.py", "test_run.py", "test_release.py", "inference/test_evaluate.py",
    "training/test_controls.py", "results/test_compare.py", "hub/test_publish.py", "search/test_searches.py",
    "training/test_equivalence.py", "inference/test_evaluate_elsewhere.py",
)  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Import the libraries with few garbage collections, which would take a fifth of the time."""
    with rare_collections():
        return (yield)


def pytest_collection_modifyitems(items):
    """Mark the tests of slow files, and put them first."""
    places = {item: item.path.relative_to(Path(__file__).parent).as_posix() for item in items}
    for item, place in places.items():
        if place.startswith(SLOW):
            item.add_marker("slow")
    order = {place: number for number, place in enumerate(LONGEST)}
    last = len(order)
    items.sort(key=lambda item: order.get(places[item], last + (not places[item].startswith(SLOW))))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop():
    """Let one of several workers, which has collected all tests, serve the processes that its tests start.

    On Linux: libraries of macOS end a fork of a process that has threads.
    """
    if "PYTEST_XDIST_WORKER" in os.environ and sys.platform == "linux":
        processes.serve_from_here()
    return (yield)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all workers share: `shared_folder("name")`."""

    def get(name):
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
        folder.mkdir(exist_ok=True)
        return folder

    return get


@pytest.fixture(scope="session", autouse=True)
def datasets_cache(shared_folder):
    """Keep what tests prepare out of the user's cache, in this process and in those it starts.

    The workers share it, since two of them drawing the same images is a tenth of all that they do.
    """
    import datasets
    import evaluate

    folder = shared_folder("datasets-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        patch.setenv("HF_DATASETS_CACHE", str(folder))
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", folder / "metrics")
        patch.setenv("HF_METRICS_CACHE", str(folder / "metrics"))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def shared_pictures(shared_folder):
    """Draw each picture of a twin once for all tests of all workers; `tests/data/twin` draws anew."""
    folder = shared_folder("pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twin, "count_cores", twin.count_cores)  # to restore both
        patch.setattr(twin, "encode", twin.encode)
        yield folder, processes.share_pictures(folder)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Give one test a cache of its own, where nobody else writes meanwhile."""
    import datasets

    folder = tmp_path / "own-cache"
    folder.mkdir()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def quick_collections():
    """Keep what was imported out of garbage collections, of which the Trainer asks for several a fold.

    After the last test too: pytest then collects five times.
    """
    _to_the_end.enter_context(frozen_objects())
    with rare_collections():
        yield


@pytest.fixture(scope="session", autouse=True)
def done_once():
    """Build the command line once, and check equal networks of random weights once, which every call does."""
    with pytest.MonkeyPatch.context() as patch:
        processes.do_once(patch)
        yield


@pytest.fixture(scope="session")
def shared_exports(shared_folder):
    """Convert equal networks to ONNX once for all workers, a second or more; whatever checks the file runs anew."""
    with pytest.MonkeyPatch.context() as patch:
        processes.share_exports(shared_folder("exports"), patch)
        yield


@pytest.fixture
def start_python(tmp_path_factory, shared_pictures):
    """Start `python ARGUMENTS` in a process forked from one that has imported the libraries; see `processes.py`.

    `start_python("-m", "hf_breakhis", "study", path, environment=..., cwd=..., together=True)` is much like
    `subprocess.Popen`. With `small=["figures", "resamples"]` reports there have few of them.
    """
    started = []

    def start(*arguments, **options):
        started.append(processes.Started(arguments, tmp_path_factory.mktemp("printed"), shared_pictures[0], **options))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def run_python(start_python):
    """Wait for what `start_python` starts: `run_python("-c", code).stdout`, as `subprocess.run` has it."""

    def run(*arguments, timeout=300, **options):
        process = start_python(*arguments, **options)
        out, err = process.communicate(timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture
def run_two(start_python):
    """Run a script in the two processes of a run, each a machine with `machines=2`: `run_two(script, ...)`."""
    return partial(processes.run_two, start_python)


@pytest.fixture(scope="session", autouse=True)
def coarse_figures():
    """Save figures with few dots, but for those of the runs that `once` fills. Gives the number that users have."""
    from hf_breakhis.results.figures.style import STYLE

    dots = STYLE["savefig.dpi"]
    with pytest.MonkeyPatch.context() as patch:
        processes.draw_coarsely(patch)
        yield dots


@pytest.fixture
def fine_figures(monkeypatch, coarse_figures):
    """Save figures in one test as users have them."""
    processes.draw_coarsely(monkeypatch, coarse_figures)


@pytest.fixture
def few_figures(monkeypatch):
    """Draw few figures in one test that looks at none."""
    processes.draw_few_figures(monkeypatch)


@pytest.fixture
def few_resamples(monkeypatch):
    """Draw few resamples in one test that looks at no interval."""
    processes.draw_resamples(monkeypatch)


@pytest.fixture
def scores_only(monkeypatch):
    """Leave decisions and baselines out of summaries: comparisons and studies read neither; half of the time."""
    from hf_breakhis.results import summary

    monkeypatch.setattr(summary, "refusal", lambda *_: "This test is about scores.")
    monkeypatch.setattr(summary, "_baselines", lambda *_: {"majority": None, "mean_color": None})


@pytest.fixture(scope="module")
def small_figures():
    """Draw few figures in a whole module, in its fixtures too."""
    with pytest.MonkeyPatch.context() as patch:
        processes.draw_few_figures(patch)
        yield


@pytest.fixture(scope="module")
def small_reports(small_figures):
    """Draw few figures and resamples in a whole module, in its fixtures too."""
    with pytest.MonkeyPatch.context() as patch:
        processes.draw_resamples(patch)
        yield


@pytest.fixture(scope="session")
def run_fields():
    """The fields of a run of seconds."""
    return dict(RUN_FIELDS)


@pytest.fixture(scope="session")
def once(shared_folder, coarse_figures):
    """Fill a folder once for all workers: `once("name", fill)`. No test changes it.

    It has all figures with all their dots, and all resamples.
    """
    from hf_breakhis.results.figures import plots
    from hf_breakhis.results.report import page
    from hf_breakhis.results.scores.intervals import RESAMPLES

    def times_of(folder):
        return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}

    kept = []

    def get(name, fill):
        folder = shared_folder(name)
        kept.append(folder)
        with FileLock(folder.with_suffix(".lock")), pytest.MonkeyPatch.context() as patch:
            patch.setattr(page, "FIGURES", plots.FIGURES)  # a module whose tests need few may have asked first
            processes.draw_resamples(patch, RESAMPLES)
            processes.draw_coarsely(patch, coarse_figures)
            if not (folder / "run" / "summary.json").is_file():
                fill(folder / "run")
                folder.with_suffix(".json").write_text(json.dumps(times_of(folder)))
        return folder / "run"

    yield get
    for folder in kept:  # another worker may read a file while a test writes it
        assert times_of(folder) == json.loads(folder.with_suffix(".json").read_text()), "copy the run first"


@pytest.fixture(scope="session")
def trained_run(once):
    """A finished and reported run of two folds of the twin, a tiny network at 32 pixels; copy it before a change."""
    from hf_breakhis.recipe import build_recipe
    from hf_breakhis.results.report.page import write_report
    from hf_breakhis.results.summary import summarise
    from hf_breakhis.training.crossval import cross_validate

    def fill(folder):
        cross_validate(build_recipe(RUN_FIELDS | {"output_dir": str(folder)}, {}))
        summarise(folder)
        write_report(folder)

    return once("trained", fill)


@pytest.fixture(scope="session")
def ensemble_run(once):
    """A finished and scored run like `trained_run`, with three networks per fold; copy it before a change."""
    from hf_breakhis.recipe import build_recipe
    from hf_breakhis.results.summary import summarise
    from hf_breakhis.training.crossval import cross_validate

    def fill(folder):
        changes = {"members": 3, "num_train_epochs": 1, "learning_rate": 0.002}  # no probability is near 0 or 1
        cross_validate(build_recipe(RUN_FIELDS | changes | {"output_dir": str(folder)}, {}))
        summarise(folder)

    return once("ensemble", fill)


@pytest.fixture
def real_breakhis():
    """The folder of real BreakHis images beside the checkout."""
    if not (REAL / "BreaKHis_v1").is_dir():
        pytest.skip("real BreakHis images are not beside the checkout (shared/breakhis)")
    return REAL


@pytest.fixture
def draw_png():
    """Write a small noisy RGB picture, the same for the same name: `draw_png(path, size=(70, 46))`."""

    def draw(path: Path, size: tuple[int, int] = (70, 46)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(path.name.encode()))
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
        return path

    return draw


@pytest.fixture
def small_breakhis(tmp_path, draw_png):
    """A folder with the official tree of 24 small pictures: 6 slide folders, 5 specimens, 2 magnifications."""
    folder = tmp_path / "small"
    for name in SMALL:
        draw_png(folder / parse_file_name(name).path)
    return folder


@pytest.fixture
def data_args():
    """Build what `load_images` reads: `data_args(data_dir, magnifications=["40X"])`."""

    def build(data_dir: Path | str | None = None, **changes) -> DataArguments:
        return DataArguments(data_dir=None if data_dir is None else str(data_dir), **changes)

    return build
