"""The copy on Kaggle is BreakHis with a table beside it, which has to agree with the official folds."""

import zipfile

import pandas as pd
import pytest

from hf_breakhis.data.inventory import INVENTORY
from hf_breakhis.data.sources.breakhis_folder import check_folds_csv
from hf_breakhis.data.sources.table import load_images


@pytest.fixture(scope="module")
def folds():
    """`Folds.csv` as it is on Kaggle: 39,545 rows."""
    rows = [
        (fold, name.magnification.removesuffix("X"), folder.official[fold - 1], name.path)
        for fold in range(1, 6)
        for folder in INVENTORY
        for name in folder.names()
    ]
    return pd.DataFrame(rows, columns=["fold", "mag", "grp", "filename"])


def as_bytes(table):
    return table.to_csv(index=False).encode()


def test_the_official_folds_have_no_finding(folds):
    assert check_folds_csv(as_bytes(folds), "Folds.csv") == []


def test_the_copy_on_kaggle_is_read_as_a_folder_and_as_a_zip(tmp_path, small_breakhis, folds, data_args):
    plain = load_images(data_args(small_breakhis))
    copy = tmp_path / "archive"
    (copy / "BreaKHis_v1").mkdir(parents=True)
    (small_breakhis / "BreaKHis_v1").rename(copy / "BreaKHis_v1/BreaKHis_v1")
    (copy / "Folds.csv").write_bytes(as_bytes(folds.assign(grp="train")))
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for path in [copy / "Folds.csv", *sorted(copy.rglob("*.png"))]:  # the table first, as it may lie
            archive.write(path, path.relative_to(copy))
    for place in (copy, tmp_path / "archive.zip"):
        images = load_images(data_args(place))
        assert images.dataset.remove_columns("image").to_list() == plain.dataset.remove_columns("image").to_list()
        (finding,) = images.findings
        assert "gives another part than the official folds in 13,665 rows" in finding
        assert str(place) in finding
    (copy / "Folds.csv").write_bytes(as_bytes(folds))
    assert load_images(data_args(copy)).findings == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.assign(grp=t["grp"].where(t.index != 7, "test")),
            "another part than the official folds in 1 row,",
        ),
        (lambda t: t.assign(mag="40"), "gives another magnification in"),
        (lambda t: t.iloc[10:], "lacks, of 39,545 rows of the official folds, 10 rows"),
        (lambda t: t.assign(fold=t["fold"].replace(5, 6)), "names what the official folds do not have in 7,909 rows"),
        (lambda t: pd.concat([t, t.iloc[:3]]), "gives an image twice in 3 rows"),
        (lambda t: t.drop(columns=["grp", "mag"]), "lacks the column mag, grp"),
    ],
)
def test_each_difference_is_a_finding(folds, change, message):
    findings = check_folds_csv(as_bytes(change(folds)), "Folds.csv")
    assert any(message in finding for finding in findings)
    assert all("the official folds of the inventory are used" in finding for finding in findings)


def test_paths_may_be_those_of_windows(folds):
    assert check_folds_csv(as_bytes(folds.assign(filename=folds["filename"].str.replace("/", "\\"))), "F") == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a\n1,2,3\n", b'"'])
def test_what_is_no_table_is_a_finding(content):
    (finding,) = check_folds_csv(content, "Folds.csv")
    assert "the official folds of the inventory are used" in finding
