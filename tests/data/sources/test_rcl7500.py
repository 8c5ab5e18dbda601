"""RCL-7500 has pictures and labels alone; its twin has copies in it that are known."""

import hashlib
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.open_image import open_image
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import make_folds
from hf_breakhis.data.twin.rcl7500 import rcl_rows
from hf_breakhis.data.twin.twin import TwinSettings, is_twin, twin_file_names
from hf_breakhis.files import InputError

TINY = {"scale": 0.001, "width": 48, "height": 32}


def refusal(args):
    with pytest.raises(InputError) as caught:
        load_images(args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def rcl(tmp_path, draw_png):
    """Write a small RCL: `rcl(labels)` returns its folder."""

    def write(labels):
        (tmp_path / "rcl/data").mkdir(parents=True)
        pictures = [draw_png(tmp_path / f"{i}.png").read_bytes() for i in range(len(labels))]
        table = pd.DataFrame({"image": [{"bytes": content, "path": None} for content in pictures], "label": labels})
        table.to_parquet(tmp_path / "rcl/data/train.parquet")
        return tmp_path / "rcl"

    return write


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1], ["0", "0", "0", "1", "1"], ["Benign"] * 3 + ["Malignant"] * 2])
def test_rcl_has_labels_and_row_numbers_and_no_groups(rcl, data_args, labels):
    images = load_images(data_args(rcl(labels), dataset="rcl7500"))
    assert (images.source, images.classes) == ("rcl7500", ("benign", "malignant"))
    assert list(images.dataset["label"]) == [0, 0, 0, 1, 1]
    assert list(images.dataset["file_name"]) == [f"row-{i:05d}" for i in range(5)]
    assert set(images.dataset["patient_id"]) == set(images.dataset["tumor_type"]) == {None}
    assert "it holds copies" in images.warnings[0]
    assert images.warnings[1:] == ["RCL-7500 has 3,750 images of each class; here are 3 benign, 2 malignant."]
    assert check_images(images).unusable == {}


def test_splits_that_need_groups_refuse_with_the_reason(rcl, data_args):
    dataset = load_images(data_args(rcl([0, 0, 1, 1]), dataset="rcl7500")).dataset
    columns = {name: list(dataset[name]) for name in ("patient_id", "specimen_id")}
    for split_by in ("patient", "specimen", "official"):
        with pytest.raises(InputError, match=r"which these images do not have; use split_by=image, which may put one"):
            make_folds(np.array(dataset["label"]), columns, split_by=split_by)
    assert len(make_folds(np.array(dataset["label"]), columns, split_by="image", num_folds=2)) == 2


def test_what_is_not_rcl_is_refused(tmp_path, rcl, data_args, small_breakhis):
    place = rcl([0, 1, 2])
    assert "is not RCL-7500: its labels are not 0 (benign) and 1" in refusal(data_args(place, dataset="rcl7500"))
    assert "holds no Parquet file" in refusal(data_args(small_breakhis, dataset="rcl7500"))
    assert "holds no Parquet file" in refusal(data_args(tmp_path / "nowhere", dataset="rcl7500"))
    assert "`magnifications` is 40X" in refusal(data_args(rcl_ok(place), dataset="rcl7500", magnifications=["40X"]))
    assert "`target` is tumor_type" in refusal(data_args(place, dataset="rcl7500", target="tumor_type"))


def rcl_ok(place):
    path = place / "data/train.parquet"
    pd.read_parquet(path).iloc[:2].to_parquet(path)
    return place


def test_the_full_twin_has_the_numbers_of_rcl():
    rows = rcl_rows(TwinSettings())
    assert list(rows["label"]) == [0] * 3750 + [1] * 3750
    upright = rows[rows["turn"] == 0]
    names = twin_file_names(TwinSettings())
    benign = [name for name in names if parse_file_name(name).label == 0]
    assert sorted(upright.loc[upright["label"] == 0, "original"]) == benign
    assert rows["turn"].value_counts()[0] == 2480 + 3750
    assert not rows.duplicated(["original", "turn"]).any()
    assert set(rows.loc[rows["turn"] > 0, "label"]) == {0}
    assert (rows["label"] == [parse_file_name(name).label for name in rows["original"]]).all()
    assert rows.equals(rcl_rows(TwinSettings(width=64)))
    assert not rows.equals(rcl_rows(TwinSettings(seed=1)))


