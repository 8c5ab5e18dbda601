"""Features are kept by what a file contains, and a search between two data sets finds what a search of all does."""

import io
from dataclasses import replace

import datasets
import numpy as np
import pytest
from PIL import Image

from hf_breakhis.arguments import DataArguments
from hf_breakhis.cli import main
from hf_breakhis.data.integrity import described
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.integrity.described import check_and_describe, describe_images
from hf_breakhis.data.integrity.duplicates import copies_between, find_image_copies
from hf_breakhis.data.integrity.features import find_features
from hf_breakhis.data.integrity.overlaps import find_overlaps
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.twin.twin import TwinSettings, encode, twin_file_names


@pytest.fixture(scope="module")
def twins():
    settings = TwinSettings(scale=0.02, width=350, height=230)
    of_slides = {name.rsplit("-", 2)[0]: name for name in twin_file_names(settings)}
    contents = [encode(name, settings) for name in list(of_slides.values())[:6]]
    return [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]


def shrunk(picture, steps):
    """A copy without some pixels at each side, so that more steps are farther from the picture."""
    return picture.crop((6 * steps, 4 * steps, picture.width - 6 * steps, picture.height - 4 * steps))


def folder_of(place, pictures):
    """An image folder with two classes, and what the check found in it."""
    for k, picture in enumerate(pictures):
        path = place / ("benign", "malignant")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    images = load_images(DataArguments(dataset="imagefolder", data_dir=str(place)))
    return images, check_images(images).files


def equal(one, other):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one, other, strict=True)
        for name in ("places", "angles", "signs", "filled", "frame")
    )


@pytest.fixture
def counted(monkeypatch):
    """The numbers of images that were described, one for each call."""
    numbers, real = [], described.describe_all

    def count(images):
        numbers.append(len(images))
        return real(images)

    monkeypatch.setattr(described, "describe_all", count)
    return numbers


def test_an_image_is_described_once(own_cache, twins, tmp_path, counted):
    images, files = folder_of(tmp_path, [*twins[:3], Image.new("RGB", (200, 200), "pink")])
    first = describe_images(images, files)
    part = replace(images, dataset=images.dataset.select([2, 0]))
    assert equal(describe_images(images, files), first)
    assert equal(describe_images(part, files), [first[2], first[0]])
    assert counted == [4]
    pictures = dict(zip(("benign/0.png", "malignant/1.png", "benign/2.png"), twins, strict=False))
    by_name = dict(zip(images.dataset["file_name"], first, strict=True))
    assert all(equal([by_name[name]], [find_features(picture)]) for name, picture in pictures.items())


def test_checked_images_are_described_from_the_pictures_of_the_check(twins, tmp_path, counted):
    pictures = [*twins[:3], Image.new("RGB", (200, 200), "pink")]
    names = [f"{('benign', 'malignant')[k % 2]}/{k}.png" for k in range(4)]
    for name, picture in zip(names, pictures, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture.save(tmp_path / name)
    (tmp_path / "benign/damaged.png").write_bytes((tmp_path / names[0]).read_bytes()[:300])
    images = load_images(DataArguments(dataset="imagefolder", data_dir=str(tmp_path)))
    findings = check_and_describe(images)
    assert list(findings.unusable) == ["benign/damaged.png"]
    found = dict(zip(images.dataset["file_name"], describe_images(images, findings.files), strict=True))
    assert counted == [1], "the damaged image alone, which nobody could describe"
    assert all(equal([found[name]], [find_features(picture)]) for name, picture in zip(names, pictures, strict=True))
    assert findings == check_images(images)
    assert findings == check_and_describe(images)


def test_data_verify_describes_images_from_the_pictures_of_its_check(small_breakhis, counted, monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found, real = [], described.find_features
    monkeypatch.setattr(described, "find_features", lambda picture: found.append(picture) or real(picture))
    main(["data", "verify", str(small_breakhis)])
    assert len(found) == 24
    assert counted == []


def test_only_a_changed_file_is_described_again(twins, tmp_path, counted):
    images, _ = folder_of(tmp_path, twins[:4])
    describe_images(images, check_images(images).files)
    twins[5].save(tmp_path / "benign" / "0.png")
    again = describe_images(images, check_images(images).files)
    assert counted == [4, 1]
    assert equal([again[0]], [find_features(twins[5])])


@pytest.mark.parametrize("content", [b"", b"ARROW1", bytes(5000)])
def test_a_damaged_cache_counts_as_none(own_cache, twins, tmp_path, counted, content):
    images, files = folder_of(tmp_path, twins[:2])
    first = describe_images(images, files)
    newest = max(own_cache.rglob("features-*.arrow"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()  # it may be mapped
    newest.write_bytes(content)
    assert equal(describe_images(images, files), first)
    assert counted == [2, 2]


def test_a_file_without_content_is_not_kept(twins, tmp_path, counted):
    images, _ = folder_of(tmp_path, twins[:2])
    (tmp_path / "benign" / "0.png").unlink()
    files = check_images(images).files
    for _ in range(2):
        assert len(describe_images(images, files)[0].signs) == 0
    assert counted == [2, 1]


def test_pairs_of_the_first_images_are_those_of_a_whole_search(twins):
    """Copies in chains, of which each has one nearest candidate; some link first images through others."""
    pictures = [shrunk(picture, steps) for steps in range(4) for picture in twins]
    features = [find_features(picture) for picture in np.random.default_rng(0).permutation(np.array(pictures, object))]
    for nearest in (1, 2, 10):
        whole = find_overlaps(features, nearest)
        assert any(one.is_copy for one in whole)
        for first in (1, 5, len(features)):
            assert find_overlaps(features, nearest, first) == [one for one in whole if one.i < first]


def test_other_images_are_compared_only_where_they_lead_to_a_first_image(twins, monkeypatch):
    features = [find_features(shrunk(picture, steps)) for picture in twins for steps in range(3)]
    compared = []
    real = find_overlaps.__globals__["fit_pair"]
    monkeypatch.setitem(find_overlaps.__globals__, "fit_pair", lambda *pair: compared.append(pair[1:3]) or real(*pair))
    find_overlaps(features, 2, 3)
    few, compared[:] = len(compared), []
    find_overlaps(features, 2)
    assert few < 0.6 * len(compared)


def test_copies_between_two_folders_are_found_whatever_their_names(twins, tmp_path):
    own, own_files = folder_of(tmp_path / "own", [shrunk(twins[0], 2), twins[1], twins[2]])
    other, other_files = folder_of(tmp_path / "other", [twins[0], shrunk(twins[0], 4), twins[3], twins[4]])
    pairs = copies_between(own, own_files, other, other_files)
    found = set(pairs.itertuples(index=False, name=None))
    assert found == {("benign/0.png", name, "near copy") for name in ("benign/0.png", "malignant/1.png")}
    within = find_image_copies(other, other_files)
    assert [(row.a, row.b) for row in within.itertuples()] == [("benign/0.png", "malignant/1.png")]
