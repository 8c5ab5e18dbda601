"""Whatever stands in the headers of an archive: pictures come out, or one line says what is wrong."""

import io
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hf_breakhis.data.integrity.check_images import check_image
from hf_breakhis.data.sources.archive import walk_archive
from hf_breakhis.files import InputError
from hf_breakhis.inference.decode import decode_all
from hf_breakhis.inference.inputs import InputImage, Unreadable

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = ("path", "size", "mtime", "linkpath", "hdrcharset", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.name",
        "GNU.sparse.realsize", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.numblocks")  # fmt: skip
VALUES = ("", "x", "0", "1", "-1", "600", "nan", "0,600", "a,b", "9" * 30, "../x.png", "/x.png", "a\nb.png", "BINARY")


def places(path):
    """Return the places of what comes out, or None where the archive was refused in one line."""
    try:
        return [place for place, _ in walk_archive(path)]
    except InputError as error:
        message = str(error)
    assert message.isprintable()
    return None


def require_inside(found):
    assert not any(place.startswith("/") or ".." in place.split("/") for place in found or ())


def write_tar(path, headers, name="a.png", kind=tarfile.REGTYPE, content=bytes(600)):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size, info.type, info.pax_headers = len(content), kind, headers
        archive.addfile(info, io.BytesIO(content))
    return path


@FUZZ
@given(
    headers=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES) | st.text("0123456789,-.ax/", max_size=9)),
    content=st.sampled_from([bytes(600), b"1\n0\n600\n" + bytes(600), b"x\n" * 300]),
)
def test_any_header_of_a_tar_is_harmless(headers, content, tmp_path):
    require_inside(places(write_tar(tmp_path / "a.tar", headers, content=content)))


@FUZZ
@given(name=st.text("a/.\\:\n\x1b\0é\u202e ", min_size=1, max_size=12), kind=st.sampled_from("01234567gxLK"))
def test_any_name_and_kind_of_member_is_harmless(name, kind, tmp_path):
    require_inside(places(write_tar(tmp_path / "a.tar", {}, f"{name}.png", kind.encode())))


@FUZZ
@given(content=st.binary(max_size=400), form=st.sampled_from([b"\x1f\x8b\x08", b"PK\x03\x04", b"PK\x05\x06", b""]))
def test_any_bytes_are_no_archive(content, form, tmp_path):
    (tmp_path / "a").write_bytes(form + content)
    assert places(tmp_path / "a") is None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@settings(FUZZ, max_examples=50)
@given(data=st.data())
def test_a_damaged_zip_of_any_compression_is_harmless(method, data, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.png", bytes(300))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.zip").write_bytes(bytes(content))
    require_inside(places(tmp_path / "a.zip"))


def test_a_sparse_header_without_numbers_is_damage(tmp_path):
    with pytest.raises(InputError, match="is cut short or damaged"):
        list(walk_archive(write_tar(tmp_path / "a.tar", {"GNU.sparse.size": "x"})))
    assert places(write_tar(tmp_path / "b.tar", {})) == ["a.png"]  # without it the archive is whole


def picture(form):
    stream = io.BytesIO()
    Image.effect_noise((40, 40), 50).convert("RGB").save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM", "ICO"])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it mends
@settings(FUZZ, max_examples=40)
@given(data=st.data())
def test_a_damaged_picture_of_any_kind_is_told_and_no_more(form, data):
    """At the door of a run and at that of `predict`."""
    content = bytearray(picture(form))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content) - 1, 400)))] = data.draw(st.integers(0, 255))
    checked = check_image("key", {"bytes": bytes(content), "path": "a"})
    assert checked.problem or checked.mode == "RGB", "a size of another number is a picture still"
    (found,) = decode_all([InputImage("a", bytes(content))], lambda pixels: pixels.shape, 1, 1)
    assert isinstance(found, Unreadable) or found[1][2] == 3
