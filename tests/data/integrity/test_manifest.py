"""One number names a set of images, wherever they lie; any change of bytes, names, labels or groups changes it."""

import hashlib
import json
import os
import shutil
import tarfile
from dataclasses import replace

import datasets
import pytest

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.integrity.manifest import manifest_sha256
from hf_breakhis.data.sources.table import load_images


@pytest.fixture
def manifest(data_args):
    return lambda place, **changes: check_images(load_images(data_args(place, **changes)), 1).manifest_sha256


def test_it_is_the_hash_of_sorted_lines(small_breakhis, manifest):
    """Counted here from the files alone."""
    lines = []
    for path in small_breakhis.rglob("*.png"):
        name = parse_file_name(path.name)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        kind = ["benign", "malignant"][name.label]
        lines.append(json.dumps([path.name, content, kind, name.patient_id, name.specimen_id]))
    assert manifest(small_breakhis) == hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def as_folder(tree, place):
    return tree


def as_breast_folder(tree, place):
    shutil.copytree(tree / "BreaKHis_v1/histology_slides/breast", place / "breast")
    return place / "breast"


def as_archive(tree, place):
    with tarfile.open(place / "BreaKHis_v1.tar.gz", "w:gz") as archive:
        archive.add(tree / "BreaKHis_v1", "BreaKHis_v1")
    return place / "BreaKHis_v1.tar.gz"


def as_kaggle_copy(tree, place):
    shutil.copytree(tree, place / "kaggle")
    (place / "kaggle" / "Folds.csv").write_text("fold,mag,grp,filename\n")
    return place / "kaggle"


def as_parquet(tree, place):
    paths = sorted(tree.rglob("*.png"), reverse=True)
    columns = {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
        "label": [parse_file_name(path.name).label for path in paths],
        "file_name": [path.name for path in paths],
    }
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["benign", "malignant"]),
        "file_name": datasets.Value("string"),
    }
    (place / "parquet").mkdir()
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(place / "parquet" / "all.parquet")
    return place / "parquet"


@pytest.mark.parametrize("form", [as_breast_folder, as_archive, as_kaggle_copy, as_parquet])
def test_every_form_of_the_same_images_has_the_same(form, small_breakhis, manifest, tmp_path):
    assert manifest(form(small_breakhis, tmp_path)) == manifest(small_breakhis)


def test_both_targets_have_the_same(small_breakhis, manifest):
    assert manifest(small_breakhis, target="tumor_type") == manifest(small_breakhis)


def test_fewer_images_have_another(small_breakhis, manifest):
    assert manifest(small_breakhis, magnifications=["40X"]) != manifest(small_breakhis)


@pytest.mark.parametrize("column", ["file_name", "label", "patient_id", "specimen_id"])
def test_a_swap_in_any_column_gives_another(column, small_breakhis, data_args):
    images = load_images(data_args(small_breakhis))
    files = check_images(images, 1).files
    table = images.dataset.remove_columns("image")
    values = list(table[column])
    values[0], values[-1] = values[-1], values[0]
    swapped = table.remove_columns(column).add_column(column, values, feature=table.features[column])
    assert manifest_sha256(swapped, files["content_sha256"]) != manifest_sha256(table, files["content_sha256"])


def test_another_byte_gives_another(small_breakhis, manifest):
    before = manifest(small_breakhis)
    path = min(small_breakhis.rglob("*.png"))
    path.write_bytes(path.read_bytes() + b"\0")
    assert manifest(small_breakhis) != before


def test_no_file_is_read_again_until_it_changes(small_breakhis, data_args, monkeypatch):
    images = load_images(data_args(small_breakhis))
    before = check_images(images, 1).manifest_sha256
    read = []
    check_image = "hf_breakhis.data.integrity.check_images.check_image"
    from hf_breakhis.data.integrity import check_images as integrity

    whole = integrity.check_image
    monkeypatch.setattr(check_image, lambda key, image, use: read.append(image["path"]) or whole(key, image, use))
    assert check_images(images, 1).manifest_sha256 == before
    assert read == []
    path = min(small_breakhis.rglob("*.png"))
    os.utime(path, ns=(0, 0))
    assert check_images(images, 1).manifest_sha256 == before
    assert read == [str(path)]


def test_a_hash_made_of_digits_is_remembered_as_text(small_breakhis, data_args, monkeypatch):
    from hf_breakhis.data.integrity import check_images as integrity

    whole = integrity.check_image
    digits = "0" * 63 + "1"
    monkeypatch.setattr(
        integrity,
        "check_image",
        lambda key, image, use: replace(whole(key, image, use), content_sha256=digits, shape="0" * 64),
    )
    images = load_images(data_args(small_breakhis))
    first, again = check_images(images, 1), check_images(images, 1)
    assert set(again.files["content_sha256"]) == {digits}
    assert again.files.equals(first.files)
