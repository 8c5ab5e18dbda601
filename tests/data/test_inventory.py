"""The inventory agrees with the published totals and, name by name, with the published list."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.inventory import INVENTORY, expected_file_names, official_folds

FILE_LIST = Path(__file__).parents[3] / "shared/breakhis/filelist.csv"


@pytest.fixture(scope="module")
def names():
    return [parse_file_name(name) for name in expected_file_names()]


@pytest.fixture(scope="module")
def published():
    if not FILE_LIST.is_file():
        pytest.skip("the published file list is not beside the checkout (shared/breakhis)")
    with FILE_LIST.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_totals_are_the_published_ones(names):
    assert len(names) == len(set(names)) == sum(map(len, INVENTORY)) == 7909
    assert Counter(n.label for n in names) == {0: 2480, 1: 5429}
    assert Counter(n.magnification for n in names) == {"40X": 1995, "100X": 2081, "200X": 2013, "400X": 1820}
    assert Counter(n.label for n in names if n.magnification == "40X") == {0: 625, 1: 1370}


def test_82_folders_are_70_specimens():
    assert Counter(folder.label for folder in INVENTORY) == {0: 24, 1: 58}
    assert len({folder.patient_id for folder in INVENTORY}) == 82
    specimens = {folder.specimen_id: folder.label for folder in INVENTORY}
    assert Counter(specimens.values()) == {0: 16, 1: 54}
    assert len({folder.patient_id.split("-", 1)[1] for folder in INVENTORY}) == 81


def test_folders_hold_38_to_235_images():
    sizes = sorted(map(len, INVENTORY))
    assert (sizes[0], (sizes[40] + sizes[41]) / 2, sizes[-1]) == (38, 90, 235)


def test_columns_agree_with_the_names_they_make():
    for folder in INVENTORY:
        for name in folder.names():
            assert (name.patient_id, name.specimen_id) == (folder.patient_id, folder.specimen_id)
            assert (name.label, name.tumor_type) == (folder.label, folder.tumor_type)


def test_official_folds_are_54_and_28_folders_and_no_partition():
    parts = official_folds()
    sizes = {folder.patient_id: len(folder) for folder in INVENTORY}
    tested = []
    for fold in range(5):
        test = [patient for patient in parts if parts[patient][fold] == "test"]
        assert len(test) == 28
        tested.append(sum(sizes[patient] for patient in test))
    assert tested == [2904, 2403, 2577, 2698, 3083]
    assert sum("test" not in part for part in parts.values()) == 13


def test_every_published_name_is_expected_and_no_other(published):
    assert expected_file_names() == sorted(row["filename"] for row in published)


def test_official_parts_equal_the_published_ones(published):
    parts = official_folds()
    for row in published:
        assert parts[row["slide_id"]] == tuple(row[f"fold{i}"] for i in range(1, 6))
