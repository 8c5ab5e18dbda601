"""Images come out the same however they come in, and what is not BreakHis is refused in one line."""

import contextlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hf_breakhis.data.filenames import MAGNIFICATIONS, parse_file_name
from hf_breakhis.data.images import COLUMNS
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.data.open_image import open_image
from hf_breakhis.data.sources.table import SOURCES, load_images, prepare_once
from hf_breakhis.files import InputError


def refusal(data_args):
    with pytest.raises(InputError) as caught:
        load_images(data_args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_follow_from_the_file_names(small_breakhis, data_args):
    images = load_images(data_args(small_breakhis))
    assert tuple(images.dataset.column_names) == COLUMNS
    assert images.classes == ("benign", "malignant")
    rows = images.dataset.to_list()
    names = [row["file_name"] for row in rows]
    assert names == sorted(path.name for path in small_breakhis.rglob("*.png"))
    for row in rows:
        name = parse_file_name(row["file_name"])
        assert row["label"] == name.label
        for column in ("tumor_type", "patient_id", "specimen_id", "magnification"):
            assert row[column] == getattr(name, column)


def test_each_row_shows_its_own_picture(small_breakhis, data_args):
    for row in load_images(data_args(small_breakhis)).dataset:
        with Image.open(small_breakhis / parse_file_name(row["file_name"]).path) as picture:
            assert np.array_equal(np.asarray(open_image(row["image"]["path"])), np.asarray(picture))


@pytest.mark.parametrize(
    "level", ["", "BreaKHis_v1", "BreaKHis_v1/histology_slides", "BreaKHis_v1/histology_slides/breast"]
)
def test_every_level_of_the_tree_will_do(small_breakhis, data_args, level):
    assert len(load_images(data_args(small_breakhis / level)).dataset) == 24


def test_magnifications_are_chosen(small_breakhis, data_args):
    images = load_images(data_args(small_breakhis, magnifications=["200X"]))
    assert set(images.dataset["magnification"]) == {"200X"}
    assert len(images.dataset) == 12
    assert images.warnings[0].startswith("12 of 2,013 images of BreakHis at 200X are here, from 6 of 82 slide folders")


def test_absent_magnifications_are_told(small_breakhis, data_args):
    message = refusal(data_args(small_breakhis, magnifications=["100X", "400X"]))
    assert "No image at 100X, 400X" in message
    assert "there are only 40X, 200X" in message


def test_the_target_may_be_the_tumor_type(small_breakhis, data_args):
    images = load_images(data_args(small_breakhis, target="tumor_type"))
    assert images.classes == ("A", "F", "PT", "TA", "DC", "LC", "MC", "PC")
    labels = [images.classes[label] for label in images.dataset["label"]]
    assert labels == list(images.dataset["tumor_type"])


def test_real_images_are_a_subset_and_said_to_be_one(real_breakhis, data_args):
    images = load_images(data_args(real_breakhis))
    assert (images.source, len(images.dataset), images.findings) == ("breakhis", 63, [])
    (warning,) = images.warnings
    assert warning.startswith("63 of 7,909 images of BreakHis are here, from 20 of 82 slide folders; missing most: ")


def test_the_whole_of_breakhis_needs_no_warning(tmp_path, data_args):
    for name in map(parse_file_name, expected_file_names()):
        path = tmp_path / name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    images = load_images(data_args(tmp_path))
    assert (len(images.dataset), images.warnings, images.findings) == (7909, [], [])


def test_a_wrong_folder_is_a_finding_and_the_name_counts(small_breakhis, data_args):
    breast = small_breakhis / "BreaKHis_v1/histology_slides/breast"
    path = next((breast / "malignant").rglob("*.png"))
    benign = next((breast / "benign").rglob("*.png")).parent
    path.rename(benign / path.name)
    images = load_images(data_args(small_breakhis))
    assert images.dataset.filter(lambda row: row["file_name"] == path.name)["label"][0] == 1
    (finding,) = images.findings
    assert "disagrees with the file name" in finding
    assert path.name in finding


def test_other_files_are_ignored_and_strange_pictures_told(small_breakhis, data_args, draw_png):
    folder = next(small_breakhis.rglob("*.png")).parent
    for name in ("README.txt", ".DS_Store", "._SOB_B_A-14-22549AB-40-001.png", "Thumbs.db"):
        (folder / name).write_text("not a picture")
    draw_png(folder / "figure.png")
    images = load_images(data_args(small_breakhis))
    assert len(images.dataset) == 24
    (finding,) = images.findings
    assert finding.startswith("Left out, since not named as BreakHis images are: ")
    assert "figure.png" in finding


@pytest.mark.parametrize("name", ["x.JPEG", "a.tif", "b.tiff", "c.bmp"])
def test_images_of_other_names_are_reported(small_breakhis, data_args, name):
    path = next(small_breakhis.rglob("*.png")).with_name(name)
    path.write_bytes(b"whatever")
    path.with_name(f"._{name}").write_bytes(b"of macOS")
    images = load_images(data_args(small_breakhis))
    assert len(images.dataset) == 24
    assert images.findings == [f"Left out, since not named as BreakHis images are: {path}."]
    assert images.places["unnamed"] == [str(path)]


def test_a_name_that_breakhis_does_not_have_is_told(small_breakhis, data_args, draw_png):
    draw_png(small_breakhis / parse_file_name("SOB_B_A-14-22549AB-40-999.png").path)
    images = load_images(data_args(small_breakhis))
    assert images.findings == ["Not in the inventory of BreakHis, but used: SOB_B_A-14-22549AB-40-999.png."]
    assert images.warnings[0].startswith("24 of 7,909 images")


def test_the_same_name_twice_is_refused_with_both_places(small_breakhis, data_args):
    path = next(small_breakhis.rglob("SOB_M_*.png"))
    copy = path.parents[1] / "400X" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes() + b"more")
    message = refusal(data_args(small_breakhis))
    assert str(path) in message
    assert str(copy) in message
    assert "Two different images are named" in message


