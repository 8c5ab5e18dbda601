"""A copy is found however it was cropped, rotated or shifted; overlapping fields are no copies; others are nothing."""

import io
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from hf_breakhis.data.integrity.duplicates import find_copies
from hf_breakhis.data.integrity.features import EMPTY, describe_all, find_features
from hf_breakhis.data.integrity.overlaps import find_overlaps, fit_pair
from hf_breakhis.data.integrity.waves import shape_code
from hf_breakhis.data.twin.twin import TwinSettings, encode, twin_file_names

NUM_TWINS = 12
WAYS = Image.Transpose


def cut(left, top, right, bottom):
    def change(image):
        w, h = image.size
        return image.crop((round(w * left), round(h * top), round(w * (1 - right)), round(h * (1 - bottom))))

    return change


def rotated(angle, expand=False, fill="black"):
    return lambda image: image.rotate(angle, Image.Resampling.BICUBIC, expand=expand, fillcolor=fill)


def shifted(x, y, fill="white"):
    def change(image):
        way = (1, 0, x * image.width, 0, 1, y * image.height)
        return image.transform(image.size, Image.Transform.AFFINE, way, fillcolor=fill)

    return change


def jpeg(image):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return Image.open(stream).convert("RGB")


def stained(image):
    return Image.fromarray((255 * (np.asarray(image) / 255) ** [1.3, 0.8, 1.1]).round().astype(np.uint8))


def several(image):
    return jpeg(stained(cut(0.1, 0, 0, 0.1)(rotated(30)(image.transpose(WAYS.FLIP_LEFT_RIGHT)))))


def square(image):
    side = (1 - image.height / image.width) / 2
    return cut(side, 0, side, 0)(image)


CHANGES = {
    "5 % cut off each side": cut(0.05, 0.05, 0.05, 0.05),
    "20 % cut off each side": cut(0.2, 0.2, 0.2, 0.2),
    "20 % cut off two sides": cut(0, 0, 0.2, 0.2),
    "20 % cut off and enlarged": lambda image: cut(0.2, 0, 0, 0.2)(image).resize(image.size, Image.Resampling.BICUBIC),
    "square": square,
    "rotated by 5 degrees": rotated(5),
    "rotated by 45 degrees": rotated(45),
    "rotated by 70 degrees, expanded": rotated(70, True, "white"),
    "rotated by 160 degrees": rotated(160),
    "shifted": shifted(0.15, -0.1),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "JPEG": jpeg,
    "stain": stained,
    "paler": lambda image: ImageEnhance.Color(ImageEnhance.Brightness(image).enhance(0.8)).enhance(0.6),
    "several": several,
}


@pytest.fixture(scope="module")
def twins():
    """Large fields of as many slides; images are cut from their middle."""
    return draw_slides()


def draw_slides(**fields):
    settings = TwinSettings(scale=0.05, width=420, height=276, **fields)
    names = list({name.rsplit("-", 2)[0]: name for name in twin_file_names(settings)}.values())
    return [Image.open(io.BytesIO(encode(name, settings))).convert("RGB") for name in names[:NUM_TWINS]]


@cache
def known(size, content):
    """Return code and features of a picture, computed once."""
    picture = Image.frombytes("RGB", size, content)
    return shape_code(picture), find_features(picture)


def files_of(pictures, codes):
    rows = [str(row) for row in range(len(pictures))]
    return pd.DataFrame(
        {
            "file_name": rows, "label": 0, "specimen_id": rows, "content_sha256": rows, "pixels_sha256": rows,
            "shape": codes,
        }
    )  # fmt: skip


def kinds_of(originals, copies):
    """Return the kind of each (original, copy), and those of all other pairs."""
    pictures = [*originals, *copies]
    codes, features = zip(*(known(one.size, one.tobytes()) for one in pictures), strict=True)
    pairs = find_copies(files_of(pictures, codes), features)
    kinds = dict(zip(zip(pairs["a"].astype(int), pairs["b"].astype(int), strict=True), pairs["kind"], strict=True))
    own = [kinds.pop((row, len(originals) + row), None) for row in range(len(copies))]
    return own, list(kinds.values())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_copies_of_generated_images_are_found_and_nothing_else(change, twins):
    own, others = kinds_of(twins, [change(image) for image in twins])
    assert own.count("near copy") >= 0.9 * NUM_TWINS
    assert others == []


