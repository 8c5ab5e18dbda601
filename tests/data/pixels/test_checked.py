"""Checking images fills the pixel cache: each image is decoded once, and the pixels are those of `open_cache`."""

import errno
from collections import namedtuple

import datasets
import numpy as np
import pytest
from PIL import ImageFile

from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.pixels import checked, decode
from hf_breakhis.data.pixels.cache import cache_path, describe_cache, open_cache
from hf_breakhis.data.pixels.checked import check_and_cache
from hf_breakhis.data.pixels.preprocessing import Preprocessing
from hf_breakhis.data.pixels.transforms import DecodedPixels
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.recipe import build_recipe
from hf_breakhis.training.crossval import cross_validate
from tests.conftest import RUN_FIELDS

EVERY = np.arange(24)
HOW = Preprocessing(32)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """An empty cache, in which no image was checked."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache/hf_breakhis"


@pytest.fixture
def images(small_breakhis, data_args):
    return load_images(data_args(small_breakhis))


@pytest.fixture
def decoded(monkeypatch):
    """The files that Pillow decodes, each as often as it is decoded."""
    monkeypatch.setattr(decode, "HAS_FAST", False)
    load, found = ImageFile.ImageFile.load, []

    def counting(self):
        if self.tile:
            found.append(self)
        return load(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counting)
    return found


def pixel_files(folder):
    return sorted(path.name for path in folder.iterdir() if "pixels" in path.name and path.suffix != ".lock")


def cache_of(images, findings, how=HOW):
    return cache_path(describe_cache(images.dataset, how, findings.manifest_sha256))


@pytest.mark.parametrize(
    "how",
    [
        HOW,
        Preprocessing(40, crop="center", interpolation="bicubic"),
        Preprocessing(32, stain_normalization="reinhard"),
    ],
)
def test_the_pixels_are_those_of_the_path_without_cache_and_are_not_decoded_again(images, how, decoded):
    findings = check_and_cache(images, how)
    assert len(decoded) == 24
    pixels = open_cache(images.dataset, how, findings.manifest_sha256).take(EVERY)
    assert len(decoded) == 24
    assert np.array_equal(pixels, DecodedPixels(images.dataset, how).take(EVERY))


def test_the_findings_are_those_of_the_check(images, tmp_path, monkeypatch):
    findings = check_and_cache(images, HOW)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "other")
    assert findings == check_images(images)


def test_without_a_size_and_for_known_images_no_cache_is_written(images, own_cache, decoded):
    check_and_cache(images, None)
    assert len(decoded) == 24
    findings = check_and_cache(images, HOW)
    assert len(decoded) == 24, "they were checked before"
    assert pixel_files(own_cache) == []
    open_cache(images.dataset, HOW, findings.manifest_sha256, num_workers=0)
    assert len(decoded) == 48


def test_no_cache_is_kept_of_images_that_cannot_be_used(images, own_cache):
    path = images.dataset.cast_column("image", datasets.Image(decode=False))[3]["image"]["path"]
    with open(path, "r+b") as stream:
        stream.truncate(200)
    findings = check_and_cache(images, HOW)
    assert len(findings.unusable) == 1
    assert pixel_files(own_cache) == []


def test_a_disk_with_too_little_room_is_not_filled(images, own_cache, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: usage(10**9, 10**9 - 24 * 3 * 32 * 32 + 1, 24 * 3 * 32 * 32 - 1)
    )
    assert len(check_and_cache(images, HOW).files) == 24
    assert pixel_files(own_cache) == []


def test_a_run_decodes_its_images_in_the_check_only(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the cache was built in a pass of its own")

    monkeypatch.setattr("hf_breakhis.data.pixels.cache._build", refuse)
    fields = RUN_FIELDS | {"output_dir": str(tmp_path / "run"), "num_train_epochs": 1, "fold": "0"}
    assert cross_validate(build_recipe(fields, {}))


@pytest.mark.parametrize("call", ["write", "flush"])
def test_a_full_disk_leaves_the_check_as_it_is(images, own_cache, monkeypatch, call):
    """`open_cache` then says that the disk is full."""

    class Full:
        def __init__(self, stream):
            self.stream = stream

        def __getattr__(self, name):
            if name == call:
                raise OSError(errno.ENOSPC, "No space left on device")
            return getattr(self.stream, name)

    enter = checked.CheckedPixels.__enter__

    def full(self):
        enter(self)
        self._stream = Full(self._stream)
        return self

    monkeypatch.setattr(checked.CheckedPixels, "__enter__", full)
    findings = check_and_cache(images, HOW)
    assert findings.unusable == {}
    assert pixel_files(own_cache) == []


def test_a_cache_folder_that_cannot_be_written_leaves_the_check_as_it_is(images, own_cache, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checked, "temporary", refuse)
    assert len(check_and_cache(images, HOW).files) == 24
    assert pixel_files(own_cache) == []


def test_a_cache_that_another_process_built_meanwhile_is_left_alone(images, own_cache):
    findings = check_and_cache(images, HOW)
    path = cache_of(images, findings)
    before = path.stat().st_ino
    for remembered in own_cache.glob("checked-*"):
        remembered.unlink()
    check_and_cache(images, HOW)
    assert path.stat().st_ino == before
    assert pixel_files(own_cache) == [f"{path.stem}.json", f"{path.stem}.npy"]
