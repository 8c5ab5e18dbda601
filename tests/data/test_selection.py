"""A source gives all of its rows; what a recipe asks for is selected once, from any source alike."""

import tarfile

import pytest

from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.selection import select_images
from hf_breakhis.data.sources.archive import load_archive
from hf_breakhis.data.sources.breakhis_folder import load_tree
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError


@pytest.fixture(params=["folder", "archive"])
def every(request, small_breakhis, tmp_path):
    if request.param == "folder":
        return load_tree(small_breakhis)
    with tarfile.open(tmp_path / "small.tar", "w") as archive:
        archive.add(small_breakhis, "BreaKHis_v1")
    return load_archive(tmp_path / "small.tar")


def test_the_label_follows_the_target_and_the_order_of_the_types(every):
    assert len(every.dataset) == 24
    wanted = DataArguments(target="tumor_type", tumor_types=["PC", "A"], magnifications=["200X"])
    chosen = select_images(every, wanted)
    assert chosen.classes == ("PC", "A")
    rows = chosen.dataset.remove_columns("image").to_pandas()
    assert set(rows["magnification"]) == {"200X"}
    assert [chosen.classes[label] for label in rows["label"]] == rows["tumor_type"].tolist()
    names = [name for name in every.dataset["file_name"] if "-200-" in name and ("_A-" in name or "_PC-" in name)]
    assert rows["file_name"].tolist() == names


def test_images_stay_with_their_names(every):
    whole = dict(zip(every.dataset["file_name"], every.dataset["image"], strict=True))
    chosen = select_images(every, DataArguments(target="tumor_type", magnifications=["40X"])).dataset
    assert chosen.column_names == every.dataset.column_names
    for name, image in zip(chosen["file_name"], chosen["image"], strict=True):
        assert image == whole[name]


def test_all_rows_are_used_as_they_are_by_default(every):
    assert select_images(every, DataArguments()).dataset is every.dataset


def labelled(classes, tmp_path, draw_png, **fields):
    for name in classes:
        for number in range(2):
            draw_png(tmp_path / "set" / name / f"{name}-{number}.png")
    return load_images(DataArguments(dataset="imagefolder", data_dir=str(tmp_path / "set"), **fields))


@pytest.mark.parametrize(
    ("classes", "positive"),
    [
        (("cancer", "healthy"), "cancer"),
        (("Tumor", "Normal"), "Tumor"),
        (("abnormal", "normal"), "abnormal"),
        (("cancer", "non_cancer"), "cancer"),
        (("a", "b"), "b"),
    ],
)
def test_the_positive_class_is_guessed_with_a_warning(classes, positive, tmp_path, draw_png):
    images = labelled(classes, tmp_path, draw_png)
    assert images.classes[1] == positive
    for name, label in zip(images.dataset["file_name"], images.dataset["label"], strict=True):
        assert name.startswith(f"{images.classes[label]}/")
    (warning,) = [text for text in images.warnings if "Set positive_class" in text]
    assert f"The positive class is {positive}, chosen by " in warning
    assert ("do not tell" in warning) is (positive == "b")


@pytest.mark.parametrize("positive", ["cancer", "healthy"])
def test_a_positive_class_that_is_named_needs_no_warning(positive, tmp_path, draw_png):
    images = labelled(("cancer", "healthy"), tmp_path, draw_png, positive_class=positive)
    assert images.classes[1] == positive
    assert images.warnings == []


@pytest.mark.parametrize("classes", [("a", "b"), ("cancer", "healthy", "other")])
def test_a_positive_class_that_is_none_is_refused(classes, tmp_path, draw_png):
    with pytest.raises(InputError, match="has to be one of two classes;"):
        labelled(classes, tmp_path, draw_png, positive_class="cancer")


def test_breakhis_needs_no_guess(every):
    chosen = select_images(every, DataArguments())
    assert chosen.classes == ("benign", "malignant")
    assert not [text for text in chosen.warnings if "positive" in text]
