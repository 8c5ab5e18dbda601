"""A copy is found however it was changed and laid down; other pictures are not."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from hf_breakhis.data.integrity import waves
from hf_breakhis.data.integrity.duplicates import copies_across_parts, find_copies
from hf_breakhis.data.integrity.waves import THRESHOLD, TURNS, near_pairs, shape_code
from hf_breakhis.files import InputError


def picture(seed, size=(140, 92)):
    """A smooth random field, with detail down to an eighth of the frame."""
    noise = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def lay(image, turn):
    """Lay an image down so that `TURNS[turn]` of it is the original again."""
    ways = Image.Transpose
    undo = (
        None, ways.FLIP_LEFT_RIGHT, ways.FLIP_TOP_BOTTOM, ways.ROTATE_180,
        ways.TRANSPOSE, ways.ROTATE_90, ways.ROTATE_270, ways.TRANSVERSE,
    )[turn]  # fmt: skip
    return image if undo is None else image.transpose(undo)


CHANGES = {
    "nothing": lambda image: image,
    "jpeg": lambda image: jpeg(image, 50),
    "half the size": lambda image: image.resize((70, 46)),
    "squashed to a square": lambda image: image.resize((96, 96)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "paler": lambda image: ImageEnhance.Color(image).enhance(0.7),
    "stain": lambda image: Image.fromarray((255 * (np.asarray(image) / 255) ** [1.1, 0.9, 1.0]).astype(np.uint8)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("turn", range(8))
def test_a_changed_copy_is_near_and_its_turn_is_told(change, turn):
    image = picture(0)
    ((i, j, distance, found),) = near_pairs([shape_code(image), shape_code(lay(change(image), turn))])
    assert (i, j, found) == (0, 1, turn)
    assert distance <= THRESHOLD / 2


def test_turns_are_told_apart():
    codes = [shape_code(lay(picture(0), turn)) for turn in range(8)]
    assert len(set(codes)) == len(TURNS) == 8


def test_other_pictures_are_far():
    codes = [shape_code(picture(seed)) for seed in range(40)]
    assert near_pairs(codes) == []
    assert min(distance for *_, distance, _ in near_pairs(codes, threshold=255)) > THRESHOLD + 16


def test_a_frame_without_structure_is_near_to_nothing():
    code = shape_code(Image.new("RGB", (70, 46), "pink"))
    assert code == ""
    assert near_pairs([code, code, shape_code(picture(0))]) == []


def code_of(bits):
    """Return the code of 16x16 signs; written apart from the package, loop by loop."""
    parts = [bits[row::2, column::2].ravel() for row in (0, 1) for column in (0, 1)]
    return "".join(f"{int(''.join(map(str, part)), 2):016x}" for part in parts)


def slow_distance(a, b):
    """Return the least distance of sign tables over the eight ways to lay the second down."""
    odd = np.arange(16) % 2
    forms = [
        form ^ (rows * odd[:, None] ^ columns * odd) for form in (b, b.T) for rows in (0, 1) for columns in (0, 1)
    ]
    return min(int((a != form).sum()) for form in forms)


@given(st.integers(0, 2**32), st.integers(2, 5), st.integers(60, 130))
def test_distances_equal_those_counted_one_by_one(seed, number, threshold):
    tables = np.random.default_rng(seed).integers(0, 2, (number, 16, 16))
    tables[:, 0, 0] = 0
    expected = {
        (i, j): slow_distance(tables[i], tables[j])
        for i in range(number)
        for j in range(i + 1, number)
        if slow_distance(tables[i], tables[j]) <= threshold
    }
    found = near_pairs([code_of(table) for table in tables], threshold)
    assert {(i, j): distance for i, j, distance, _ in found} == expected


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    codes = [rng.bytes(32).hex() for _ in range(60)] + [""] + [shape_code(picture(1))] * 2
    codes = [code and f"{int(code[0], 16) & 7:x}{code[1:]}" for code in codes]
    whole = near_pairs(codes, 105)
    monkeypatch.setattr(waves, "_ROWS", 7)
    monkeypatch.setattr(waves, "_COLUMNS", 5)
    assert sorted(near_pairs(codes, 105)) == sorted(whole)
    assert (61, 62, 0, 0) in whole
    assert len(whole) > 20


@pytest.fixture
def files():
    """Six images: 0 and 1 one file, 2 the same pixels, 3 a near copy, 4 another picture, 5 flat as 6."""
    code, near, other = (shape_code(image) for image in (picture(0), lay(jpeg(picture(0), 60), 1), picture(1)))
    return pd.DataFrame(
        {
            "file_name": list("abcdefg"),
            "label": [0, 0, 0, 1, 1, 0, 0],
            "specimen_id": ["x", "x", "y", "z", "z", None, "y"],
            "content_sha256": ["1", "1", "2", "3", "4", "5", "5"],
            "pixels_sha256": ["p", "p", "p", "q", "r", "s", "s"],
            "shape": [code, code, code, near, other, "", ""],
        }
    )


def test_every_pair_is_told_once_as_the_closest_kind(files):
    pairs = find_copies(files)
    kinds = dict(zip(pairs["a"] + pairs["b"], pairs["kind"], strict=True))
    same, pixels, near = "same file", "same pixels", "near copy"
    assert kinds == {"ab": same, "ac": pixels, "bc": pixels, "ad": near, "bd": near, "cd": near, "fg": same}
    assert pairs[pairs["kind"] != "near copy"]["distance"].eq(0).all()
    assert set(pairs[pairs["kind"] == "near copy"]["turn"]) == {"mirrored left to right"}


def test_pairs_say_whether_specimen_and_label_are_the_same(files):
    pairs = find_copies(files).set_index(["a", "b"])
    assert pairs["same_specimen"].to_dict()[("a", "b")] is True
    assert pairs["same_specimen"].to_dict()[("b", "c")] is False
    assert pairs["same_specimen"].to_dict()[("f", "g")] is None
    assert not pairs["same_label"][("a", "d")]
    assert pairs["same_label"][("a", "c")]


def test_images_that_cannot_be_used_are_copies_of_nothing(files):
    files["content_sha256"] = files["pixels_sha256"] = files["shape"] = ""
    pairs = find_copies(files)
    assert len(pairs) == 0
    assert list(pairs.columns) == ["a", "b", "kind", "distance", "shared", "turn", "same_specimen", "same_label"]


def test_a_pair_counts_for_each_fold_that_divides_it(files):
    parts = {0: ["train", "test", "test", "test"], 1: ["test", "train", "train", "train"], 2: ["test"] * 4}
    folds = pd.DataFrame(
        [(name, fold, part) for fold, row in parts.items() for name, part in zip("abcd", row, strict=True)],
        columns=["file_name", "fold", "part"],
    )
    across = copies_across_parts(find_copies(files), folds)
    assert sorted(zip(across["fold"], across["a"] + across["b"], strict=True)) == [
        (fold, pair) for fold in (0, 1) for pair in ("ab", "ac", "ad")
    ]
    assert across["part_a"].tolist() == [{0: "train", 1: "test"}[fold] for fold in across["fold"]]


def test_too_many_pairs_end_in_one_line(files, monkeypatch):
    monkeypatch.setattr(waves, "MAX_PAIRS", 3)
    with pytest.raises(InputError, match=r"^More than 3 pairs of images are copies of each other"):
        find_copies(files)
