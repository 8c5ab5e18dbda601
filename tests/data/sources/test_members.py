"""A tar and a zip give what the .tar.gz gives, and none of the three can do harm."""

import contextlib
import gzip
import io
import stat
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.sources import archive as members
from hf_breakhis.data.sources.archive import archive_form, walk_archive
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError

FORMS = ("tar.gz", "tar", "zip")
PLACE = parse_file_name("SOB_B_A-14-22549AB-40-001.png").path


def pack(path, form, files):
    """Write an archive of (place, content) pairs, in their order."""
    if form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for place, content in files:
                archive.writestr(place, content)
        return path
    with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as archive:
        for place, content in files:
            info = tarfile.TarInfo(place)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def files_of(folder):
    return [(str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*.png"))]


def refusal(path):
    with pytest.raises(InputError) as caught:
        list(walk_archive(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_rows_and_bytes_of_the_folder(tmp_path, small_breakhis, data_args, form):
    # Named like none of the three: what is in the file counts.
    images = load_images(data_args(pack(tmp_path / "download", form, files_of(small_breakhis))))
    folder = load_images(data_args(small_breakhis))
    assert archive_form(tmp_path / "download") == form
    assert images.dataset.remove_columns("image").to_list() == folder.dataset.remove_columns("image").to_list()
    assert (images.source, images.warnings, images.findings) == (folder.source, folder.warnings, folder.findings)
    contents = {place.rpartition("/")[2]: content for place, content in walk_archive(tmp_path / "download")}
    assert contents == {path.name: path.read_bytes() for path in small_breakhis.rglob("*.png")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_every_form_cut_short_is_refused(tmp_path, small_breakhis, form, share):
    path = pack(tmp_path / "archive", form, files_of(small_breakhis))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "is cut short" in refusal(path)


def test_a_plain_tar_cut_between_two_members_is_refused(tmp_path, small_breakhis):
    path = pack(tmp_path / "archive.tar", "tar", files_of(small_breakhis))
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:last])
    assert "is cut short (it has no end)" in refusal(path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["/etc/evil.png", "../evil.png", "a/../../evil.png", "C:/evil.png", "a\\..\\e.png"])
def test_a_member_that_leaves_the_archive_is_refused(tmp_path, form, place):
    message = refusal(pack(tmp_path / "archive", form, [(PLACE, b"good"), (place, b"evil")]))
    assert "leaves the archive" in message
    assert repr(place) in message


def test_an_encrypted_zip_is_refused(tmp_path):
    path = pack(tmp_path / "archive.zip", "zip", [(PLACE, b"secret")])
    content = bytearray(path.read_bytes())
    content[6] |= 1  # of the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # of the directory
    path.write_bytes(bytes(content))
    assert "is encrypted" in refusal(path)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [(8, 9, "compression method is not supported"), (6, 1 << 5, "patched data"), (6, 1 << 6, "strong encryption")],
    ids=["deflate64", "patched", "strong encryption"],
)
def test_a_zip_of_a_kind_that_python_cannot_read_is_not_called_damaged(tmp_path, at, value, words):
    path = pack(tmp_path / "archive.zip", "zip", [(PLACE, b"good")])
    content = bytearray(path.read_bytes())
    assert [name for name, _ in walk_archive(path)] == [PLACE]
    content[at] |= value  # of the local header
    content[content.index(b"PK\x01\x02") + at + 2] |= value  # of the directory
    path.write_bytes(bytes(content))
    message = refusal(path)
    assert "cannot be read" in message
    assert words in message
    assert "damaged" not in message


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_device_in_a_zip_is_refused(tmp_path, kind):
    info = zipfile.ZipInfo("BreaKHis_v1/link.png")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert "is a link or a device" in refusal(tmp_path / "archive.zip")


def test_a_flipped_bit_in_a_zip_is_seen(tmp_path, small_breakhis):
    path = pack(tmp_path / "archive.zip", "zip", files_of(small_breakhis))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert "is cut short or damaged" in refusal(path)


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_too_large_for_memory_is_refused_unread(tmp_path, form, monkeypatch):
    monkeypatch.setattr(members, "MAX_MEMBER_BYTES", 2**20)
    path = pack(tmp_path / "archive", form, [(PLACE, bytes(2**20 + 1))])
    assert "is larger than 1 MiB" in refusal(path)


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_unpacks_without_end_is_refused(tmp_path, form, monkeypatch):
    monkeypatch.setattr(members, "MAX_TOTAL_BYTES", 2**20)
    path = pack(tmp_path / "archive", form, [(PLACE, b"good"), ("a.bin", bytes(2**19)), ("b.bin", bytes(2**19))])
    assert "unpacks to more than" in refusal(path)


def test_a_header_as_large_as_memory_is_refused(tmp_path):
    """A tar can hold names of any length, which tarfile would read at once."""
    path = tmp_path / "archive.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(PLACE)
        info.pax_headers = {"comment": "x" * (members.MAX_HEADER_BYTES + 2**16)}
        archive.addfile(info)
    assert "an oversized header or tail" in refusal(path)


def test_a_tail_without_end_is_refused(tmp_path):
    path = pack(tmp_path / "archive.tar.gz", "tar.gz", [(PLACE, b"good")])
    content = gzip.decompress(path.read_bytes()) + bytes(2 * members.MAX_HEADER_BYTES)
    path.write_bytes(gzip.compress(content))
    assert "an oversized header or tail" in refusal(path)


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_without_pictures_is_refused(tmp_path, form):
    assert "holds no image" in refusal(pack(tmp_path / "archive", form, [("notes.txt", b"text")]))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_is_harmless(tmp_path, form, data):
    """Whatever is changed: pictures come out, or an InputError says what is wrong."""
    path = pack(tmp_path / f"archive.{form}", form, [(PLACE, b"good" * 50), ("x/notes.txt", b"text")])
    content = bytearray(path.read_bytes())
    if form == "tar":
        del content[3072 + 1024 :]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    with contextlib.suppress(InputError):
        list(walk_archive(path))


@pytest.mark.parametrize("form", FORMS)
def test_the_number_of_members_is_bounded(tmp_path, form, monkeypatch):
    files = [(PLACE.replace("001", f"{i:03d}"), b"") for i in range(1, 5)]
    monkeypatch.setattr(members, "MAX_MEMBERS", 3)
    assert "has more than 3 members. Unpack it" in refusal(pack(tmp_path / "a", form, files))
    assert len(list(walk_archive(pack(tmp_path / "b", form, files[:3])))) == 3


def test_the_list_of_a_zip_is_bounded_before_it_is_read(tmp_path, monkeypatch):
    files = [(PLACE.replace("001", f"{i:03d}"), b"") for i in range(1, 5)]
    monkeypatch.setattr(members, "MAX_DIRECTORY_BYTES", 300)
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda _self: pytest.fail("the list was read"))
    assert "has a list of members of" in refusal(pack(tmp_path / "a", "zip", files))


def test_a_tar_keeps_no_list_of_its_members(tmp_path, monkeypatch):
    kept = []
    real = tarfile.TarFile.next

    def count(archive):
        kept.append(len(archive.members))
        return real(archive)

    monkeypatch.setattr(tarfile.TarFile, "next", count)
    files = [(PLACE.replace("001", f"{i:03d}"), b"") for i in range(1, 30)]
    list(walk_archive(pack(tmp_path / "a", "tar", files)))
    assert max(kept) <= 1
