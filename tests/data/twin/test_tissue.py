"""One picture: the same wherever it is drawn, true to scale, and free of the class where it is told to be."""

import re
from itertools import combinations

import numpy as np
import pytest

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.twin import traits as traits_module
from hf_breakhis.data.twin.tissue import draw_picture
from hf_breakhis.data.twin.traits import ORDINARY, TwinSettings, traits_of
from hf_breakhis.files import InputError

BENIGN = "SOB_B_TA-14-4659-100-001.png"
MALIGNANT = "SOB_M_DC-14-4659-100-001.png"
SMALL = {"width": 140, "height": 92}
SETTINGS = TwinSettings(**SMALL)


def correlation(first, second):
    return np.corrcoef(first.mean(axis=2).ravel(), second.mean(axis=2).ravel())[0, 1]


def shrink(picture, factor):
    height, width = (size // factor * factor for size in picture.shape[:2])
    blocks = picture[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return blocks.mean(axis=(1, 3))


def forget_in_keys(monkeypatch, pattern):
    """Let names that differ only in what `pattern` matches draw the same random numbers."""
    original = traits_module.key_of
    monkeypatch.setattr(
        traits_module, "key_of", lambda settings, purpose, text: original(settings, purpose, re.sub(pattern, "", text))
    )


def test_a_picture_has_the_shape_asked_for():
    picture = draw_picture(BENIGN, SETTINGS)
    assert picture.shape == (92, 140, 3)
    assert picture.dtype == np.uint8


def test_a_picture_does_not_depend_on_what_was_drawn_before():
    first = draw_picture(BENIGN, SETTINGS)
    draw_picture(MALIGNANT, TwinSettings(seed=9, width=90, height=60))
    assert np.array_equal(draw_picture(parse_file_name(BENIGN), SETTINGS), first)


def test_another_seed_gives_another_picture():
    assert correlation(draw_picture(BENIGN, SETTINGS), draw_picture(BENIGN, TwinSettings(seed=1, **SMALL))) < 0.3


@pytest.mark.parametrize("other", ["SOB_B_TA-14-4659-100-002.png", "SOB_B_TA-14-3411F-100-001.png"])
def test_another_number_or_patient_gives_another_field(other):
    assert correlation(draw_picture(BENIGN, SETTINGS), draw_picture(other, SETTINGS)) < 0.3


@pytest.mark.parametrize("magnification", [40, 100, 200, 400])
def test_fewer_pixels_show_the_same_field(magnification):
    name = BENIGN.replace("-100-", f"-{magnification}-")
    large = draw_picture(name, TwinSettings(width=420, height=276))
    assert correlation(shrink(large, 3), draw_picture(name, SETTINGS)) > 0.75


@pytest.mark.parametrize(("low", "high"), [(40, 100), (100, 200), (200, 400)])
def test_magnifications_look_at_the_middle_of_one_field_at_their_true_ratio(low, high):
    ratio = high / low
    wide, high_height = int(140 * ratio), int(92 * ratio)
    overview = draw_picture(BENIGN.replace("-100-", f"-{low}-"), TwinSettings(width=wide, height=high_height))
    detail = draw_picture(BENIGN.replace("-100-", f"-{high}-"), SETTINGS)
    top, left = (high_height - 92) // 2, (wide - 140) // 2
    assert correlation(overview[top : top + 92, left : left + 140], detail) > 0.85


def test_structures_grow_with_magnification():
    def length(magnification):
        """Return the shift, to a fraction of a pixel, at which half of the correlation is left."""
        grey = draw_picture(BENIGN.replace("-100-", f"-{magnification}-"), TwinSettings(width=280, height=184)).mean(
            axis=2
        )
        grey -= grey.mean()
        left = [1.0, *((grey[:, k:] * grey[:, :-k]).mean() / grey.var() for k in range(1, 140))]
        k = next(k for k, share in enumerate(left) if share < 0.5)
        return k - (0.5 - left[k]) / (left[k - 1] - left[k])

    lengths = [length(magnification) for magnification in (40, 100, 400)]
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[2] > 3 * lengths[0]


def test_without_class_signal_the_class_changes_nothing(monkeypatch):
    forget_in_keys(monkeypatch, r"SOB_[BM]_[A-Z]+")
    settings = TwinSettings(class_signal=0.0, **SMALL)
    assert np.array_equal(draw_picture(BENIGN, settings), draw_picture(MALIGNANT, settings))
    assert not np.array_equal(draw_picture(BENIGN, SETTINGS), draw_picture(MALIGNANT, SETTINGS))


def test_without_patient_effect_the_patient_changes_nothing(monkeypatch):
    one, other = BENIGN, BENIGN.replace("4659", "3411F")
    forget_in_keys(monkeypatch, r"-?14-[0-9A-Z]+")
    # The keys now tell patients no more, so give them back to those that hold a patient's traits.
    original = traits_module.generator
    monkeypatch.setattr(
        traits_module,
        "generator",
        lambda settings, purpose, text: original(settings, purpose + text if "pec" in purpose else purpose, text),
    )
    for class_signal in (0.0, 1.0):
        settings = TwinSettings(patient_effect=0.0, class_signal=class_signal, **SMALL)
        assert np.array_equal(draw_picture(one, settings), draw_picture(other, settings))


def test_without_patient_effect_magnifications_share_no_field():
    settings = TwinSettings(patient_effect=0.0)
    keys = {traits_of(parse_file_name(BENIGN.replace("-100-", f"-{m}-")), settings).field_key for m in (40, 100, 200)}
    assert len(keys) == 3


def test_traits_carry_the_class_only_with_class_signal():
    names = [name for folder in INVENTORY for name in list(folder.names())[:6]]
    labels = np.array([name.label for name in names])

    def gap(settings):
        grade = np.array([traits_of(name, settings).malignancy for name in names])
        return grade[labels == 1].mean() - grade[labels == 0].mean()

    assert gap(TwinSettings()) > 0.4
    assert abs(gap(TwinSettings(class_signal=0.0, patient_effect=0.0))) < 0.08


def test_without_class_signal_every_look_is_as_likely_in_both_classes():
    settings = TwinSettings(class_signal=0.0, patient_effect=0.0, noise=0.0)
    names = [name for folder in INVENTORY for name in list(folder.names())[:12]]
    malignant_looks = {"DC", "LC", "MC", "PC"}
    for label in (0, 1):
        looks = [traits_of(name, settings).look for name in names if name.label == label]
        assert 0.42 < np.mean([look in malignant_looks for look in looks]) < 0.58


def test_blocks_of_one_specimen_look_more_alike_than_specimens():
    folders = INVENTORY[:24]
    stain = [np.log(traits_of(next(folder.names()), TwinSettings()).eosin) for folder in folders]
    within, between = [], []
    for (i, first), (j, second) in combinations(enumerate(folders), 2):
        pair = within if first.specimen_id == second.specimen_id else between
        pair.append(((stain[i] - stain[j]) ** 2).mean())
    assert np.mean(within) < 0.6 * np.mean(between)


def test_noise_decides_how_often_a_field_shows_no_tumour():
    names = [name for folder in INVENTORY for name in list(folder.names())[:5]]

    def share(noise):
        return np.mean([traits_of(name, TwinSettings(noise=noise)).look == ORDINARY for name in names])

    assert share(0.0) == 0
    assert share(1.0) < share(3.0)


def test_mean_colour_is_that_of_stained_tissue():
    for name in (BENIGN, MALIGNANT):
        red, green, blue = draw_picture(name, SETTINGS).mean(axis=(0, 1))
        assert green < red
        assert green < blue
        assert 90 < green < 230


def test_a_name_of_another_form_is_refused():
    with pytest.raises(InputError, match="not a BreakHis file name"):
        draw_picture("holiday.png", SETTINGS)
