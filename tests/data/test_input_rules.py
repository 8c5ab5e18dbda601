"""Training, verify, predict, the Space and the static page accept the same image files."""

import io
import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hf_breakhis.data import open_image as module
from hf_breakhis.data.integrity.check_image import check_image
from hf_breakhis.data.open_image import EXTENSIONS, FORMATS, MAX_SHARED_PIXELS, NOT_IN_BROWSERS, why_unusable
from hf_breakhis.data.pixels.decode import decode_rgb
from hf_breakhis.files import InputError
from hf_breakhis.hub.page import rules
from hf_breakhis.inference.decode import decode
from hf_breakhis.inference.inputs import InputImage

HEADER = Path(__file__).parents[2] / "model_cards/page/header.js"
COLORS = np.random.default_rng(4).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def saved(form, picture=None, **options):
    stream = io.BytesIO()
    (Image.fromarray(COLORS) if picture is None else picture).save(stream, form, **options)
    return stream.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def deep_png():
    """A PNG of 16 bits a channel, which Pillow opens as RGB."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in COLORS)
    header = struct.pack(">IIBBBBB", 50, 40, 16, 2, 0, 0, 0)
    return module.PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_tiff():
    """A TIFF of 16 bits a channel, which Pillow opens as RGB."""
    pixels = COLORS.astype("<u2").tobytes()
    tags = [(256, 3, 1, 50), (257, 3, 1, 40), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 128),
            (277, 3, 1, 3), (278, 3, 1, 40), (279, 4, 1, len(pixels))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    start = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return start + struct.pack("<HHH", 16, 16, 16).ljust(128 - len(start), b"\0") + pixels


def five_bit_bmp():
    """A BMP of 16 bits a pixel, which Pillow opens as RGB."""
    head = struct.pack("<IiiHHIIiiII", 40, 50, 40, 1, 16, 0, 4000, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 4054, 0, 0, 54) + head + bytes(4000)


def several(form, **options):
    return saved(form, save_all=True, append_images=[Image.fromarray(255 - COLORS)], **options)


def one_frame():
    """A PNG that says that it is an animation, of nothing but its picture."""
    start, end = saved("PNG").split(b"IDAT", 1)
    frame = struct.pack(">IIIIIHHBB", 0, 50, 40, 0, 0, 1, 10, 0, 0)
    return start[:-4] + chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", frame) + start[-4:] + b"IDAT" + end


ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6
PICTURE = Image.fromarray(COLORS)
# Never ends if executed.
ENDLESS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 40\n%%EndComments\n{} loop\n%%EOF\n"
ACCEPTED = {
    **{form: saved(form) for form in FORMATS},
    "smallest": saved("PNG", PICTURE.crop((0, 0, 32, 32))),
    "PNG with a transparent colour": saved("PNG", transparency=(1, 2, 3)),
    "JPEG of a camera, on its side": saved("JPEG", exif=ON_ITS_SIDE),
    "lossless WebP": saved("WEBP", lossless=True),
    "animated PNG of one frame": one_frame(),
    "JPEG with a preview": several("MPO"),
}
REFUSED = {
    "PostScript named .png": ENDLESS,
    "GIF": saved("GIF"),
    "PPM": saved("PPM"),
    "too small": saved("PNG", PICTURE.crop((0, 0, 31, 40))),
    "too small JPEG": saved("JPEG", PICTURE.crop((0, 0, 31, 40))),
    "16-bit PNG": deep_png(),
    "16-bit TIFF": deep_tiff(),
    "5-bit BMP": five_bit_bmp(),
    "16-bit grey": saved("PNG", Image.fromarray(COLORS[..., 0].astype(np.uint16) * 257)),
    "grey": saved("PNG", PICTURE.convert("L")),
    "grey JPEG": saved("JPEG", PICTURE.convert("L")),
    "CMYK": saved("JPEG", PICTURE.convert("CMYK")),
    "palette": saved("PNG", PICTURE.convert("P")),
    "palette BMP": saved("BMP", PICTURE.convert("P")),
    "transparent": saved("PNG", PICTURE.convert("RGBA")),
    "transparent WebP": saved("WEBP", Image.merge("RGBA", [*PICTURE.split(), PICTURE.convert("L")]), lossless=True),
    "TIFF of two pages": several("TIFF"),
    "animated PNG": several("PNG"),
    "animated PNG of one frame beside the picture": several("PNG", default_image=True),
    "animated WebP": several("WEBP", lossless=True),
    "empty": b"",
    "text": b"no image at all, though its name may end so",
    "cut": saved("PNG")[:24],
}
ALL = ACCEPTED | REFUSED


def in_training(content, folder):
    try:
        decode_rgb(content)
    except InputError:
        return False
    return True


def in_verify(content, folder):
    return not check_image(0, {"bytes": content, "path": None}).problem


def in_predict(content, folder):
    try:
        decode(InputImage("x.png", content))
    except InputError:
        return False
    return True


def in_space(content, folder):
    """As app.py does, which has a copy of the module."""
    shutil.copyfile(module.__file__, folder / "open_image.py")
    assert "hf_breakhis" not in (folder / "open_image.py").read_text()
    return not why_unusable(content, MAX_SHARED_PIXELS)


def in_page(content, folder):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    (folder / "image").write_bytes(content)
    shutil.copyfile(HEADER, folder / "header.mjs")
    (folder / "look.mjs").write_text(
        "import { readFileSync } from 'fs';\nimport { look, Polite } from './header.mjs';\n"
        "const bytes = readFileSync('image');\n"
        "const content = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);\n"
        f"try {{ look(content, 'image', {json.dumps(rules())}); console.log('accepted'); }}\n"
        "catch (error) { if (!(error instanceof Polite)) throw error; console.log('refused'); }\n"
    )
    done = subprocess.run(["node", "look.mjs"], cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout == "accepted\n"


@pytest.mark.parametrize("consumer", [in_training, in_verify, in_predict, in_space, in_page])
@pytest.mark.parametrize("kind", ALL)
def test_the_same_files_are_accepted_everywhere(consumer, kind, tmp_path):
    expected = kind in ACCEPTED and not (consumer is in_page and kind in NOT_IN_BROWSERS)
    assert consumer(ALL[kind], tmp_path) == expected


@pytest.mark.parametrize("kind", ["16-bit PNG", "16-bit TIFF", "5-bit BMP"])
def test_pillow_shows_other_depths_as_8_bit_rgb(kind):
    with Image.open(io.BytesIO(ALL[kind])) as picture:
        picture.load()
        assert (picture.mode, picture.size) == ("RGB", (50, 40))
    assert why_unusable(ALL[kind]) == f"has {kind.partition('-')[0]} bits a channel"


def test_the_static_page_reads_each_format_that_it_names():
    text = HEADER.read_text(encoding="utf-8")
    readers = text.partition("READERS = {")[2].partition("}")[0].split(",")
    assert [reader.partition(":")[0].strip() for reader in readers] == rules()["formats"]
    assert set(FORMATS) - set(rules()["formats"]) == set(NOT_IN_BROWSERS)


def test_extensions_belong_to_one_format_and_are_pillows():
    known = Image.registered_extensions()
    assert {extension: known[extension] for extension in EXTENSIONS} == {
        extension: form for form, extensions in FORMATS.items() for extension in extensions
    }
