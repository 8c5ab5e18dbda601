"""The archive gives the same rows and the same bytes as the folder it was made from, or one line that says why not."""

import gzip
import io
import tarfile

import datasets
import pytest

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.sources.archive import walk_archive
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError


@pytest.fixture
def pack(tmp_path, small_breakhis):
    """Pack the small BreakHis, and then more members, into a .tar.gz: `pack([(TarInfo, bytes), ...])`."""

    def build(members=(), name="BreaKHis_v1.tar.gz"):
        path = tmp_path / name
        with tarfile.open(path, "w:gz") as archive:
            archive.add(small_breakhis / "BreaKHis_v1", "BreaKHis_v1")
            for info, content in members:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return build


def refusal(args):
    with pytest.raises(InputError) as caught:
        load_images(args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_archive_and_folder_give_the_same_rows(pack, small_breakhis, data_args):
    packed = load_images(data_args(pack()))
    folder = load_images(data_args(small_breakhis))
    raw = packed.dataset.cast_column("image", datasets.Image(decode=False))
    for row, image in zip(folder.dataset.remove_columns("image"), raw, strict=True):
        content = image.pop("image")["bytes"]
        assert image == row
        assert content == (small_breakhis / parse_file_name(row["file_name"]).path).read_bytes()
    assert (packed.warnings, packed.findings, packed.source) == (folder.warnings, folder.findings, folder.source)


def test_real_images_come_through_an_archive(tmp_path, real_breakhis, data_args):
    path = tmp_path / "real.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as archive:
        archive.add(real_breakhis / "BreaKHis_v1", "BreaKHis_v1")
    images = load_images(data_args(path))
    folder = load_images(data_args(real_breakhis))
    assert images.dataset.remove_columns("image").to_list() == folder.dataset.remove_columns("image").to_list()


def test_an_archive_is_read_once_and_again_when_it_changes(pack, data_args, monkeypatch):
    args = data_args(pack())
    first = load_images(args)
    with monkeypatch.context() as patch:
        patch.setattr("hf_breakhis.data.sources.archive.walk_archive", None)
        assert load_images(args).dataset.to_list() == first.dataset.to_list()
    surplus = tarfile.TarInfo(parse_file_name("SOB_B_A-14-22549AB-40-003.png").path)
    pack([(surplus, b"another")])
    assert load_images(args).stamp != first.stamp
    assert len(load_images(args).dataset) == 25


def test_nothing_is_unpacked_beside_the_archive(pack, data_args):
    path = pack()
    before = sorted(path.parent.rglob("*"))
    load_images(data_args(path))
    assert sorted(path.parent.rglob("*")) == before


def test_other_members_are_ignored(pack, data_args):
    names = ("BreaKHis_v1/README.txt", "BreaKHis_v1/._SOB_B_A-14-22549AB-40-001.png")
    images = load_images(data_args(pack([(tarfile.TarInfo(name), b"text") for name in names])))
    assert (len(images.dataset), images.findings) == (24, [])


def test_pictures_that_are_no_png_are_told(pack, data_args):
    names = ["BreaKHis_v1/a.jpg", "BreaKHis_v1/histology_slides/b.TIF"]
    members = [(tarfile.TarInfo(name), b"whatever") for name in [*names, "BreaKHis_v1/._a.jpg"]]
    members.insert(1, (tarfile.TarInfo("BreaKHis_v1/Folds.csv"), b"fold\n"))
    images = load_images(data_args(pack(members)))
    assert (len(images.dataset), images.places["unnamed"]) == (24, names)
    assert images.findings[0] == f"Left out, since not named as BreakHis images are: {', '.join(names)}."
    assert "Folds.csv lacks the column" in images.findings[1]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_an_archive_cut_short_is_refused(pack, data_args, share):
    path = pack()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "is cut short or damaged" in refusal(data_args(path))


def test_a_cut_between_two_members_is_seen(pack, data_args):
    """For tar alone such an archive is whole: only the end of the gzip stream tells."""
    path = pack()
    content = gzip.decompress(path.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        cut = archive.getmembers()[-1].offset
    whole = gzip.compress(content[:cut])
    path.write_bytes(whole)
    assert len(list(walk_archive(path))) == 23
    compressor = io.BytesIO()
    with gzip.GzipFile(fileobj=compressor, mode="wb") as stream:
        stream.write(content[:cut])
        stream.flush()
        cut_short = compressor.getvalue()
    path.write_bytes(cut_short)
    assert "is cut short or damaged" in refusal(data_args(path))


def test_a_flipped_bit_is_seen(pack, data_args):
    path = pack()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert "is cut short or damaged" in refusal(data_args(path))


@pytest.mark.parametrize(
    "name", ["/etc/evil.png", "../evil.png", "BreaKHis_v1/../../evil.png", "C:/evil.png", "a\\..\\..\\evil.png"]
)
def test_a_member_that_leaves_the_archive_is_refused_by_name(pack, data_args, name):
    message = refusal(data_args(pack([(tarfile.TarInfo(name), b"")])))
    assert "leaves the archive" in message
    assert repr(name) in message


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused_by_name(pack, data_args, kind):
    info = tarfile.TarInfo("BreaKHis_v1/strange.png")
    info.type, info.linkname = kind, "/etc/passwd"
    message = refusal(data_args(pack([(info, b"")])))
    assert "'BreaKHis_v1/strange.png'" in message
    assert "is a link or a device" in message


def test_a_member_that_is_not_text_is_refused(pack, data_args):
    name = b"BreaKHis_v1/\xff.png".decode("utf-8", "surrogateescape")
    assert "is not UTF-8" in refusal(data_args(pack([(tarfile.TarInfo(name), b"")]))).replace("has a name that ", "")


def test_the_same_member_twice_is_refused(pack, data_args):
    path = parse_file_name("SOB_B_A-14-22549AB-40-001.png").path
    message = refusal(data_args(pack([(tarfile.TarInfo(f"copy/{path}"), b"")])))
    assert f"copy/{path}" in message
    assert f" {path}" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 a zip", "is cut short or damaged"),
        (b"plain text", "is not a .tar.gz, .tar or .zip archive"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not an archive"),
    ],
)
def test_a_file_that_is_no_archive_is_refused(tmp_path, data_args, content, message):
    path = tmp_path / "BreaKHis_v1.tar.gz"
    path.write_bytes(content)
    assert message in refusal(data_args(path))


def test_an_archive_of_something_else_is_refused(tmp_path, data_args):
    path = tmp_path / "BreaKHis_v1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("notes.txt"))
    assert "holds no image" in refusal(data_args(path))


def test_a_failed_reading_leaves_nothing_that_is_taken_for_whole(pack, data_args):
    path = pack()
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    args = data_args(path)
    refusal(args)
    assert "is cut short or damaged" in refusal(args)


def test_a_full_disk_is_hub_errors_in_one_line(pack, data_args, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_table", full)
    message = refusal(data_args(pack()))
    assert "Cannot write to the datasets cache" in message
    assert "No space left on device" in message
