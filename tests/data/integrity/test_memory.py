"""An image that did not change is not decoded again, and every change is noticed."""

import os
import shutil
import tarfile

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.images import COLUMNS
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.sources.table import load_images

KINDS = ("tree", "archive", "parquet", "imagefolder", "rcl7500")


def rows_of(tree, columns=COLUMNS):
    paths = sorted(tree.rglob("*.png"), key=lambda path: path.name[::-1])  # in no order
    names = [parse_file_name(path.name) for path in paths]
    pictures = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    known = {"image": pictures, "file_name": [path.name for path in paths]}
    return pd.DataFrame({c: known[c] if c in known else [getattr(name, c) for name in names] for c in columns})


@pytest.fixture
def source(tmp_path, small_breakhis, data_args):
    """Return the arguments that open the 24 small pictures in one of the forms."""

    def build(kind, **changes):
        place = tmp_path / kind
        if kind == "tree":
            return data_args(small_breakhis, **changes)
        if kind == "archive":
            with tarfile.open(place, "w") as archive:
                archive.add(small_breakhis / "BreaKHis_v1", "BreaKHis_v1")
            return data_args(place, **changes)
        place.mkdir()
        if kind == "imagefolder":
            shutil.copytree(small_breakhis / "BreaKHis_v1/histology_slides/breast", place, dirs_exist_ok=True)
            return data_args(place, dataset=kind, **changes)
        rows_of(small_breakhis, ("image", "label") if kind == "rcl7500" else COLUMNS).to_parquet(place / "a.parquet")
        return data_args(place, dataset="breakhis" if kind == "parquet" else kind, **changes)

    return build


def everything(images):
    rows = [
        row | {"image": None if row["image"] is None else np.asarray(row["image"]).tolist()} for row in images.dataset
    ]
    shown = (images.source, images.location, images.warnings, images.findings, images.stamp, dict(images.places))
    return rows, shown, images.dataset.features


def all_of(findings):
    return findings.table, findings.findings, findings.unusable, findings.manifest_sha256


@pytest.fixture
def no_work(monkeypatch):
    """Let every look at an image fail."""

    def refuse(*_, **__):
        raise AssertionError("decoded again")

    return lambda: monkeypatch.setattr("hf_breakhis.data.integrity.check_images.check_image", refuse)


@pytest.mark.parametrize("kind", KINDS)
def test_what_did_not_change_is_not_decoded_again(kind, source, no_work):
    args = source(kind)
    images = load_images(args)
    first = everything(images), all_of(check_images(images, 1))
    no_work()
    again = load_images(args)
    assert everything(again) == first[0]
    assert all_of(check_images(again, 1)) == first[1]


@pytest.mark.parametrize("kind", ["tree", "parquet"])
def test_columns_lie_in_one_piece(kind, source):
    """A piece for each row cost 15 KB of memory a row, and a hundred thousand rows 1.5 GB."""
    images = load_images(source(kind))
    assert check_images(images, 1).table["file_name"].num_chunks == 1
    assert (images.dataset._indices is None) is (kind == "tree")  # sorted as they were found, or not


def touch(path):
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))


CHANGES = {
    "content": lambda path: (path.write_bytes(path.read_bytes()[:-1] + b"x"), touch(path)),
    "length": lambda path: path.write_bytes(path.read_bytes()[:-50]),
    "gone": lambda path: path.unlink(),
    "one more": lambda path: shutil.copy(path, path.with_name("SOB_B_A-14-22549AB-40-099.png")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_folder_is_noticed(change, small_breakhis, source):
    args = source("tree")
    before = check_images(load_images(args), 1)
    CHANGES[change](min(small_breakhis.rglob("*.png")))
    after = check_images(load_images(args), 1)
    assert after.manifest_sha256 != before.manifest_sha256
    assert bool(after.unusable) is (change in ("content", "length"))


@pytest.mark.parametrize("kind", ["archive", "parquet"])
def test_a_changed_file_is_noticed(kind, tmp_path, small_breakhis, source):
    before = check_images(load_images(source(kind)), 1)
    min(small_breakhis.rglob("*.png")).write_bytes(b"")
    if (tmp_path / kind).is_dir():
        shutil.rmtree(tmp_path / kind)
    after = check_images(load_images(source(kind)), 1)
    assert (before.unusable, list(after.unusable.values())) == ({}, ["is empty"])


@pytest.mark.parametrize("content", [b"", b"ARROW1", bytes(5000)])
def test_a_memory_of_another_form_counts_as_none(own_cache, content, source):
    args = source("archive")
    images = load_images(args)
    first = everything(images), all_of(check_images(images, 1))
    newest = max(own_cache.rglob("checked-*.arrow"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()  # it is mapped, so it must not be cut
    newest.write_bytes(content)
    again = load_images(args)
    assert (everything(again), all_of(check_images(again, 1))) == first


def test_a_file_that_changes_after_it_was_listed_is_checked_as_it_is(small_breakhis, source):
    images = load_images(source("tree"))
    assert check_images(images, 1).unusable == {}
    path = min(small_breakhis.rglob("*.png"))
    path.write_bytes(b"")
    assert list(check_images(images, 1).unusable) == [path.name]


def test_a_file_that_the_system_refused_is_asked_for_again(source, monkeypatch):
    args = source("tree")

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("hf_breakhis.data.integrity.check_image.Path.read_bytes", refuse)
        assert len(check_images(load_images(args), 1).unusable) == 24
    assert check_images(load_images(args), 1).unusable == {}


def test_links_to_nothing_and_to_folders_are_no_trouble(tmp_path, small_breakhis, source, no_work):
    folder = next(small_breakhis.rglob("*.png")).parent
    (folder / "nothing").symlink_to(tmp_path / "absent")
    (folder / "above").symlink_to(small_breakhis)
    args = source("tree")
    images = load_images(args)
    assert len(images.dataset) == 24
    check_images(images, 1)
    no_work()
    assert len(check_images(load_images(args), 1).table) == 24
