"""Class folders of any pictures, with or without a table that says whose they are."""

import pandas as pd
import pytest
from PIL import Image

from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import make_folds, split_images
from hf_breakhis.files import InputError

NAMES = ["InSitu/a.png", "InSitu/deep/er/b.tif", "Invasive/a.png", "Invasive/c.jpg", "Normal/d.PNG", "Normal/e.jpeg"]


@pytest.fixture
def folder(tmp_path, draw_png):
    """Six pictures of three classes, one name in two of them."""
    for name in NAMES:
        draw_png(tmp_path / "set" / name)
    return tmp_path / "set"


@pytest.fixture
def args(folder, data_args):
    return lambda place=folder, **changes: data_args(place, dataset="imagefolder", **changes)


def refusal(args):
    with pytest.raises(InputError) as caught:
        load_images(args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def describe(folder, **columns):
    pd.DataFrame({"file_name": NAMES} | columns).to_csv(folder / "metadata.csv", index=False)


def test_classes_are_the_folders_in_sorted_order(args):
    images = load_images(args())
    assert images.classes == ("InSitu", "Invasive", "Normal")
    assert list(images.dataset["file_name"]) == sorted(NAMES)
    assert list(images.dataset["label"]) == [0, 0, 1, 1, 2, 2]
    assert (images.source, images.warnings, images.findings) == ("imagefolder", [], [])
    assert set(images.dataset["patient_id"]) == set(images.dataset["magnification"]) == {None}
    assert check_images(images).unusable == {}


def test_benign_is_0_and_malignant_1_however_they_are_spelt(tmp_path, args, draw_png):
    draw_png(tmp_path / "two/Malignant/a.png")
    draw_png(tmp_path / "two/BENIGN/b.png")
    images = load_images(args(tmp_path / "two"))
    assert images.classes == ("benign", "malignant")
    assert dict(zip(images.dataset["file_name"], images.dataset["label"], strict=True)) == {
        "BENIGN/b.png": 0,
        "Malignant/a.png": 1,
    }


def test_without_groups_a_split_by_them_is_refused_with_the_reason(args):
    dataset = load_images(args()).dataset
    with pytest.raises(InputError, match=r"split_by=specimen needs the column specimen_id, which these images do not"):
        make_folds(dataset["label"], {"specimen_id": list(dataset["specimen_id"])}, split_by="specimen", num_folds=2)


def test_metadata_gives_patients(folder, args, data_args):
    describe(folder, patient_id=list("abcdef"), note=["x"] * 6, magnification=["20x"] * 6)
    images = load_images(args())
    patients = dict(zip(images.dataset["file_name"], images.dataset["patient_id"], strict=True))
    assert patients == dict(zip(NAMES, "abcdef", strict=True))
    assert list(images.dataset["specimen_id"]) == list(images.dataset["patient_id"])
    assert images.warnings == [
        "Columns of metadata.csv that this package does not read: note; it knows file_name, tumor_type, patient_id, "
        "specimen_id, magnification.",
        "metadata.csv has no column specimen_id: every patient counts as one specimen.",
    ]
    recipe = data_args(split_by="specimen", num_folds=2, test_size=0.5, reserve_size=0.0, test_patients=[])
    recipe.validation_size, recipe.stratify, recipe.split_seed = 0.0, True, 0
    assert len(split_images(images.dataset, recipe)) == 2


@pytest.mark.parametrize(
    ("column", "words"),
    [("Patient", "Patient (did you mean patient_id?)"), ("tumour_type", "tumour_type (did you mean tumor_type?)")],
)
def test_a_column_that_nobody_reads_is_told_with_the_nearest_name(folder, args, column, words):
    describe(folder, **{column: list("abcdef")})
    (warning,) = load_images(args()).warnings
    assert warning.startswith(f"Columns of metadata.csv that this package does not read: {words}; it knows file_name")


def test_columns_that_are_read_are_not_warned_of(folder, args):
    describe(folder, patient_id=list("abcdef"), specimen_id=list("abcdef"))
    assert load_images(args()).warnings == []


def test_a_bare_name_will_do_where_there_is_only_one(folder, args):
    pd.DataFrame({"file_name": ["b.tif", *NAMES[:1], *NAMES[2:]], "patient_id": list("bacdef")}).to_csv(
        folder / "metadata.csv", index=False
    )
    images = load_images(args())
    assert images.dataset[images.dataset["file_name"].index("InSitu/deep/er/b.tif")]["patient_id"] == "b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(file_name=["gone.png", *NAMES[1:]]), "names what is not there: gone.png"),
        (lambda t: t.assign(file_name=["a.png", *NAMES[1:]]), "names a.png, which is in several folders"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "names a file twice: InSitu/a.png"),
        (lambda t: t.iloc[1:], "has no row for InSitu/a.png"),
        (lambda t: t.assign(patient_id=["", *"bcdef"]), "has an empty patient_id for InSitu/a.png"),
        (lambda t: t.rename(columns={"file_name": "image"}), "has no column file_name; it has image, patient_id"),
        (lambda t: t.iloc[:0, :0], "is empty"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(folder, args, change, message):
    change(pd.DataFrame({"file_name": NAMES, "patient_id": list("abcdef")})).to_csv(
        folder / "metadata.csv", index=False
    )
    assert message in refusal(args())


@pytest.mark.parametrize("separator", [";", "\t", ",", ";;"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_metadata_of_excel_are_read(folder, args, separator, encoding):
    lines = ["file_name;patient_id", *(f"{name};p{k % 3}" for k, name in enumerate(NAMES))]
    rest = ";;" if separator == ";;" else ""
    text = "\r\n".join(line.replace(";", separator[:1]) + rest for line in lines)
    (folder / "metadata.csv").write_bytes(text.encode(encoding))
    images = load_images(args())
    patients = dict(zip(images.dataset["file_name"], images.dataset["patient_id"], strict=True))
    assert patients == {name: f"p{k % 3}" for k, name in enumerate(NAMES)}
    assert not any("does not read" in warning for warning in images.warnings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file_name,patient_id,patient_id\nInSitu/a.png,a,b\n", "2 columns named 'patient_id'"),
        ("file_name,patient_id\nInSitu/a.png,M\xfcller\n".encode("latin-1"), "is not in UTF-8: byte 0xfc"),
        (b"file_name,patient_id\nInSitu/a.png\n", "a row of 1 cells"),
    ],
)
def test_metadata_that_cannot_be_read_are_refused(folder, args, content, message):
    (folder / "metadata.csv").write_bytes(content)
    assert message in refusal(args())


def test_metadata_below_a_class_are_refused(folder, args):
    (folder / "Normal/metadata.csv").write_text("file_name\n")
    assert f"Normal/metadata.csv lies below {folder}" in refusal(args())


def test_the_target_and_the_magnification_have_to_be_known(folder, args):
    assert "does not say the tumor_type of every image" in refusal(args(target="tumor_type"))
    assert "does not say the magnification of every image" in refusal(args(magnifications=["40X"]))
    describe(folder, tumor_type=["DC", "DC", "LC", "LC", "A", "A"], magnification=["40X"] * 3 + ["200X"] * 3)
    images = load_images(args(target="tumor_type", magnifications=["40X"]))
    assert [images.classes[label] for label in images.dataset["label"]] == ["DC", "DC", "LC"]
    assert "there are only 40X, 200X" in refusal(args(magnifications=["100X"]))


def test_a_grey_picture_is_found_by_the_check_and_a_jpeg_is_fine(folder, args):
    Image.new("L", (64, 64)).save(folder / "Normal/d.PNG")
    findings = check_images(load_images(args()))
    assert findings.unusable == {"Normal/d.PNG": "is grey, not RGB"}
    assert not any("another format" in sentence for sentence in findings.findings)


def test_breakhis_as_class_folders_is_pointed_to_its_own_source(small_breakhis, args):
    images = load_images(args(small_breakhis / "BreaKHis_v1/histology_slides/breast"))
    assert images.classes == ("benign", "malignant")
    assert "dataset=breakhis would know their patients" in images.warnings[0]


def test_what_is_no_class_folder_is_refused(tmp_path, folder, args, draw_png):
    assert "`data_dir` is missing: dataset=imagefolder needs" in refusal(args(None))
    assert "which is no folder" in refusal(args(folder / "InSitu/a.png"))
    assert "which is no folder" in refusal(args(tmp_path / "nowhere"))
    draw_png(tmp_path / "one/benign/a.png")
    assert "holds one class folder, benign; two or more are needed" in refusal(args(tmp_path / "one"))
    (tmp_path / "empty").mkdir()
    assert "No image (.png .jpg" in refusal(args(tmp_path / "empty"))
    draw_png(folder / "loose.png")
    assert "outside of a class folder: loose.png" in refusal(args())


def test_parts_of_a_split_are_not_taken_for_classes(tmp_path, args, draw_png):
    for part in ("train", "Test"):
        draw_png(tmp_path / "split" / part / "benign/a.png")
        draw_png(tmp_path / "split" / part / "malignant/b.png")
    images = load_images(args(tmp_path / "split"))
    assert images.classes == ("benign", "malignant")
    assert dict(zip(images.dataset["file_name"], images.dataset["folder_part"], strict=True)) == {
        "Test/benign/a.png": "test", "Test/malignant/b.png": "test",
        "train/benign/a.png": "train", "train/malignant/b.png": "train",
    }  # fmt: skip
    assert images.warnings == ["The folders suggest a split (2 train, 2 test); it is used only with split_by=folders."]


def test_hidden_files_and_those_of_other_kinds_are_no_pictures(folder, args, draw_png):
    for name in (".git/x.png", "Normal/.cache/x.png", "Normal/._d.png", "__MACOSX/Normal/d.png"):
        draw_png(folder / name)
    (folder / "README.md").write_text("text")
    assert len(load_images(args()).dataset) == 6
