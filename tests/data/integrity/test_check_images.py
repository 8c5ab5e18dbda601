"""Every unusable image is named with what is wrong; every oddity is told; colours are those of the pixels."""

import io
import os
import struct
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hf_breakhis.data.integrity.check_images import COLORS, check_image, check_images
from hf_breakhis.data.open_image import open_image
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError


@pytest.fixture
def one(small_breakhis):
    """The path of one image of the small BreakHis."""
    return min(small_breakhis.rglob("*.png"))


@pytest.fixture
def check(small_breakhis, data_args):
    return lambda: check_images(load_images(data_args(small_breakhis)), num_threads=1)


def png(array, mode=None):
    stream = io.BytesIO()
    Image.fromarray(array, mode).save(stream, "PNG")
    return stream.getvalue()


def png_of_16_bit_rgb(side=40):
    """Pillow cannot write one."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(side * 6)) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


NOISE = np.random.default_rng(0).integers(0, 256, (46, 70, 4), dtype=np.uint8)
WHOLE = png(NOISE[..., :3].copy())
BAD = {
    "empty": (b"", "is empty"),
    "text": (b"this is no picture", "is not an image"),
    "cut in the middle": (WHOLE[: len(WHOLE) // 2], "is cut short"),
    "without its end": (WHOLE[:-12], "is cut short"),
    "a flipped bit": (WHOLE[:5000] + bytes([WHOLE[5000] ^ 1]) + WHOLE[5001:], "is damaged (wrong checksum)"),
    "grey": (png(NOISE[..., 0].copy()), "is grey, not RGB"),
    "RGBA": (png(NOISE), "is RGB with transparency, not RGB"),
    "16 bits grey": (png(NOISE[..., 0].astype(np.uint16)), "has 16 bits a channel"),
    "16 bits RGB": (png_of_16_bit_rgb(), "has 16 bits a channel"),
    "one pixel": (png(np.zeros((1, 1, 3), np.uint8)), "is 1x1 pixels, less than 32 a side"),
    "a strip": (png(np.zeros((31, 700, 3), np.uint8)), "is 700x31 pixels, less than 32 a side"),
    "a bomb": (WHOLE[:16] + struct.pack(">II", 2**20, 2**20) + WHOLE[24:], "is far too large"),
}


@pytest.mark.parametrize(("content", "problem"), BAD.values(), ids=BAD)
def test_an_unusable_image_is_named_with_what_is_wrong(check, one, content, problem):
    one.write_bytes(content)
    findings = check()
    assert list(findings.unusable) == [one.name]
    with pytest.raises(InputError) as caught:
        findings.raise_if_unusable()
    message = str(caught.value)
    assert message.startswith(f"1 image cannot be used: {one.name} {problem}")
    assert "convert them to 8-bit RGB PNG, or delete them" in message
    assert "\n" not in message


def test_a_palette_image_is_unusable(check, one):
    with Image.open(one) as picture:
        palette = picture.quantize(16)
    palette.save(one)
    assert check().unusable == {one.name: "is a palette image, not RGB"}


def test_a_file_that_vanished_is_named(small_breakhis, data_args, one):
    images = load_images(data_args(small_breakhis))
    one.unlink()
    assert check_images(images).unusable == {one.name: "cannot be read (No such file or directory)"}


def test_three_of_many_are_named(check, small_breakhis):
    for path in small_breakhis.rglob("*-40-*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"^12 images cannot be used: .*\.png is empty and 9 more\. "):
        check().raise_if_unusable()


def test_good_images_raise_nothing(check):
    findings = check()
    findings.raise_if_unusable()
    assert findings.findings == []


def test_another_size_is_told_and_used(check, one, draw_png):
    draw_png(one, (80, 46))
    findings = check()
    assert findings.unusable == {}
    assert findings.findings == [f"Of another size than 70x46: {one.name} (80x46)."]


def test_a_jpeg_named_png_is_told(check, one, draw_png):
    Image.new("RGB", (70, 46)).save(one, "JPEG")
    assert check().findings == [f"Of another format than PNG: {one.name} (JPEG)."]


def test_a_generated_image_among_real_ones_is_told(check, small_breakhis):
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text("Software", "hf_breakhis twin 1")
    last = max(small_breakhis.rglob("*.png"), key=lambda path: path.name)
    with Image.open(last) as picture:
        picture.load()
    picture.save(last, pnginfo=mark)
    assert check().findings == [f"Generated images (twin) among real ones: {last.name}."]


def test_colors_are_those_of_the_pixels(small_breakhis, data_args):
    images = load_images(data_args(small_breakhis))
    colors = check_images(images).colors
    assert list(colors.columns) == ["file_name", *COLORS]
    assert list(colors["file_name"]) == list(images.dataset["file_name"])
    for (_, row), image in zip(colors.iterrows(), images.dataset["image"], strict=True):
        pixels = np.asarray(open_image(image["path"])).reshape(-1, 3) / 255
        expected = [*pixels.mean(0), *pixels.std(0)]
        np.testing.assert_allclose(row[list(COLORS)].to_numpy(float), expected, rtol=1e-12)


def test_real_images_have_no_finding(real_breakhis, data_args):
    findings = check_images(load_images(data_args(real_breakhis)))
    assert (findings.findings, findings.unusable, len(findings.colors)) == ([], {}, 63)


def test_unchanged_files_are_decoded_once(check, monkeypatch):
    first = check()
    with monkeypatch.context() as patch:
        patch.setattr("hf_breakhis.data.integrity.check_images.check_image", None)
        again = check()
    pd.testing.assert_frame_equal(again.colors, first.colors, check_exact=True)


def test_a_changed_file_is_decoded_again(check, one):
    check()
    state = one.stat()
    one.write_bytes(bytes(state.st_size))
    os.utime(one, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert list(check().unusable) == [one.name]


def test_a_memory_of_another_form_counts_as_nothing(own_cache, check):
    first = check()
    newest = max(own_cache.rglob("checked-*.arrow"), key=lambda path: path.stat().st_mtime_ns)
    for strange in (b"", b"ARROW1", pa.ipc.new_stream):
        newest.unlink()
        if callable(strange):
            with pa.ipc.new_file(str(newest), pa.schema({"key": pa.string()})) as file:
                file.write_table(pa.table({"key": ["x"]}))
        else:
            newest.write_bytes(strange)
        assert check().colors.equals(first.colors)


@given(st.data())
def test_damage_is_found_or_harmless_and_never_a_crash(data):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    checked = check_image(1, {"bytes": bytes(content), "path": None})
    assert checked.problem or bytes(content) == WHOLE


@given(st.integers(0, len(WHOLE) - 1))
def test_every_cut_is_found(length):
    assert check_image(1, {"bytes": WHOLE[:length], "path": None}).problem
