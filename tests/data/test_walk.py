"""Every file below a folder is found once and counted by kind, whatever links, letters and systems it went through."""

import os
import unicodedata
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from hf_breakhis.cli import main
from hf_breakhis.data.images import public_findings
from hf_breakhis.data.open_image import EXTENSIONS
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import split_images
from hf_breakhis.data.walk import kind_of, walk
from hf_breakhis.files import InputError

REAL = Path(__file__).parents[3] / "shared/real"


def found(folder):
    return {os.path.relpath(path, folder): kind for path, kind in walk(str(folder))}


@pytest.mark.parametrize("extension", [*EXTENSIONS, *map(str.upper, EXTENSIONS)])
def test_accepted_extensions_are_images_in_any_case(extension):
    assert kind_of(f"x{extension}") == "image"


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png~", "a.svs", "a.heic", "IMG_0001"])
def test_what_may_be_an_image_is_not_taken_for_another_file(name):
    assert kind_of(name) == "unsupported"


@pytest.mark.parametrize("name", ["README", "a.txt", ".DS_Store", "._a.png", "Thumbs.db", "a.tar.gz", "Folds.csv"])
def test_files_that_are_no_images_are_known(name):
    assert kind_of(name) == "other"


def test_links_are_followed_once_and_loops_end(tmp_path):
    for name in ("set/benign/a.png", "elsewhere/b.png", "set/.hidden/c.png", "set/__MACOSX/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, target in {
        "set/malignant": "elsewhere", "set/again": "set/benign", "set/benign/loop": "set", "set/up": ".",
    }.items():  # fmt: skip
        (tmp_path / name).symlink_to(tmp_path / target, target_is_directory=True)
    assert found(tmp_path / "set") == {
        "benign/a.png": "image", "malignant/b.png": "image", "again": "link", "benign/loop": "link", "up": "link",
    }  # fmt: skip


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "scandir", lambda path: (_ for _ in ()).throw(PermissionError(13, "denied", path)))
    with pytest.raises(InputError, match=r"denied\. Check the permissions"):
        list(walk(str(tmp_path)))


def names_of(images):
    return list(images.dataset["file_name"])


