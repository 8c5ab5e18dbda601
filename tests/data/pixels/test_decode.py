"""Two decoders, one result: the same pixels, and the same files refused in the same words."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_breakhis.data.pixels import decode as png
from hf_breakhis.data.pixels.decode import decode_rgb
from hf_breakhis.files import InputError

needs_fast = pytest.mark.skipif(not png.HAS_FAST, reason="kornia-rs is not installed (extra `fast`)")


def picture(width=70, height=46, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encode(image, form="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width, height, depth=8, color=2, interlaced=0):
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    )


def interlaced(pixels):
    """Write pixels in the seven passes of Adam7, which Pillow reads but does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = b"".join(b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx])
    height, width = pixels.shape[:2]
    return header(width, height, interlaced=1) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def after_header(content, kind, extra):
    return content[:33] + chunk(kind, extra) + content[33:]


def flipped(content):
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


PLAIN = encode(picture())
FILES = {
    "plain": PLAIN,
    "uncompressed": encode(picture(), compress_level=0),
    "interlaced": interlaced(np.asarray(picture())),
    "transparent colour": encode(picture(), transparency=(1, 2, 3)),
    "gamma": after_header(PLAIN, b"gAMA", struct.pack(">I", 45455)),
    "profile": after_header(PLAIN, b"iCCP", b"x\0\0" + zlib.compress(b"none")),
    "text": after_header(PLAIN, b"tEXt", b"Software\0test"),
    "jpeg": encode(picture(), "JPEG"),
    "grey": encode(picture().convert("L")),
    "palette": encode(picture().convert("P")),
    "transparent": encode(picture().convert("RGBA")),
    "16 bit": header(1, 1, depth=16) + chunk(b"IDAT", zlib.compress(b"\0" + b"\1\2" * 3)) + chunk(b"IEND", b""),
    "cut": PLAIN[: len(PLAIN) // 2],
    "cut in the header": PLAIN[:20],
    "without its end": PLAIN[:-12],
    "damaged": flipped(PLAIN),
    "no side": header(0, 4) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""),
    "empty": b"",
    "a text": b"not an image at all",
}


def outcome(content):
    try:
        return decode_rgb(content, "x.png").tolist()
    except InputError as error:
        return str(error)


@needs_fast
@pytest.mark.parametrize("name", FILES)
def test_with_and_without_the_fast_decoder_the_outcome_is_the_same(name, monkeypatch):
    fast = outcome(FILES[name])
    monkeypatch.setattr(png, "HAS_FAST", False)
    slow = outcome(FILES[name])
    if isinstance(slow, str):  # Pillow's words hold the address of the stream
        assert isinstance(fast, str)
        assert fast.partition("(")[0] == slow.partition("(")[0]
    else:
        assert fast == slow


@needs_fast
@settings(max_examples=40, deadline=None)
@given(width=st.integers(32, 120), height=st.integers(32, 120), seed=st.integers(0, 99), level=st.integers(0, 9))
def test_decoders_agree_on_pictures_of_any_size(width, height, seed, level):
    original = picture(width, height, seed)
    smooth = original.resize((width, height), Image.Resampling.BOX, reducing_gap=None).rotate(7)
    for image in (original, smooth):
        content = encode(image, compress_level=level)
        fast = png._decode_fast(content)
        assert fast is not None
        assert np.array_equal(fast, np.asarray(image))
        assert np.array_equal(png._decode_pillow(content, "x"), np.asarray(image))


@needs_fast
def test_decoders_agree_on_real_images(real_breakhis):
    for path in sorted(real_breakhis.rglob("*.png"))[::6]:
        content = path.read_bytes()
        assert np.array_equal(png._decode_fast(content), png._decode_pillow(content, "x"))


@pytest.mark.parametrize("fast", [pytest.param(True, marks=needs_fast), False])
def test_pixels_are_writable_rows_of_three_bytes(fast, monkeypatch):
    monkeypatch.setattr(png, "HAS_FAST", fast)
    pixels = decode_rgb(PLAIN)
    assert (pixels.shape, pixels.dtype) == ((46, 70, 3), np.uint8)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


def test_the_fast_decoder_leaves_all_but_rgb_of_8_bits_to_pillow():
    for name in ("grey", "palette", "transparent", "16 bit", "jpeg", "empty", "a text", "cut in the header"):
        assert png._decode_fast(FILES[name]) is None


@needs_fast
def test_only_what_the_fast_decoder_cannot_decode_goes_to_pillow(monkeypatch):
    """A decoder called in a wrong way would else cost speed for ever, and say nothing."""

    def broken(*given):
        raise TypeError("takes two arguments")

    damaged = bytearray(PLAIN)
    damaged[40] ^= 1
    assert png._decode_fast(PLAIN) is not None
    assert png._decode_fast(bytes(damaged)) is None
    monkeypatch.setattr("kornia_rs.io.decode_image_png_u8", broken)
    with pytest.raises(TypeError, match="takes two arguments"):
        png._decode_fast(PLAIN)


def test_a_refusal_says_which_and_what_to_do():
    with pytest.raises(InputError, match=r"^x\.png is grey, not RGB; give one 8-bit RGB image of a usable size\.$"):
        decode_rgb(FILES["grey"], "x.png")
    with pytest.raises(InputError, match=r"^x\.png is cut short or damaged .*fetch the original file again\.$"):
        decode_rgb(FILES["cut"], "x.png")


def test_the_decoder_in_use_is_told(monkeypatch):
    monkeypatch.setattr(png, "HAS_FAST", False)
    assert png.decoder() == "Pillow"
