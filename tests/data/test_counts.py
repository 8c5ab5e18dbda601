"""`data info` counts what the file names say, on every source, and its choice of pictures is fair and repeatable."""

import re
from collections import Counter

import datasets
import numpy as np
import pytest

from hf_breakhis.data.counts import choose_pair, choose_sheet, columns_of, count_images, data_info
from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.images import COLUMNS, Images, arrange
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.text import MAX_WIDTH


def of_names(names):
    """Images of these names, without any file."""
    paths = datasets.Dataset.from_dict({"image": names}, datasets.Features({"image": datasets.Image()}))
    return arrange(paths, names, "nowhere")


def of_columns(classes, **columns):
    """Images of another source: what is not given is unknown."""
    number = len(columns["label"])
    text = datasets.Value("string")
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=classes)}
    features = datasets.Features(features | dict.fromkeys(COLUMNS[2:], text))
    columns = {"file_name": [f"{i}.png" for i in range(number)]} | columns
    table = {name: columns.get(name, [None] * number) for name in COLUMNS}
    return Images(datasets.Dataset.from_dict(table, features=features), "imagefolder", "somewhere")


@pytest.fixture(scope="module")
def all_images():
    return of_names(expected_file_names())


@pytest.fixture(scope="module")
def names():
    return [parse_file_name(name) for name in expected_file_names()]


def test_counts_are_those_of_the_file_names(all_images, names):
    counts = count_images(all_images.dataset).set_index(["class", "tumor_type"])
    expected = Counter(name.tumor_type for name in names)
    assert {tumor: number for (_, tumor), number in counts["images"].items() if tumor} == expected
    assert list(counts["images"].xs("", level="tumor_type")) == [2480, 5429, 7909]
    assert (counts[["40X", "100X", "200X", "400X"]].sum(axis=1) == counts["images"]).all()
    assert list(counts["40X"].xs("", level="tumor_type")) == [625, 1370, 1995]
    assert list(counts.loc[("all", ""), ["patients", "specimens"]]) == [82, 70]
    assert list(counts.loc[("benign", ""), ["patients", "specimens"]]) == [24, 16]


def test_specimens_of_two_types_are_counted_once(all_images):
    counts = count_images(all_images.dataset)
    of_types = counts[(counts["class"] == "benign") & (counts["tumor_type"] != "")]["specimens"].sum()
    assert of_types == 18  # 14-29960 and 14-21998 are of two types each
    assert counts.set_index(["class", "tumor_type"]).loc[("benign", ""), "specimens"] == 16


def test_the_page_fits_and_names_what_shares_a_specimen(all_images):
    text = data_info(all_images)
    assert max(map(len, text.splitlines())) <= MAX_WIDTH
    assert re.search(r"^malignant +5,429 +1,370 +1,437 +1,390 +1,232 +58 +54$", text, re.MULTILINE)
    assert "38 to 235, median 90" in text
    assert "14-13412, 14-14134, 14-15570" in text


def test_a_subset_is_called_one(small_breakhis, data_args):
    assert "24 of 7,909 images of BreakHis are here" in data_info(load_images(data_args(small_breakhis)))


def test_images_without_groups_are_counted():
    images = of_columns(["normal tissue " * 12, "cancer"], label=[0, 1, 1])
    text = data_info(images)
    assert max(map(len, text.splitlines())) <= MAX_WIDTH
    assert "The patient of 3 of 3 images is not known" in text
    assert list(count_images(images.dataset).columns) == ["class", "tumor_type", "images"]
    assert list(count_images(images.dataset)["images"]) == [1, 2, 3]


def test_what_breakhis_means_by_a_patient_is_said_of_breakhis_alone(all_images):
    words = "A patient is a slide folder, as the authors of BreakHis count"
    assert words in data_info(all_images)
    images = of_columns(["a", "b"], label=[0, 1, 1], patient_id=["x", "y", "y"], specimen_id=["x", "y", "y"])
    assert "Images of a patient: 1 to 2" in data_info(images)
    assert words not in data_info(images)


def test_partly_known_patients_and_foreign_types_are_counted():
    images = of_columns(
        ["benign", "malignant"], label=[0, 1, 1, 1], patient_id=["a", None, "b", "b"],
        tumor_type=["A", "sarcoma", None, "DC"], magnification=["20X", "20X", None, "40X"],
    )  # fmt: skip
    counts = count_images(images.dataset)
    assert list(counts["tumor_type"]) == ["", "A", "", "DC", "sarcoma", ""]
    assert list(counts["20X"]) == [1, 1, 1, 0, 1, 2]
    assert list(counts["patients"]) == [1, 1, 1, 1, 0, 2]
    assert "The patient of 1 of 4 images is not known" in data_info(images)


def test_with_tumor_types_as_classes_nothing_stands_twice(small_breakhis, data_args):
    images = load_images(data_args(small_breakhis, target="tumor_type"))
    counts = count_images(images.dataset)
    assert list(counts["class"]) == ["A", "F", "PT", "TA", "DC", "LC", "MC", "PC", "all"]


def test_each_cell_of_a_sheet_holds_what_its_row_and_column_say(all_images, names):
    sheet = choose_sheet(all_images.dataset)
    assert [tumor for _, _, tumor in sheet.rows] == ["A", "F", "PT", "TA", "DC", "LC", "MC", "PC"]
    assert sheet.columns == ["40X", "100X", "200X", "400X"]
    for (i, j), row in np.ndenumerate(sheet.cells):
        assert names[row].tumor_type == sheet.rows[i][2]
        assert names[row].magnification == sheet.columns[j]


def test_a_seed_gives_the_same_sheet_and_another_another(all_images):
    first, again, other = (choose_sheet(all_images.dataset, seed).cells for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_absent_images_leave_a_hole():
    sheet = choose_sheet(of_names(["SOB_B_A-14-22549AB-40-001.png", "SOB_M_DC-14-2523-100-001.png"]).dataset)
    assert sheet.columns == ["40X", "40X", "100X", "100X"]
    assert (sheet.cells >= 0).tolist() == [[True, False, False, False], [False, False, True, False]]


def test_one_magnification_shows_four_patients_before_one_twice():
    images = of_names([name for name in expected_file_names() if "-40-" in name and ("_DC-" in name or "_A-" in name)])
    table = columns_of(images.dataset)
    for seed in range(5):
        sheet = choose_sheet(images.dataset, seed)
        for cells in sheet.cells:
            assert table["patient_id"].iloc[cells].nunique() == 4


def test_a_sheet_of_images_without_types_has_a_row_for_each_class():
    images = of_columns(["a", "b", "c"], label=[2, 0, 0, 0, 0, 0, 1])
    sheet = choose_sheet(images.dataset)
    assert [label for label, _, _ in sheet.rows] == [0, 1, 2]
    assert (sheet.cells >= 0).sum(1).tolist() == [4, 1, 1]
    assert len(set(sheet.cells[0])) == 4


def test_the_pair_is_of_both_classes_at_one_magnification(all_images, names):
    for seed in range(5):
        pair = choose_pair(all_images.dataset, seed)
        assert [names[row].label for row in pair] == [0, 1]
        assert len({names[row].magnification for row in pair}) == 1


def test_a_pair_is_found_without_a_shared_magnification():
    images = of_names(["SOB_B_A-14-22549AB-40-001.png", "SOB_M_DC-14-2523-100-001.png"])
    assert choose_pair(images.dataset) == [0, 1]
    assert choose_pair(of_columns(["a", "b"], label=[1, 0]).dataset) == [1, 0]
    assert choose_pair(of_columns(["a", "b"], label=[1, 1]).dataset)[0] in (0, 1)
