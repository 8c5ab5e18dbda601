"""Names from a folder or a table: they are taken as they are, or one line says what is wrong with them."""

import io

import datasets
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hf_breakhis.data.filenames import parse_file_name, picture_name
from hf_breakhis.data.sources.columns import build_images
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError, few, write_csv

NAMES = st.text(min_size=1, max_size=8) | st.text("=+-@\t\r\n<|`a1 ,\"'", min_size=1, max_size=4)


def described(file_name, patient_id, tumor_type):
    """Return two rows with these names, or the message of the refusal."""
    images = datasets.Dataset.from_dict({"image": [None, None]}, datasets.Features({"image": datasets.Image()}))
    columns = {
        "file_name": [f"{file_name}/1.png", f"{file_name}/2.png"], "label": [0, 1],
        "patient_id": [patient_id] * 2, "tumor_type": [tumor_type] * 2,
    }  # fmt: skip
    try:
        found = build_images(images, columns, ("a", "b"), "imagefolder", "place")
    except InputError as error:
        message = str(error)
    else:
        return found.dataset.remove_columns("image").to_pandas()
    assert message.isprintable()
    return message


def runs_in_a_spreadsheet(cell):
    try:
        return bool(cell) and cell[0] in "=+-@\t\r" and not float(cell) < 1e99
    except ValueError:
        return True


@settings(max_examples=150, deadline=None)
@given(file_name=NAMES, patient_id=NAMES, tumor_type=NAMES)
@example(file_name="a", patient_id="=1+1", tumor_type="b")
@example(file_name="@SUM(1)", patient_id="p", tumor_type="b")
@example(file_name="a", patient_id="p\r", tumor_type="b")
@example(file_name="a", patient_id="-12", tumor_type="b")
def test_what_is_taken_is_read_back_and_runs_in_no_spreadsheet(file_name, patient_id, tumor_type, tmp_path_factory):
    table = described(file_name, patient_id, tumor_type)
    if isinstance(table, str):
        return
    path = write_csv(tmp_path_factory.mktemp("csv") / "t.csv", table)
    again = pd.read_csv(io.BytesIO(path.read_bytes()), dtype=str, keep_default_na=False)
    for column in ("file_name", "patient_id", "tumor_type"):
        assert again[column].tolist() == table[column].tolist()
        assert not any(map(runs_in_a_spreadsheet, again[column]))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "=1+1", "b"), "The patient_id '=1+1' of place begins with =, as a formula"),
        (("+a", "p", "b"), "The file_name '+a/1.png' of place begins with +"),
        (("a\nb", "p", "b"), "holds a control character"),
        (("a", "p", "<b>"), "The tumor_type '<b>' of place holds one of"),
    ],
)
def test_what_is_wrong_with_a_name_is_told(names, message):
    assert message in described(*names)


def test_plain_names_are_taken():
    table = described("class a (1)", "-12", "ductal, in situ")
    assert table["patient_id"].tolist() == ["-12", "-12"]


def test_a_class_folder_that_a_spreadsheet_would_run_is_refused(tmp_path, draw_png, data_args):
    for name in ("=cmd", "b"):
        draw_png(tmp_path / "images" / name / "1.png")
    with pytest.raises(InputError, match="begins with ="):
        load_images(data_args(tmp_path / "images", dataset="imagefolder"))


@given(st.text())
def test_the_name_of_a_picture_is_plain(file_name):
    name = picture_name(file_name)
    assert name.isascii()
    assert not set(name) & set("/\\ ()[]<>|\"'%#?&:*\n")
    assert name.endswith(".png")
    assert not name.startswith(".")
    assert len(name) <= 85


@given(first=NAMES, second=NAMES)
@example("a/1.png", "b/1.png")
@example("1.png", "1.jpg")
@example("A.png", "A..png")
def test_two_images_have_two_pictures(first, second):
    assert (picture_name(first) == picture_name(second)) == (first == second)


def test_a_breakhis_picture_keeps_its_name():
    assert picture_name("SOB_M_DC-14-13412-100-001.png") == str(parse_file_name("SOB_M_DC-14-13412-100-001.png"))


@given(st.lists(st.text(max_size=5), max_size=5))
def test_a_list_of_names_is_one_line(names):
    assert few(names).isprintable()