def test_equal_files_of_one_name_are_one_image(small_breakhis, data_args):
    path = next(small_breakhis.rglob("SOB_M_*.png"))
    shutil.copy(path, path.parent.parent)
    images = load_images(data_args(small_breakhis))
    assert len(images.dataset) == 24
    assert len(images.places["copy"]) == 1
    assert any(text.startswith("There more than once") for text in images.findings)


def test_an_absent_folder_is_refused(tmp_path, data_args):
    assert "there is no such file or folder; give BreaKHis_v1.tar.gz" in refusal(data_args(tmp_path / "nowhere"))


def test_an_empty_folder_is_refused(tmp_path, data_args):
    assert "is empty; unpack BreaKHis_v1.tar.gz there" in refusal(data_args(tmp_path))


def test_another_folder_is_refused(tmp_path, data_args, draw_png):
    draw_png(tmp_path / "cats/cat.png")
    assert "is named as BreakHis images are. Give BreakHis, or class folders" in refusal(data_args(tmp_path))


def test_a_tree_without_pictures_is_refused(tmp_path, data_args):
    (tmp_path / "breast/benign").mkdir(parents=True)
    assert "No image (.png .jpg" in refusal(data_args(tmp_path))


def test_a_tree_of_other_pictures_is_refused(tmp_path, data_args, draw_png):
    draw_png(tmp_path / "breast/benign/cat.png")
    assert "is named as BreakHis images are" in refusal(data_args(tmp_path))


def test_a_name_that_is_not_text_is_refused(small_breakhis, data_args):
    folder = next(small_breakhis.rglob("*.png")).parent
    (folder / b"\xff.png".decode("utf-8", "surrogateescape")).touch()
    assert "is not UTF-8; rename the file" in refusal(data_args(small_breakhis))


