"""Simulated shifts: the identity at strength 0, torchstain as oracle, and what each shift changes and what not."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_breakhis.data.pixels.shifts import (
    SHIFTS,
    STRENGTHS,
    blur,
    brightness,
    jpeg,
    noise,
    scale,
    shifted,
    similarity,
    stain,
)
from hf_breakhis.data.pixels.stains import density, stain_matrix
from hf_breakhis.data.twin.traits import TwinSettings
from hf_breakhis.data.twin.twin import encode, twin_file_names

RANDOM = np.random.default_rng(0)


def twin_pictures(number, width=280, height=184):
    settings = TwinSettings(width=width, height=height)
    names = [name for name in twin_file_names(settings) if "-200-" in name]
    chosen = names[:: len(names) // number][:number]
    return [np.asarray(Image.open(io.BytesIO(encode(name, settings)))) for name in chosen]


@pytest.fixture(scope="module")
def pictures():
    return twin_pictures(8)


@pytest.mark.parametrize("name", SHIFTS)
def test_strength_zero_is_the_image_itself(pictures, name):
    for picture in pictures[:2]:
        assert shifted(picture, name, 0) is picture
    assert SHIFTS[name].amount(0) == 0


@pytest.mark.parametrize("name", [name for name in SHIFTS if name != "jpeg"])
def test_an_amount_of_zero_changes_no_bit(pictures, name):
    """The shift itself, not only the short cut."""
    for picture in pictures[:2]:
        assert (SHIFTS[name].apply(picture, 0.0, RANDOM) == picture).all()


@pytest.mark.parametrize("name", SHIFTS)
def test_each_strength_changes_more(pictures, name):
    for picture in pictures[:3]:
        before = picture.copy()
        changed = [shifted(picture, name, strength, seed=3) for strength in STRENGTHS]
        assert all(one.shape == picture.shape and one.dtype == np.uint8 for one in changed)
        distance = [np.abs(one.astype(float) - picture).mean() for one in changed]
        assert 0 < distance[0] < distance[1] < distance[2]
        assert (picture == before).all()
        assert (shifted(picture, name, 2, seed=3) == changed[1]).all()


def test_stain_vectors_are_those_of_torchstain(pictures):
    torchstain = pytest.importorskip("torchstain", reason="torchstain is not installed: pip install torchstain")
    compared = 0
    for picture in pictures:
        other = torchstain.normalizers.MacenkoNormalizer(backend="numpy")
        other.fit(picture)
        if (other.HERef < 0).any():  # torchstain keeps the sign that the eigenvectors happen to have
            continue
        assert stain_matrix(picture) == pytest.approx(other.HERef, abs=1e-9)
        compared += 1
    assert compared >= 2


def test_known_stains_are_found():
    """Two stains mixed by hand, where each pixel has mostly one of them."""
    truth = np.array([[0.65, 0.07], [0.70, 0.99], [0.29, 0.11]])
    truth /= np.linalg.norm(truth, axis=0)
    random = np.random.default_rng(1)
    amounts = random.uniform(0.6, 2.0, (4096, 2)) * np.where(random.random((4096, 1)) < 0.5, [1, 0.1], [0.1, 1])
    pixels = np.clip(np.rint(240 * np.exp(-amounts @ truth.T) - 1), 0, 255).astype(np.uint8).reshape(64, 64, 3)
    found = stain_matrix(pixels)
    assert (found * truth).sum(0) == pytest.approx([1, 1], abs=0.02)


def test_an_image_without_tissue_has_no_stains_and_stays_pale():
    glass = np.full((40, 40, 3), 236, np.uint8)
    assert stain_matrix(glass) is None
    assert np.abs(shifted(glass, "stain", 3).astype(int) - glass).max() <= 4


def test_a_paler_stain_lowers_the_density(pictures):
    for picture in pictures:
        before = density(picture).mean()
        assert density(stain(picture, 0.4, RANDOM)).mean() == pytest.approx(0.6 * before, abs=0.08)


def test_similar_stains_keep_the_light_and_lose_the_colours(pictures):
    for picture in pictures:
        after = similarity(picture, 0.9, RANDOM)
        values = [np.linalg.eigvalsh(np.cov(density(one).T)) for one in (picture, after)]
        assert values[1][1] / values[1][2] < values[0][1] / values[0][2]
        assert after.mean() == pytest.approx(picture.mean(), rel=0.1)


def test_blur_light_scale_noise_and_jpeg_do_what_they_say(pictures):
    picture = pictures[0]
    assert blur(picture, 0.01, RANDOM).mean() == pytest.approx(picture.mean(), abs=0.5)
    assert brightness(picture, 0.25, RANDOM).mean() == pytest.approx(0.75 * picture.mean(), abs=0.5)
    added = noise(np.full((200, 200, 3), 128, np.uint8), 10, np.random.default_rng(0)).astype(float) - 128
    assert added.std() == pytest.approx(10, rel=0.02)
    assert added.mean() == pytest.approx(0, abs=0.1)
    line = np.zeros((100, 100, 3), np.uint8)
    line[:, 45:55] = 255  # ten pixels wide, then fifteen
    assert (scale(line, 0.5, RANDOM)[50, :, 0] > 127).sum() == pytest.approx(15, abs=1)
    assert (
        np.abs(jpeg(picture, 10, RANDOM).astype(float) - picture).mean()
        < np.abs(jpeg(picture, 90, RANDOM).astype(float) - picture).mean()
    )


def color(picture):
    return list(density(picture).mean(0))


def shape(picture):
    """Power of the grey picture over bands of frequency, without its brightness and contrast."""
    grey = picture.mean(2)
    grey = (grey - grey.mean()) / (grey.std() + 1e-9)
    power = np.abs(np.fft.rfft2(grey)) ** 2
    rows, columns = np.fft.fftfreq(grey.shape[0])[:, None], np.fft.rfftfreq(grey.shape[1])[None, :]
    radius = np.hypot(rows, columns)
    edges = np.geomspace(0.015, 0.3, 9)
    return [np.log(power[(radius >= low) & (radius < high)].mean()) for low, high in pairwise(edges)]


def auc(train, test, features, change):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit([features(one) for one in train[0]], train[1])
    return roc_auc_score(test[1], model.predict_proba([features(change(one)) for one in test[0]])[:, 1])


STAINS = np.array([[0.65, 0.07], [0.70, 0.99], [0.29, 0.11]])


def tissue(random, radius, tint):
    """Nuclei of one radius on a pink ground; their number keeps the area. How dense and white the picture is says
    nothing of the class, so that of the colours only the balance of both stains can."""
    y, x = np.mgrid[:96, :96]
    inside = np.zeros((96, 96), bool)
    while inside.mean() < 0.25:
        row, column = random.uniform(0, 96, 2)
        inside |= (y - row) ** 2 + (x - column) ** 2 < radius**2
    eosin = np.clip(0.5 + 0.1 * random.standard_normal((96, 96)), 0.1, None)
    amounts = np.stack([np.where(inside, 1.2, 0.15), np.where(inside, 0.2, eosin)], axis=-1) * tint
    amounts *= 0.8 * random.uniform(0.8, 1.2) / amounts.sum(-1).mean()
    light = 240 * random.uniform(0.93, 1.0, 3)
    return np.clip(np.rint(light * np.exp(-amounts @ STAINS.T) - 1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def twins():
    """Pictures whose classes differ by colour only, and pictures whose classes differ by shape only."""
    random, labels = np.random.default_rng(0), np.arange(120) % 2
    tints = np.array([[0.7, 1.3], [1.3, 0.7]])
    colored = [tissue(random, random.choice([3, 6]), tints[label] * random.uniform(0.9, 1.1, 2)) for label in labels]
    shaped = [tissue(random, 6 if label else 3, random.uniform(0.8, 1.2, 2)) for label in labels]
    return {"color": (colored, labels), "shape": (shaped, labels)}


def halves(pictures, labels):
    return (pictures[:60], labels[:60]), (pictures[60:], labels[60:])


def test_classes_that_differ_by_colour_collapse_and_classes_that_differ_by_shape_do_not(twins):
    colored, shaped = (halves(*twins[name]) for name in ("color", "shape"))
    assert auc(*colored, color, lambda one: one) > 0.95
    assert auc(*shaped, shape, lambda one: one) > 0.95
    assert auc(*shaped, color, lambda one: one) < 0.65  # nothing to learn from colours there
    assert auc(*colored, color, lambda one: shifted(one, "stain", 3)) < 0.75
    assert auc(*shaped, shape, lambda one: shifted(one, "stain", 3)) > 0.95


def test_blur_is_the_other_way_round(twins):
    colored, shaped = (halves(*twins[name]) for name in ("color", "shape"))
    assert auc(*colored, color, lambda one: blur(one, 0.08, RANDOM)) > 0.95
    assert auc(*shaped, shape, lambda one: blur(one, 0.08, RANDOM)) < 0.75
