"""Stain normalisation: two oracles, and two stainings of one slide that come together."""

import json

import numpy as np
import pytest
import torch

from hf_breakhis.data.pixels.cache import cache_path, describe_cache, open_cache
from hf_breakhis.data.pixels.preprocessing import Preprocessing, image_processor, read_processor
from hf_breakhis.data.pixels.shifts import shifted
from hf_breakhis.data.pixels.stains import STAIN_NORMALIZATIONS, macenko, reinhard
from hf_breakhis.data.pixels.transforms import DecodedPixels, prepare, read_rgb, resize
from hf_breakhis.data.sources.table import load_images
from tests.data.pixels.test_shifts import twin_pictures

METHODS = ("macenko", "reinhard")
GLASS = np.full((40, 40, 3), 236, np.uint8)


@pytest.fixture(scope="module")
def pictures():
    return twin_pictures(8, width=140, height=92)


def test_macenko_is_that_of_torchstain(pictures):
    torchstain = pytest.importorskip("torchstain", reason="torchstain is not installed: pip install torchstain")
    compared = 0
    for picture in pictures:
        other = torchstain.normalizers.MacenkoNormalizer(backend="numpy")
        other.fit(picture)
        if (other.HERef < 0).any():  # torchstain keeps the sign that the eigenvectors happen to have
            continue
        theirs, _, _ = torchstain.normalizers.MacenkoNormalizer(backend="numpy").normalize(I=picture, stains=False)
        ours = macenko(picture)
        assert np.abs(ours.astype(int) - theirs).max() <= 1, "torchstain cuts fractions off, we round"
        assert np.abs(ours.astype(int) - picture).mean() > 3
        compared += 1
    assert compared >= 2


def test_reinhard_gives_the_statistics_of_the_reference(pictures):
    """Computed here pixel by pixel, by the formulas of the article."""
    for picture in pictures:
        red, green, blue = (reinhard(picture)[..., k].astype(float).ravel() for k in range(3))
        long = np.log(0.3811 * red + 0.5783 * green + 0.0402 * blue)
        middle = np.log(0.1967 * red + 0.7244 * green + 0.0782 * blue)
        short = np.log(0.0241 * red + 0.1288 * green + 0.8444 * blue)
        light = (long + middle + short) / 3**0.5
        yellow = (long + middle - 2 * short) / 6**0.5
        reddish = (long - middle) / 2**0.5
        assert [light.mean(), yellow.mean(), reddish.mean()] == pytest.approx([8.741, -0.1244, 0.0445], abs=0.05)
        assert [light.std(), yellow.std(), reddish.std()] == pytest.approx([0.6135, 0.1099, 0.0286], abs=0.05)


def mixtures(number):
    """Images in which every pixel is tissue, so that a paler stain leaves the stain vectors as they are."""
    matrix = np.array([[0.65, 0.07], [0.70, 0.99], [0.29, 0.11]])
    random = np.random.default_rng(1)
    for _ in range(number):
        amounts = random.uniform(0.8, 2.0, (48 * 48, 2))
        amounts *= np.where(random.random((len(amounts), 1)) < 0.5, [1, 0.1], [0.1, 1])
        pixels = 240 * np.exp(-amounts @ (matrix / np.linalg.norm(matrix, axis=0)).T) - 1
        yield np.clip(np.rint(pixels), 0, 255).astype(np.uint8).reshape(48, 48, 3)


@pytest.mark.parametrize("strength", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_two_stainings_of_a_slide_come_together(pictures, method, strength):
    """The negative control is the shift itself: without normalisation the two differ."""
    normalize = STAIN_NORMALIZATIONS[method]
    apart, left = [], []
    for picture in pictures if method == "reinhard" else mixtures(4):
        paler = shifted(picture, "stain", strength)
        apart.append(np.abs(picture.astype(float) - paler).mean())
        left.append(np.abs(normalize(picture).astype(float) - normalize(paler)).mean())
    assert np.mean(apart) > 5 * strength
    assert np.mean(left) < 0.25 * np.mean(apart)


@pytest.mark.parametrize("method", METHODS)
def test_what_comes_out_is_an_image_and_the_same_each_time(pictures, method):
    normalize = STAIN_NORMALIZATIONS[method]
    for picture in (*pictures[:2], np.zeros_like(GLASS), GLASS):
        before = picture.copy()
        found = normalize(picture)
        assert (found.shape, found.dtype) == (picture.shape, np.uint8)
        assert (normalize(picture) == found).all()
        assert (picture == before).all()
    assert normalize(GLASS) is GLASS, "an image without tissue stays as it is"


def test_reinhard_needs_some_tissue_only(pictures):
    """The control: a corner of tissue on glass is normalised, for Macenko too little."""
    picture = GLASS.copy()
    picture[:3, :3] = pictures[0][40:43, 60:63]
    assert (reinhard(picture) != picture).any()
    assert macenko(picture) is picture


def test_the_network_sees_the_normalised_image(pictures):
    pixels = torch.from_numpy(pictures[0].copy()).permute(2, 0, 1)
    assert torch.equal(prepare(pixels, 32), resize(pixels, 32))
    for method in METHODS:
        found = prepare(pixels, Preprocessing(32, stain_normalization=method))
        expected = STAIN_NORMALIZATIONS[method](resize(pixels, 32).permute(1, 2, 0).numpy())
        assert (found.permute(1, 2, 0).numpy() == expected).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_cache_holds_what_decoding_gives(small_breakhis, data_args, method):
    dataset = load_images(data_args(small_breakhis)).dataset
    how = Preprocessing(32, stain_normalization=method)
    cached, decoded = open_cache(dataset, how, "manifest", num_workers=0), DecodedPixels(dataset, how)
    rows = np.arange(4)
    assert (cached.take(rows) == decoded.take(rows)).all()
    assert (decoded.take(rows[:1])[0] == prepare(read_rgb(dataset[0]["image"]["path"]), how).numpy()).all()
    places = [cache_path(describe_cache(dataset, one, "manifest")) for one in (how, Preprocessing(32))]
    assert places[0] != places[1]


@pytest.mark.parametrize("method", STAIN_NORMALIZATIONS)
def test_a_saved_processor_names_the_method(tmp_path, method):
    how = Preprocessing(32, stain_normalization=method)
    image_processor(how).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert read_processor(saved) == how
    assert saved.get("stain_normalization", "none") == method
    assert read_processor(saved | {"stain_normalization": "vahadane"}) is None
    assert (method.capitalize() in how.sentence()) == (method != "none")