def test_without_a_place_the_archive_is_downloaded(own_cache, small_breakhis, data_args, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "hf_breakhis.data.sources.table.download_breakhis", lambda folder: asked.append(folder) or small_breakhis
    )
    assert len(load_images(data_args()).dataset) == 24
    assert asked == [own_cache / "hf_breakhis/downloads"]


def test_a_path_as_data_set_is_told_from_a_hub_id(small_breakhis, data_args):
    assert f"--data_dir {small_breakhis}" in refusal(data_args(dataset=str(small_breakhis)))
    assert "no Hub id; one looks like OWNER/NAME" in refusal(data_args(dataset="no/such/thing"))


def test_a_revision_needs_the_hub(small_breakhis, data_args):
    assert "`dataset_revision` is a commit of a Hub data set" in refusal(
        data_args(small_breakhis, dataset_revision="abc")
    )


def test_an_unknown_data_set_is_refused_with_the_known_ones(data_args):
    message = refusal(data_args(dataset="brakhis"))
    assert "'brakhis'" in message
    assert all(source in message for source in SOURCES)


def test_settings_of_the_twin_need_the_twin(small_breakhis, data_args):
    assert "`twin_kwargs` is for dataset=twin or rcl7500_twin, not breakhis" in refusal(
        data_args(small_breakhis, twin_kwargs={"seed": 1})
    )


TINY_TWIN = {"scale": 0.001, "width": 48, "height": 32}


def test_the_twin_is_generated_once_and_owns_up(own_cache, data_args):
    args = data_args(dataset="twin", twin_kwargs=TINY_TWIN)
    images = load_images(args)
    assert images.source == "twin"
    assert images.location.startswith(str(own_cache))
    assert images.warnings == []
    assert images.cautions == [
        f"All {len(images.dataset)} images are generated (synthetic twin). Scores say nothing about real tissue."
    ]
    before = sorted((path, path.stat().st_mtime_ns) for path in own_cache.rglob("SOB*.png"))
    assert load_images(args).dataset.to_list() == images.dataset.to_list()
    assert before == sorted((path, path.stat().st_mtime_ns) for path in own_cache.rglob("SOB*.png"))


def test_a_twin_passed_off_as_breakhis_is_recognised(data_args):
    twin = load_images(data_args(dataset="twin", twin_kwargs=TINY_TWIN))
    images = load_images(data_args(twin.location))
    assert (images.source, images.warnings) == ("twin", twin.warnings)
    named = load_images(data_args(twin.location, dataset="twin"))
    assert named.dataset.to_list() == images.dataset.to_list()


def test_the_twin_never_writes_over_other_files(small_breakhis, data_args):
    before = sorted(small_breakhis.rglob("*"))
    assert "is no twin" in refusal(data_args(small_breakhis, dataset="twin", twin_kwargs=TINY_TWIN))
    assert sorted(small_breakhis.rglob("*")) == before


def test_one_process_alone_starts_no_process_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr("accelerate.PartialState", None)
    with prepare_once():
        pass


@pytest.mark.parametrize("fails", [False, True])
def test_the_main_process_prepares_then_each_machine_then_the_rest(monkeypatch, fails):
    """Four processes on two machines, as threads around one barrier; an error leaves nobody waiting."""
    barrier, order, here = threading.Barrier(4, timeout=20), [], threading.local()

    def prepare(rank):
        here.state = SimpleNamespace(
            is_main_process=rank == 0, is_local_main_process=rank in (0, 2), wait_for_everyone=barrier.wait
        )
        with contextlib.suppress(InputError), prepare_once():
            order.append(rank)
            if fails:
                raise InputError("damaged")

    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setattr("accelerate.PartialState", lambda cpu: here.state)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(prepare, range(4)))
    assert order[:2] == [0, 2]
    assert sorted(order[2:]) == [1, 3]


def test_magnifications_may_come_in_any_order(small_breakhis, data_args):
    one = load_images(data_args(small_breakhis, magnifications=list(reversed(MAGNIFICATIONS))))
    assert one.dataset.to_list() == load_images(data_args(small_breakhis)).dataset.to_list()
