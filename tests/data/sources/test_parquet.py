"""A table with pictures in it is BreakHis again, or one line says what it lacks."""

import datasets
import pandas as pd
import pytest

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.images import COLUMNS
from hf_breakhis.data.inventory import official_folds
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError


@pytest.fixture
def rows(small_breakhis):
    """One dictionary an image, with the columns of `data export`, in no order."""
    found = []
    for path in sorted(small_breakhis.rglob("*.png"), key=lambda path: path.name[::-1]):
        name = parse_file_name(path.name)
        row = {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": name.label, "file_name": path.name}
        row |= {column: getattr(name, column) for column in COLUMNS[2:-1]}
        row |= {f"official_fold_{i + 1}": part for i, part in enumerate(official_folds()[name.patient_id])}
        found.append(row | {"specimen_fold": int(name.specimen_id[-1]) % 5})
    return found


def write(rows, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)
    return path


def refusal(args):
    with pytest.raises(InputError) as caught:
        load_images(args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("place", ["all.parquet", "data/train.parquet", "train-0.parquet"])
def test_parquet_gives_the_rows_and_bytes_of_the_folder(tmp_path, small_breakhis, rows, data_args, place):
    path = write(rows, tmp_path / "export" / place)
    images = load_images(data_args(path if place == "all.parquet" else tmp_path / "export"))
    folder = load_images(data_args(small_breakhis))
    raw = images.dataset.cast_column("image", datasets.Image(decode=False))
    for row, image in zip(folder.dataset.remove_columns("image"), raw, strict=True):
        content = image.pop("image")["bytes"]
        assert image == row
        assert content == (small_breakhis / parse_file_name(row["file_name"]).path).read_bytes()
    assert (images.warnings, images.findings, images.source) == (folder.warnings, [], "breakhis")
    assert images.dataset.features == folder.dataset.features
    assert images.stamp


def test_a_folder_for_each_magnification_is_read_as_far_as_wanted(tmp_path, rows, data_args):
    for magnification in ("40X", "200X"):
        chosen = [row for row in rows if row["magnification"] == magnification]
        write(chosen, tmp_path / "export" / magnification / "train.parquet")
    assert len(load_images(data_args(tmp_path / "export")).dataset) == 24
    (tmp_path / "export/40X/train.parquet").write_bytes(b"damaged, but not asked for")
    assert len(load_images(data_args(tmp_path / "export", magnifications=["200X"])).dataset) == 12


def test_a_changed_file_is_read_again(tmp_path, rows, data_args):
    args = data_args(write(rows, tmp_path / "export/a.parquet"))
    first = load_images(args)
    write(rows[:20], tmp_path / "export/a.parquet")
    again = load_images(args)
    assert (len(first.dataset), len(again.dataset)) == (24, 20)
    assert first.stamp != again.stamp


def test_the_file_name_is_believed_and_a_wrong_column_told(tmp_path, rows, data_args):
    rows[0] |= {"label": 1 - rows[0]["label"], "tumor_type": "XX", "official_fold_2": "validation"}
    rows[1] |= {"specimen_fold": 9}
    images = load_images(data_args(write(rows, tmp_path / "a.parquet")))
    labels = dict(zip(images.dataset["file_name"], images.dataset["label"], strict=True))
    assert labels == {name: parse_file_name(name).label for name in labels}
    text = " ".join(images.findings)
    for column in ("label", "tumor_type", "official_fold_2"):
        assert f"The column {column} of {tmp_path / 'a.parquet'} is wrong" in text
    assert f"divides specimens: {parse_file_name(rows[1]['file_name']).specimen_id}" in text
    assert "patient_id" not in text


def test_other_images_in_our_columns_keep_what_the_columns_say(tmp_path, rows, data_args):
    for number, row in enumerate(rows):
        row |= {"file_name": f"image-{number:02d}", "patient_id": f"p{number // 4}", "specimen_id": None}
    images = load_images(data_args(write(rows, tmp_path / "a.parquet")))
    assert images.source == "parquet"
    assert list(images.dataset["patient_id"]) == [f"p{number // 4}" for number in range(24)]
    assert set(images.dataset["specimen_id"]) == {None}
    assert len(load_images(data_args(tmp_path / "a.parquet", magnifications=["40X"])).dataset) == 12


@pytest.mark.parametrize("absent", ["image", "label", "file_name"])
def test_a_table_without_our_columns_is_refused(tmp_path, rows, data_args, absent):
    path = write([{key: value for key, value in row.items() if key != absent} for row in rows], tmp_path / "a.parquet")
    message = refusal(data_args(path))
    assert f"{path} lacks the column {absent}; it has " in message
    assert "`hf-breakhis data export` wrote" in message


@pytest.mark.parametrize("picture", [1, "text", None, {"bytes": None, "path": "x.png"}])
def test_a_column_without_pictures_is_refused(tmp_path, rows, data_args, picture):
    path = write([row | {"image": picture} for row in rows], tmp_path / "a.parquet")
    assert f"The column image of {path} holds" in refusal(data_args(path))


def test_labels_that_are_no_numbers_are_refused(tmp_path, rows, data_args):
    path = write(
        [row | {"label": "benign", "file_name": f"{i}.png"} for i, row in enumerate(rows)], tmp_path / "a.parquet"
    )
    assert "is not made of whole numbers from 0" in refusal(data_args(path))


def test_the_same_name_twice_is_refused(tmp_path, rows, data_args):
    path = write([*rows, rows[0], *rows[:5]], tmp_path / "a.parquet")
    names = sorted(row["file_name"] for row in rows[:5])
    assert refusal(data_args(path)) == (
        f"{path} holds a name twice: {', '.join(names[:3])} and 2 more; give every image a name of its own."
    )


@pytest.mark.parametrize("change", [lambda b: b[:-20], lambda b: b"PAR1", lambda b: b[:4] + bytes(20) + b[24:]])
def test_a_damaged_file_is_refused(tmp_path, rows, data_args, change):
    path = write(rows, tmp_path / "a.parquet")
    path.write_bytes(change(path.read_bytes()))
    message = refusal(data_args(path))
    assert "is no whole Parquet file" in message or "is damaged or cut short" in message


def test_a_file_without_rows_among_others_does_no_harm(tmp_path, rows, data_args):
    write(rows, tmp_path / "a.parquet")
    pd.DataFrame(rows).iloc[:0].to_parquet(tmp_path / "b.parquet")
    assert len(load_images(data_args(tmp_path)).dataset) == 24


def test_an_empty_table_is_refused(tmp_path, rows, data_args):
    pd.DataFrame(rows).iloc[:0].to_parquet(tmp_path / "a.parquet")
    assert "holds no row" in refusal(data_args(tmp_path / "a.parquet"))
