"""Every path is looked at first; then images come one at a time, with what is known about them."""

import datasets
import pandas as pd
import pytest

from hf_breakhis.files import InputError
from hf_breakhis.inference import inputs
from hf_breakhis.inference.inputs import Unreadable, find_images

NAME = "SOB_M_DC-14-13412-100-001.png"


def paths_of(*given):
    return [one.path for one in find_images(map(str, given))]


@pytest.mark.parametrize("given", ["nowhere.png", "nothing-*.png", "empty", "empty*", "hf://datasets/one", ""])
def test_a_path_with_nothing_behind_it_is_told_before_any_image(tmp_path, draw_png, given):
    (tmp_path / "empty").mkdir()
    first = draw_png(tmp_path / "a.png")
    given = given if given.startswith("hf:") else str(tmp_path / given) if given else ""
    with pytest.raises(InputError) as caught:
        find_images([str(first), given])
    assert "\n" not in str(caught.value)


def test_a_folder_is_walked_in_order_and_shadow_files_are_left_out(tmp_path, draw_png):
    for name in ("b/2.png", "b/10.png", "a/1.png", "z.png", "b/c/0.png", "b/._2.png"):
        draw_png(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("no image")
    found = [
        one.path.removeprefix(f"{tmp_path}/") for one in find_images([str(tmp_path)]) if type(one) is inputs.InputImage
    ]
    assert found == ["z.png", "a/1.png", "b/10.png", "b/2.png", "b/c/0.png"]


def test_patterns_take_files_and_folders(tmp_path, draw_png):
    for name in ("one/1.png", "two/2.png", "two/in/3.png", "two/in/4.jpg"):
        draw_png(tmp_path / name)
    (tmp_path / "empty").mkdir()

    def names(pattern):
        return [path.rpartition("/")[2] for path in paths_of(tmp_path / pattern)]

    assert names("*") == ["1.png", "2.png", "3.png", "4.jpg"]
    assert names("t*") == ["2.png", "3.png", "4.jpg"]
    assert names("**/*.png") == ["1.png", "2.png", "3.png"]
    assert names("two/**") == ["2.png", "3.png", "4.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path, draw_png):
    path = draw_png(tmp_path / "a[1].png")
    assert paths_of(path) == [str(path)]


def test_what_is_no_file_is_unreadable_and_not_opened(tmp_path, draw_png):
    import os

    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    draw_png(tmp_path / "z.png")
    found = list(find_images([str(tmp_path)]))
    assert [type(one) for one in found] == [Unreadable, Unreadable, inputs.InputImage]


def test_a_table_without_breakhis_names_tells_by_its_columns(tmp_path, draw_png):
    content = draw_png(tmp_path / "a.png").read_bytes()
    features = datasets.Features({
        "image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"]),
        "patient_id": datasets.Value("int64"), "file_name": datasets.Value("string"),
        "magnification": datasets.Value("string"),
    })  # fmt: skip
    rows = {
        "image": [{"bytes": content, "path": None}] * 2 + [None], "label": [1, 0, None], "patient_id": [7, None, 8],
        "file_name": ["x.png", NAME, "y.png"], "magnification": ["", "40X", ""],
    }  # fmt: skip
    path = tmp_path / "data" / "part.parquet"
    path.parent.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    plain, named, hollow = find_images([str(path.parent)])
    assert plain.path == f"{path}/x.png"
    assert plain.about == {"patient_id": "7", "labels": ("yes",)}
    assert named.about["patient_id"] == "SOB_M_DC-14-13412"
    assert named.about["magnification"] == "100X"  # the name is believed, not the column
    assert isinstance(hollow, Unreadable)


def test_a_damaged_table_and_one_without_pictures_are_unreadable(tmp_path):
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and no more")
    pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "text.parquet")
    reasons = [one.reason for one in find_images([str(tmp_path)])]
    assert len(reasons) == 2
    assert "damaged" in reasons[0]
    assert "lacks the column image" in reasons[1]


def test_a_table_is_read_a_few_rows_at_a_time(tmp_path, draw_png, monkeypatch):
    import pyarrow.parquet as pq

    content = draw_png(tmp_path / "a.png").read_bytes()
    pd.DataFrame({"image": [content] * 200}).to_parquet(tmp_path / "many.parquet")
    sizes = []
    plain = pq.ParquetFile.iter_batches

    def watched(self, *arguments, **options):
        for batch in plain(self, *arguments, **options):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    found = find_images([str(tmp_path / "many.parquet")])
    assert next(found).content == content
    assert sizes == [32]
    assert len(list(found)) == 199
    assert max(sizes) == 32


def test_a_hub_data_set_is_read_at_the_revision_asked_for(monkeypatch, draw_png, tmp_path):
    content = draw_png(tmp_path / "a.png").read_bytes()
    rows = {"image": [{"bytes": content, "path": None}], "file_name": [NAME], "extra": [1]}
    features = datasets.Features(
        {"image": datasets.Image(), "file_name": datasets.Value("string"), "extra": datasets.Value("int64")}
    )
    asked = []

    def fetch(place, revision, required):
        asked.append((place, revision))
        return datasets.Dataset.from_dict(rows, features=features), "0" * 40, ["a note"]

    monkeypatch.setattr(inputs, "fetch_published", fetch)
    shown = []
    (one,) = find_images(["hf://datasets/user/small@v1"], shown.append)
    assert asked == [("user/small", "v1")]
    assert shown == ["a note"]
    assert one.path == f"hf://datasets/user/small/{NAME}"
    assert one.content == content
    assert one.about["specimen_id"] == "14-13412"