@cache
def real_images(folder, step):
    return [Image.open(path).convert("RGB") for path in sorted(folder.rglob("*.png"))[::step]]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_copies_of_real_images_are_found(change, real_breakhis):
    images = real_images(real_breakhis, 3)
    own, others = kinds_of(images, [change(image) for image in images])
    assert own.count("near copy") >= 0.9 * len(images)
    assert "near copy" not in others


EASY = {"class_signal": 1.0, "patient_effect": 1.0, "noise": 1.0}


@pytest.mark.parametrize(("fields", "least"), [({}, 0.8), (EASY, 0.9)], ids=["default", "easy"])
def test_overlapping_fields_are_no_copies(fields, least):
    """All are found but those whose common part shows hardly more than glass, where there is nothing to compare."""
    pictures = draw_slides(**fields)
    left, right = ([cut(a, 0, b, 0)(image) for image in pictures] for a, b in ((0, 0.4), (0.3, 0.1)))
    own, others = kinds_of(left, right)
    common = [np.asarray(cut(0.3, 0, 0.4, 0)(image).convert("HSV"))[..., 1] / 255 for image in pictures]
    with_tissue = [kind for kind, saturation in zip(own, common, strict=True) if (saturation > 0.12).mean() > 0.2]
    assert set(with_tissue) == {"overlapping field"}
    assert own.count("overlapping field") >= least * NUM_TWINS
    assert set(own) <= {"overlapping field", None}
    assert others == []


@pytest.mark.parametrize("angle", [-150, -40, 15, 100])
def test_the_map_is_measured(angle, twins):
    image = twins[0]
    one, other = (
        find_features(image),
        find_features(rotated(-angle)(cut(0.1, 0.1, 0.1, 0.1)(image).resize(image.size))),
    )
    found = fit_pair([one, other], 0, 1, mirrored=False)
    assert found.angle == pytest.approx(angle, abs=2)
    assert found.scale == pytest.approx(1 / 0.8, rel=0.03)
    assert not found.mirrored
    assert fit_pair([one, other], 0, 1, mirrored=True) is None


def test_the_shared_part_is_measured(twins):
    fields = [cut(0, 0, 0.4, 0)(twins[1]), cut(0.15, 0, 0.25, 0)(twins[1])]
    (found,) = find_overlaps([find_features(field) for field in fields])
    assert found.share == pytest.approx(0.75, abs=0.02)
    assert (found.is_copy, round(found.angle), round(found.scale, 1)) == (False, 0, 1.0)


def test_copies_rotated_alike_are_no_copies_of_each_other(twins):
    """The black corners are the same in all of them."""
    own, others = kinds_of(twins[:4], [rotated(30)(image) for image in twins[4:8]])
    assert own == [None] * 4
    assert others == []


def test_a_label_on_every_image_is_no_overlap(twins):
    pictures = [image.copy() for image in twins[:4]]
    for picture in pictures:
        picture.paste(twins[5].crop((0, 0, 60, 30)), (350, 240))
    assert find_overlaps([find_features(picture) for picture in pictures]) == []


def test_signs_of_a_mirrored_picture_follow_from_those_of_the_picture(twins):
    one, other = (find_features(image) for image in (twins[2], twins[2].transpose(WAYS.FLIP_LEFT_RIGHT)))
    assert fit_pair([one, other], 0, 1, mirrored=True).matches > 100
    assert fit_pair([one, other], 0, 1, mirrored=False) is None


def test_many_copies_of_one_image_are_all_found(twins):
    copies = [cut(0.01 * step, 0.1, 0.1, 0.01 * step)(twins[3]) for step in range(14)]
    found = find_overlaps([find_features(image) for image in copies], nearest=2)
    assert len(found) == math.comb(14, 2)


def test_pictures_without_structure_have_no_features(twins, tmp_path):
    assert find_features(Image.new("RGB", (300, 200), "pink")) is EMPTY
    (tmp_path / "text.png").write_text("no picture")
    images = [{"bytes": None, "path": str(tmp_path / name)} for name in ("text.png", "absent.png")]
    assert describe_all(images) == [EMPTY, EMPTY]
    assert find_overlaps([EMPTY, EMPTY, find_features(twins[0])]) == []
    assert find_overlaps([]) == []


def test_pictures_that_are_too_small_have_no_features():
    noise = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    assert len(find_features(picture).signs) > 0
    assert len(find_features(picture.resize((95, 63))).signs) == 0
