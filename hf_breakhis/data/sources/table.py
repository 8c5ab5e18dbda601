"""Load the images of a source; `SOURCES` in about.py lists the sources."""

import hashlib
import json
import os
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.images import COLUMNS, Images
from hf_breakhis.data.selection import select_images
from hf_breakhis.data.sources.about import SOURCES, find_source
from hf_breakhis.data.sources.archive import load_archive
from hf_breakhis.data.sources.breakhis_folder import find_tree, load_tree
from hf_breakhis.data.sources.datasets_cache import cache_folder
from hf_breakhis.data.sources.download import download_breakhis
from hf_breakhis.data.sources.parquet import find_parquet, load_parquet
from hf_breakhis.data.sources.rcl7500 import read_rcl_twin
from hf_breakhis.data.twin.rcl7500 import FORMAT as RCL_FORMAT
from hf_breakhis.data.twin.twin import FORMAT, TwinSettings, write_twin
from hf_breakhis.data.vectors import images_of_vectors, with_vectors
from hf_breakhis.files import InputError, expand_home, require_kind

__all__ = ["COLUMNS", "SOURCES", "Images", "cache_folder", "load_images", "prepare_once"]

ARCHIVE = "BreaKHis_v1.tar.gz"
_ANY_PLACE = f"{ARCHIVE} (also .tar or .zip), the folder that holds BreaKHis_v1, or a folder of Parquet files"


def load_images(data: DataArguments) -> Images:
    """Read the images that a recipe asks for; in a distributed run one process prepares them first.

    Raises:
        InputError: the data set is unknown, absent, damaged or something else, or no image is left.
    """
    remedy = "Recipe.load('c3', data_dir=FOLDER).data"
    require_kind(data, DataArguments, "load_images takes the data fields of a recipe", remedy)
    name = data.dataset
    if name not in SOURCES and "/" not in name:
        raise InputError(f"`dataset` is {name!r}, but has to be one of {sorted(SOURCES)}, or a Hub id, OWNER/NAME.")
    if name not in SOURCES and Path(expand_home(name)).exists():
        raise InputError(f"`dataset` is {name!r}, a path; give --dataset breakhis (or imagefolder) --data_dir {name}.")
    source = find_source(name)
    if data.twin_kwargs and not source.is_generated:
        twins = " or ".join(key for key, one in SOURCES.items() if one.is_generated)
        only = f"`twin_kwargs` is for dataset={twins}, not {name}"
        raise InputError(f"{only}; leave it out (--twin_kwargs null).")
    if data.dataset_revision and source.hub_id is None:
        raise InputError(f"`dataset_revision` is a commit of a Hub data set, not of {name}; leave it out.")
    if data.features and name == "breakhis" and data.data_dir is None:
        return select_images(images_of_vectors(data), data)
    with prepare_once():
        images: Images = pkgutil.resolve_name(source.loader)(data)
    chosen = select_images(images, data)
    return with_vectors(chosen, data) if data.features else chosen


@contextmanager
def prepare_once() -> Iterator[None]:
    """Let the main process of all, then the main one of each machine, run the block before the others do."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    # Imported here, since this takes a second and only several processes need it.
    import torch
    from accelerate import PartialState

    # Without a word about the device accelerate takes processes on a CPU for strangers, and none would wait. A state
    # that is there already, from TrainingArguments, stays as it is.
    state = PartialState(cpu=not torch.accelerator.is_available())
    turn = 0 if state.is_main_process else 1 if state.is_local_main_process else 2
    for _ in range(turn):
        state.wait_for_everyone()
    try:
        yield
    finally:  # after an error too: the others meet the same one and say so, instead of waiting forever
        for _ in range(2 - turn):
            state.wait_for_everyone()


def load_breakhis(data: DataArguments) -> Images:
    """Read BreakHis in any form; without `data_dir` it is downloaded once."""
    if data.data_dir is None:
        place = download_breakhis(cache_folder() / "downloads")
    else:
        place = Path(expand_home(data.data_dir))
    if place.is_dir():
        return _load_folder(place, data)
    if not place.is_file():
        raise InputError(f"`data_dir` is {place}, but there is no such file or folder; give {_ANY_PLACE}.")
    if place.suffix == ".parquet":
        return load_parquet([place], place)
    return load_archive(place)


def _load_folder(folder: Path, data: DataArguments) -> Images:
    """Read a folder that holds the tree, or else Parquet files, or else the archive, or else images by their names."""
    if find_tree(folder) is None:
        if files := find_parquet(folder, data.magnifications):
            return load_parquet(files, folder)
        if (folder / ARCHIVE).is_file():
            return load_archive(folder / ARCHIVE)
    return load_tree(folder)


def load_twin(data: DataArguments) -> Images:
    """Generate the twin once, in `data_dir` or in the datasets cache, and read it."""
    settings = TwinSettings.from_kwargs(data.twin_kwargs or {})
    folder = _twin_folder(settings) if data.data_dir is None else Path(expand_home(data.data_dir))
    # A twin that lies there already is read as it is, unless other settings are asked for by name.
    if data.twin_kwargs or not (folder / "twin.json").is_file():
        write_twin(folder, settings)
    return load_tree(folder)


def load_rcl_twin(data: DataArguments) -> Images:
    """Generate the twin of RCL-7500 once, in `data_dir` or in the datasets cache, and read it."""
    settings = TwinSettings.from_kwargs(data.twin_kwargs or {})
    folder = _twin_folder(settings, RCL_FORMAT) if data.data_dir is None else Path(expand_home(data.data_dir))
    return read_rcl_twin(folder, _twin_folder(settings), settings)


def _twin_folder(settings: TwinSettings, *more: str) -> Path:
    """Return where a twin of these settings is kept in the datasets cache."""
    words = json.dumps([FORMAT, *more, settings.to_dict()], sort_keys=True).encode()
    return cache_folder() / f"{'-'.join(['twin', *more])}-{hashlib.sha256(words).hexdigest()[:12]}"