def test_the_twin_shows_what_its_truth_says(tmp_path, data_args):
    images = load_images(data_args(tmp_path / "out", dataset="rcl7500_twin", twin_kwargs=TINY))
    twin = load_images(data_args(dataset="twin", twin_kwargs=TINY))
    truth = pd.read_csv(tmp_path / "out/truth.csv")
    assert truth.equals(rcl_rows(TwinSettings(**TINY)))
    pictures = dict(zip(twin.dataset["file_name"], twin.dataset["image"], strict=True))
    assert (images.source, len(images.dataset), (truth["turn"] > 0).sum()) == ("rcl7500_twin", 2 * 145, 49)
    for row, image in zip(truth.itertuples(), images.dataset, strict=True):
        assert (image["file_name"], image["label"], image["patient_id"]) == (row.file_name, row.label, None)
        turned = np.rot90(np.asarray(open_image(pictures[row.original]["path"])), row.turn // 90)
        assert np.array_equal(np.asarray(open_image(image["image"]["path"])), turned)
    assert "49 of 290 images are rotated copies" in images.warnings[0]
    findings = check_images(images)
    assert findings.unusable == {}
    assert not any("among" in sentence for sentence in findings.findings)


def test_the_twin_is_written_once_and_again_only_for_other_settings(own_cache, data_args):
    args = data_args(dataset="rcl7500_twin", twin_kwargs=TINY)
    first = load_images(args)
    before = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.png")}
    assert len(before) >= len(first.dataset)
    assert load_images(args).dataset.to_list() == first.dataset.to_list()
    assert before == {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.png")}
    assert "holds another twin of RCL-7500" in refusal(
        data_args(first.location, dataset="rcl7500_twin", twin_kwargs=TINY | {"seed": 1})
    )


def test_without_hard_links_the_twin_is_copied(tmp_path, data_args, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    args = data_args(tmp_path / "linked", dataset="rcl7500_twin", twin_kwargs=TINY)
    linked = load_images(args)
    monkeypatch.setattr(os, "link", refuse)
    copied = load_images(data_args(tmp_path / "copied", dataset="rcl7500_twin", twin_kwargs=TINY))
    for images in (linked, copied):
        assert all(is_twin(path) for path in (tmp_path / "copied").glob("*.png"))
        assert len(images.dataset) == 290

    def digests(folder):
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.png"))]

    assert digests(tmp_path / "linked") == digests(tmp_path / "copied")


def test_the_twin_never_writes_over_other_files(small_breakhis, data_args):
    before = sorted(small_breakhis.rglob("*"))
    assert "is no twin of RCL-7500" in refusal(data_args(small_breakhis, dataset="rcl7500_twin", twin_kwargs=TINY))
    assert sorted(small_breakhis.rglob("*")) == before


def test_turned_copies_are_pictures_of_their_own_size(tmp_path, data_args):
    load_images(data_args(tmp_path / "out", dataset="rcl7500_twin", twin_kwargs=TINY))
    truth = pd.read_csv(tmp_path / "out/truth.csv")
    for row in truth[truth["turn"] > 0].itertuples():
        with Image.open(tmp_path / "out" / f"{row.file_name}.png") as picture:
            assert picture.size == ((32, 48) if row.turn in (90, 270) else (48, 32))


@pytest.mark.parametrize("column", ["file_name", "patient_id"])
def test_an_export_of_breakhis_is_not_taken_for_rcl(rcl, data_args, column):
    path = rcl([0, 1]) / "data/train.parquet"
    table = pd.read_parquet(path)
    table.assign(**{column: ["a", "b"]}).to_parquet(path)
    message = refusal(data_args(path.parent, dataset="rcl7500"))
    assert message.endswith("this is an export of BreakHis. Use --dataset breakhis.")
