"""Where images come from: one line of a table for each source."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import PartialState

from hf_breakhis.data.archive import archive_stamp, read_archive
from hf_breakhis.data.images import COLUMNS, Images, arrange
from hf_breakhis.data.tree import read_tree
from hf_breakhis.data.twin import FORMAT, TwinSettings, write_twin
from hf_breakhis.files import InputError

__all__ = ["COLUMNS", "SOURCES", "Images", "cache_folder", "load_images", "prepare_once"]

_ANY_PLACE = "the folder that holds BreaKHis_v1, or BreaKHis_v1.tar.gz"


def load_images(data_args: Any) -> Images:
    """Read the images that `data_args` asks for; in a distributed run one process prepares them first.

    Args:
        data_args: has `dataset`, `data_dir`, `dataset_revision`, `twin_kwargs`, `magnifications` and `target`.

    Raises:
        InputError: the data set is unknown, absent, damaged or something else, or no image is left.
    """
    if data_args.dataset not in SOURCES:
        raise InputError(f"`dataset` is {data_args.dataset!r}, but has to be one of {sorted(SOURCES)}.")
    if data_args.twin_kwargs and data_args.dataset != "twin":
        raise InputError(f"`twin_kwargs` is for dataset=twin, not {data_args.dataset}; change one of them.")
    with prepare_once():
        return SOURCES[data_args.dataset](data_args)


@contextmanager
def prepare_once() -> Iterator[None]:
    """Let the main process of all, then the main one of each machine, run the block before the others do."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
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


def load_breakhis(data_args: Any) -> Images:
    """Read the official tree, unpacked or as .tar.gz."""
    if data_args.data_dir is None:
        raise InputError(f"`data_dir` is missing: give --data_dir {_ANY_PLACE}; or use --dataset twin.")
    place = Path(data_args.data_dir).expanduser()
    if place.is_dir():
        return arrange(*read_tree(place), str(place), data_args.magnifications, data_args.target)
    if place.is_file():
        stamp = archive_stamp(place)
        return arrange(*read_archive(place), str(place), data_args.magnifications, data_args.target, stamp)
    raise InputError(f"`data_dir` is {place}, but there is no such file or folder; give {_ANY_PLACE}.")


def load_twin(data_args: Any) -> Images:
    """Generate the twin once, in `data_dir` or in the datasets cache, and read it."""
    settings = TwinSettings.from_kwargs(data_args.twin_kwargs or {})
    if data_args.data_dir is None:
        words = json.dumps([FORMAT, settings.to_dict()], sort_keys=True).encode()
        folder = cache_folder() / f"twin-{hashlib.sha256(words).hexdigest()[:12]}"
    else:
        folder = Path(data_args.data_dir).expanduser()
    # A twin that lies there already is read as it is, unless other settings are asked for by name.
    if data_args.twin_kwargs or not (folder / "twin.json").is_file():
        write_twin(folder, settings)
    return arrange(*read_tree(folder), str(folder), data_args.magnifications, data_args.target)


SOURCES: dict[str, Callable[[Any], Images]] = {
    "breakhis": load_breakhis,
    "twin": load_twin,
}


def cache_folder() -> Path:
    """Return the folder of this package in the datasets cache."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "hf_breakhis"