@pytest.fixture
def copies(small_breakhis, tmp_path):
    """Lay the 24 images at other places: `copies(place)` gives the folder; `place` makes a path of a name."""
    paths = sorted(small_breakhis.rglob("*.png"))

    def lay(place, root="copy"):
        for i, path in enumerate(paths):
            target = tmp_path / root / place(i, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        return tmp_path / root

    lay.names = sorted(path.name for path in paths)
    return lay


LAYOUTS = {
    "flat": lambda i, path: path.name,
    "capitals": lambda i, path: path.with_suffix(".PNG").name,
    "k for K": lambda i, path: f"BreakHis_v1/{path.name}",
    "dataset_cancer_v1": lambda i, path: f"classificacao_binaria/{path.parent.name}/{path.name}",
    "unpacked with backslashes": lambda i, path: f"breast\\benign\\{path.name}" if "_B_" in path.name else path.name,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_is_known_by_its_file_names(copies, data_args, layout):
    images = load_images(data_args(copies(LAYOUTS[layout])))
    assert names_of(images) == copies.names
    assert images.findings == []
    assert images.warnings[0].startswith("Not where the official archive has them: 24 images (")
    assert None not in images.dataset["specimen_id"]


def test_one_image_in_two_places_of_a_copy_is_used_once(copies, data_args):
    copies(lambda i, path: f"classificacao_binaria/{path.name}")
    folder = copies(lambda i, path: f"classificacao_multiclasse/{path.name}")
    images = load_images(data_args(folder))
    assert names_of(images) == copies.names
    assert len(images.places["copy"]) == 24


def test_jpeg_copies_keep_the_names_of_the_originals(copies, data_args):
    folder = copies(lambda i, path: path.name)
    for path in folder.iterdir():
        Image.open(path).save(path.with_suffix(".jpg"))
    images = load_images(data_args(folder))  # both are there: the PNG is used
    assert names_of(images) == copies.names
    assert {path.rpartition(".")[2] for path in images.places["copy"]} == {"jpg"}
    for path in folder.glob("*.png"):
        path.unlink()
    images = load_images(data_args(folder))
    assert names_of(images) == copies.names
    assert images.findings == []
    assert any(text.startswith("Copies in another format than PNG: 24 images (") for text in images.warnings)


def test_a_split_that_folders_suggest_is_reported_and_used_on_request(copies, data_args):
    def place(i, path):
        return f"{'train' if i % 3 else 'test'}/{'benign' if '_B_' in path.name else 'malignant'}/{path.name}"

    args = data_args(copies(place), split_by="folders", num_folds=1)
    images = load_images(args)
    assert images.warnings[1] == (
        "The folders suggest a split (16 train, 8 test); it is used only with split_by=folders."
    )
    (fold,) = split_images(images.dataset, args)
    parts = list(images.dataset["folder_part"])
    assert {parts[row] for row in fold.test} == {"test"}
    assert len(fold.test) == 8
    again = load_images(args)  # from the datasets cache
    assert list(again.dataset["folder_part"]) == parts
    selected = load_images(data_args(copies(place), magnifications=["200X"], split_by="folders", num_folds=1))
    assert len(split_images(selected.dataset, args)[0].train) < 16


def test_an_archive_packed_on_windows_is_known(copies, data_args, tmp_path):
    folder = copies(lambda i, path: path.name)
    with zipfile.ZipFile(tmp_path / "copy.zip", "w") as archive:
        for name, content in [("notes.gif", b""), *((path.name, path.read_bytes()) for path in folder.iterdir())]:
            member = zipfile.ZipInfo("x")
            member.filename = f"BreaKHis_v1\\{name}"
            archive.writestr(member, content)
    images = load_images(data_args(tmp_path / "copy.zip"))
    assert names_of(images) == copies.names
    assert images.places["unsupported"] == ["BreaKHis_v1/notes.gif"]


def test_what_is_left_out_is_counted_by_reason(copies, data_args):
    folder = copies(lambda i, path: path.name)
    for name in ("figure.gif", "scan", "README.txt", "mine.png"):
        (folder / name).write_bytes(b"x")
    images = load_images(data_args(folder))
    assert {kind: [Path(path).name for path in paths] for kind, paths in images.places.items() if paths} == {
        "unnamed": ["mine.png"], "unsupported": ["figure.gif", "scan"], "other": ["README.txt"],
    }  # fmt: skip
    assert len(images.findings) == 2


@pytest.mark.parametrize("way", ["", "BreaKHis_v1", "BreaKHis_v1/histology_slides"])
def test_images_next_to_the_official_tree_are_counted(small_breakhis, data_args, way, capsys):
    """Whatever folder of the copy is given: images next to breast/ are not used, and not silently."""
    given = small_breakhis / way
    slides = small_breakhis / "BreaKHis_v1" / "histology_slides"
    first, second = sorted(slides.rglob("*.png"))[:2]
    (slides / "more").mkdir()
    (slides / "more" / "SOB_B_A-14-22549AB-40-099.png").write_bytes(first.read_bytes())
    (slides / "more" / "scan").write_bytes(b"x")
    (slides / "more" / "again").symlink_to(slides / "breast", target_is_directory=True)
    (slides / "elsewhere.png").symlink_to(second)  # the same file is read in breast/
    if given == small_breakhis:
        (given / "loose.jpg").write_bytes(b"x")
        (given / "run").mkdir()
        (given / "run" / "figure.png").write_bytes(b"x")
    images = load_images(data_args(given))
    assert len(images.dataset) == 24
    assert {kind: sorted(Path(path).name for path in paths) for kind, paths in images.places.items() if paths} == {
        "outside": ["SOB_B_A-14-22549AB-40-099.png", *(["loose.jpg"] if given == small_breakhis else [])],
        "unsupported": ["scan"], "link": ["again"],
    }  # fmt: skip
    (sentence,) = [text for text in images.findings if text.startswith("Outside of the folder that has benign/")]
    assert "SOB_B_A-14-22549AB-40-099.png" in sentence
    assert "Outside of the folder that has benign/ and malignant/, not used: " in " ".join(public_findings(images))
    assert main(["data", "verify", "--data_dir", str(given)]) == 1
    assert "Finding: Outside of the folder that has benign/" in capsys.readouterr().out
    (slides / "more" / "SOB_B_A-14-22549AB-40-099.png").unlink()  # the list is made again
    assert len(load_images(data_args(given)).places.get("outside", [])) == (given == small_breakhis)


def test_images_that_are_read_through_a_link_are_not_counted_as_unused(small_breakhis, data_args):
    slides = small_breakhis / "BreaKHis_v1" / "histology_slides"
    (slides / "breast" / "malignant").rename(slides / "kept")
    (slides / "breast" / "malignant").symlink_to(slides / "kept", target_is_directory=True)
    images = load_images(data_args(small_breakhis))
    assert (len(images.dataset), images.findings) == (24, [])


@pytest.mark.parametrize("kind", ["imagefolder", "breakhis"])
def test_a_class_folder_that_is_a_link_is_read(copies, data_args, tmp_path, kind):
    folder = copies(lambda i, path: f"{'benign' if '_B_' in path.name else 'malignant'}/{path.name}")
    (folder / "benign").rename(tmp_path / "elsewhere")
    (folder / "benign").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    images = load_images(data_args(folder, dataset=kind))
    assert sorted(Path(name).name for name in names_of(images)) == copies.names
    assert set(images.dataset["label"]) == {0, 1}


def test_names_that_macos_decomposed_match_the_metadata(tmp_path, draw_png, data_args):
    for i, name in enumerate(("gutartig/Grün.png", "bösartig/b.png")):
        draw_png(tmp_path / unicodedata.normalize("NFD", name))
        with (tmp_path / "metadata.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(f'{{"file_name": "{unicodedata.normalize("NFC", name)}", " patient_id ": {i}}}\n')
    images = load_images(data_args(tmp_path, dataset="imagefolder"))
    assert dict(zip(names_of(images), images.dataset["patient_id"], strict=True)) == {
        "bösartig/b.png": "1", "gutartig/Grün.png": "0"
    }  # fmt: skip


def test_a_blank_in_the_header_loses_no_column(tmp_path, draw_png, data_args):
    for name in ("no/a.png", "yes/b.png"):
        draw_png(tmp_path / name)
    (tmp_path / "metadata.csv").write_text('file_name, patient_id\nno/a.png, p1\nyes/b.png, "p2"\n')
    images = load_images(data_args(tmp_path, dataset="imagefolder"))
    assert list(images.dataset["patient_id"]) == ["p1", "p2"]
    (tmp_path / "metadata.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"has metadata\.csv and metadata\.jsonl; keep one"):
        load_images(data_args(tmp_path, dataset="imagefolder"))


@pytest.mark.parametrize(
    ("names", "warning"),
    [
        (["p1/benign/a.png", "p2/malignant/b.png"], "The 2 classes look like patients (p1, p2)"),
        ([f"{p}/{c}/{p}{c}.png" for p in "abc" for c in "XY"], "The 3 classes look like patients (a, b, c)"),
        (["no/p1/a.png", "yes/p2/b.png"], "The class folders hold 2 folders (p1, p2). If these are patients"),
        (["no/40X/a.png", "yes/200X/b.png"], ""),
        (["no/a.png", "yes/b.png"], ""),
    ],
)
def test_folders_of_patients_are_not_silent(tmp_path, draw_png, data_args, names, warning):
    for name in names:
        draw_png(tmp_path / name)
    found = load_images(data_args(tmp_path, dataset="imagefolder")).warnings
    warnings = [text for text in found if "patients" in text]
    assert warnings[0].startswith(warning) if warning else warnings == []


def test_the_external_set_is_read_with_its_patients(data_args):
    if not (REAL / "idc").is_dir():
        pytest.skip("real images are not next to the checkout (shared/real)")
    images = load_images(data_args(REAL / "idc", dataset="imagefolder"))
    assert (len(images.dataset), len(set(images.dataset["patient_id"])), images.findings) == (2044, 60, [])
