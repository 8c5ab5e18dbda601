"""Pixels are decoded ahead, in order and never too many; bombs are named and not decoded."""

import io
import itertools
import threading
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from hf_breakhis.files import InputError
from hf_breakhis.inference import decode as pixels
from hf_breakhis.inference.decode import MAX_PIXELS, decode, decode_all
from hf_breakhis.inference.inputs import InputImage, Unreadable


def encoded(form, size=(39, 37), mode="RGB"):
    stream = io.BytesIO()
    options = {"compression": "group4"} if mode == "1" else {}
    Image.new(mode, size).save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_images_of_each_format_are_decoded(form):
    assert decode(InputImage("a", encoded(form))).shape == (37, 39, 3)


@pytest.mark.parametrize("form", ["GIF", "PPM", "EPS"])
def test_other_formats_are_not_even_tried(form):
    with pytest.raises(InputError, match="is not an image in one of the formats PNG, JPEG, TIFF, WebP, BMP"):
        decode(InputImage("a.png", encoded(form)))


@pytest.mark.parametrize("side", [9_500, 15_000], ids=["Pillow warns", "Pillow refuses"])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("filtered", ["error", "ignore"])
def test_a_bomb_is_named_and_not_decoded(monkeypatch, side, form, filtered):
    assert side**2 > MAX_PIXELS
    bomb = encoded(form, (side, side), "1")
    assert len(bomb) < 200_000
    monkeypatch.setattr(pixels, "decode_rgb", lambda *_: pytest.fail("it was decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter(filtered, Image.DecompressionBombWarning)
        with pytest.raises(InputError, match="is far too large"):
            decode(InputImage("bomb", bomb))


def test_the_largest_image_allowed_is_below_what_pillow_warns_of():
    assert MAX_PIXELS < Image.MAX_IMAGE_PIXELS


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "MAX_BYTES", 2**20)
    path = tmp_path / "large.png"
    path.write_bytes(b"")
    with path.open("r+b") as stream:
        stream.truncate(2**30)
    with pytest.raises(InputError, match="larger than"):
        decode(InputImage(str(path)))


def test_results_keep_the_order_whatever_their_time():
    contents = [encoded("PNG", (i + 32, 32)) for i in range(12)]

    def slow(image):
        time.sleep(0.02 if image.shape[1] % 3 == 0 else 0)
        return image.shape[1]

    found = [InputImage(str(i), content) for i, content in enumerate(contents)]
    found.insert(4, Unreadable("bad", "why"))
    result = list(decode_all(found, slow, 4, 6))
    assert result[4] == found[4]
    assert [one[1] for one in result if not isinstance(one, Unreadable)] == list(range(32, 44))


def test_no_more_images_are_taken_than_are_asked_for_ahead():
    taken = itertools.count()
    content = encoded("PNG")
    endless = (InputImage(str(next(taken)), content) for _ in itertools.repeat(None))
    stream = decode_all(endless, np.sum, 2, 5)
    for _ in range(20):
        next(stream)
    stream.close()
    assert next(taken) <= 20 + 5


def test_images_are_decoded_while_others_are_used():
    here = threading.get_ident()
    threads = set()
    found = [InputImage(str(i), encoded("PNG")) for i in range(8)]
    list(decode_all(found, lambda _: threads.add(threading.get_ident()), 2, 4))
    assert here not in threads


def test_a_decoder_that_fails_oddly_costs_one_image(monkeypatch):
    odd = encoded("PNG", (50, 50))

    def fail_once(content, called):
        if content == odd:
            raise IndexError("odd")
        return np.zeros((1, 1, 3), np.uint8)

    monkeypatch.setattr(pixels, "decode_rgb", fail_once)
    found = [InputImage("a", odd), InputImage("b", encoded("PNG"))]
    first, second = decode_all(found, np.sum, 1, 2)
    assert "IndexError: odd" in first.reason
    assert second[0].path == "b"


def test_a_fault_in_preparing_is_no_fault_of_the_image():
    with pytest.raises(ZeroDivisionError):
        list(decode_all([InputImage("a", encoded("PNG"))], lambda _: 1 / 0, 1, 2))
