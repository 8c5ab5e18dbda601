"""An export gives back the very files, groups and folds, stores nothing twice, and is whole or not there."""

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from hf_breakhis.cli import main
from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.images import COLUMNS
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.inventory import (
    NUM_SPECIMEN_FOLDS,
    SPECIMEN_FOLDS,
    SPECIMEN_SEED,
    expected_file_names,
    official_folds,
)
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import make_folds
from hf_breakhis.data.twin.twin import TwinSettings, write_twin
from hf_breakhis.files import InputError, read_json
from hf_breakhis.hub import dataset_export as parquet
from hf_breakhis.hub.dataset_export import FEATURES, export_images

# What a loader leaves open it closes when Python forgets it.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def images(small_breakhis, data_args):
    return load_images(data_args(small_breakhis))


@pytest.fixture
def exported(images, tmp_path):
    return export_images(images, tmp_path / "export")


def load(folder, *name):
    return datasets.load_dataset(str(folder), *name, split="train")


def undecoded(dataset):
    return dataset.cast_column("image", datasets.Image(decode=False)).to_list()


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_come_back_byte_for_byte(exported, small_breakhis):
    rows = undecoded(load(exported.folder))
    assert len(rows) == 24
    for row in rows:
        original = small_breakhis / parse_file_name(row["file_name"]).path
        assert row["image"] == {"bytes": original.read_bytes(), "path": row["file_name"]}


def test_columns_say_what_the_images_say(exported, images):
    loaded = load(exported.folder)
    assert loaded.features == FEATURES
    found = sorted(loaded.select_columns(list(COLUMNS[1:])).to_list(), key=lambda row: row["file_name"])
    assert found == images.dataset.remove_columns("image").to_list()


def test_folds_are_the_official_and_the_fixed_ones(exported):
    for row in undecoded(load(exported.folder)):
        parts = tuple(row[f"official_fold_{i}"] for i in range(1, 6))
        assert parts == official_folds()[row["patient_id"]]
        assert row["specimen_fold"] == SPECIMEN_FOLDS[row["specimen_id"]]


def test_the_fixed_split_is_the_recipes_own_on_all_images():
    """If a later version splits differently, the published split stays and this test is deleted."""
    names = [parse_file_name(name) for name in expected_file_names()]
    columns = {"patient_id": [n.patient_id for n in names], "specimen_id": [n.specimen_id for n in names]}
    folds = make_folds(np.array([n.label for n in names]), columns, "specimen", NUM_SPECIMEN_FOLDS, seed=SPECIMEN_SEED)
    for fold in folds:
        assert {SPECIMEN_FOLDS[names[row].specimen_id] for row in fold.test} == {fold.index}
    assert len(SPECIMEN_FOLDS) == 70


def test_a_configuration_for_each_magnification_and_nothing_stored_twice(exported):
    assert datasets.get_dataset_config_names(str(exported.folder)) == ["default", "40X", "200X"]
    for name in ("40X", "200X"):
        assert set(load(exported.folder, name)["magnification"]) == {name}
    files = list((exported.folder / "data").iterdir())
    assert sum(pq.read_metadata(path).num_rows for path in files) == 24
    assert sorted(path.name for path in exported.folder.iterdir()) == ["README.md", "data", "export.json"]
    assert exported.num_bytes == sum(path.stat().st_size for path in files)


def test_the_card_has_the_columns_and_sizes_that_loading_finds(exported):
    for name in ("default", "40X", "200X"):
        shown = datasets.load_dataset_builder(str(exported.folder), name).info
        loaded = load(exported.folder, name)
        assert shown.features == loaded.features
        assert shown.splits["train"].num_examples == len(loaded) == {"default": 24}.get(name, 12)
        counted = loaded.info.splits["train"].num_bytes  # while loading, not read from the card
        assert (shown.splits["train"].num_bytes, shown.dataset_size) == (counted, counted)
        pattern = "*.parquet" if name == "default" else f"{name}-*.parquet"
        assert shown.download_size == sum(path.stat().st_size for path in (exported.folder / "data").glob(pattern))


def test_the_manifest_is_the_same_before_and_after(exported, images, data_args):
    manifest = check_images(images).manifest_sha256
    assert exported.manifest_sha256 == manifest
    assert read_json(exported.folder / "export.json")["manifest_sha256"] == manifest
    assert manifest in (exported.folder / "README.md").read_text(encoding="utf-8")
    again = load_images(data_args(exported.folder))
    assert check_images(again).manifest_sha256 == manifest
    assert list(again.dataset["file_name"]) == list(images.dataset["file_name"])


def test_an_export_of_an_export_is_the_same(exported, data_args, tmp_path):
    again = export_images(load_images(data_args(exported.folder)), tmp_path / "again")
    assert tree(again.folder) == tree(exported.folder)


def test_shards_and_row_groups_are_bounded_and_numbered(images, tmp_path, monkeypatch):
    size = 10_000  # each picture is about that
    monkeypatch.setattr(parquet, "GROUP_BYTES", 2.5 * size)
    monkeypatch.setattr(parquet, "SHARD_BYTES", 5.5 * size)
    exported = export_images(images, tmp_path / "export")
    assert exported.files == tuple(f"{name}-{k:05d}-of-00003.parquet" for name in ("40X", "200X") for k in range(3))
    for name in exported.files:
        metadata = pq.read_metadata(exported.folder / "data" / name)
        assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [2, 2]
    assert len(load(exported.folder)) == 24


def test_exporting_again_replaces_an_export(exported, images, monkeypatch):
    before = tree(exported.folder)
    monkeypatch.setattr(parquet, "SHARD_BYTES", 1)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1)
    assert len(export_images(images, exported.folder).files) == 24
    monkeypatch.undo()
    export_images(images, exported.folder)
    assert tree(exported.folder) == before


def test_a_failure_leaves_the_earlier_export_whole(exported, images, monkeypatch):
    before = tree(exported.folder)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_card", fail)
    with pytest.raises(InputError, match="No space left on device"):
        export_images(images, exported.folder)
    assert tree(exported.folder) == before
    assert not list(exported.folder.parent.glob(".*"))


def test_files_that_change_meanwhile_are_noticed(images, small_breakhis, tmp_path, monkeypatch, draw_png):
    write = parquet.write_shards

    def replace_one_first(*arguments):
        path = next(small_breakhis.rglob("*.png"))
        draw_png(path.with_name("other.png")).replace(path)
        return write(*arguments)

    monkeypatch.setattr(parquet, "write_shards", replace_one_first)
    with pytest.raises(InputError, match="changed while they were exported; begin again"):
        export_images(images, tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_damaged_images_are_not_published(small_breakhis, data_args, tmp_path):
    path = next(small_breakhis.rglob("*.png"))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=rf"1 image cannot be used: {path.name} is cut short"):
        export_images(load_images(data_args(small_breakhis)), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_images_that_breakhis_does_not_have_are_not_exported(small_breakhis, data_args, tmp_path):
    path = next(small_breakhis.rglob("*.png"))
    path.with_name(f"{path.stem[:-3]}999.png").write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"Not among the images of BreakHis: SOB_.*-999\.png"):
        export_images(load_images(data_args(small_breakhis)), tmp_path / "export")


def test_only_breakhis_and_its_twin_are_exported(images, small_breakhis, data_args, tmp_path):
    object.__setattr__(images, "source", "imagefolder")
    with pytest.raises(InputError, match="`dataset` is imagefolder, but only BreakHis and its twin are exported"):
        export_images(images, tmp_path / "export")
    with pytest.raises(InputError, match="the tumour type has a column of its own"):
        export_images(load_images(data_args(small_breakhis, target="tumor_type")), tmp_path / "export")


def test_the_command_exports_into_a_relative_folder_but_not_into_the_working_directory(
    small_breakhis, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "export", "here", "--data_dir", str(small_breakhis)]) == 0
    assert "export: here (24 images, 2 files, 0.2 MB)" in capsys.readouterr().out
    assert len(load(tmp_path / "here")) == 24
    monkeypatch.chdir(tmp_path / "here")
    assert main(["data", "export", ".", "--data_dir", str(small_breakhis)]) == 2
    assert ". is the working directory, which is never replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["--private"], "--private needs --push_to_hub USER/NAME"),
        (["--push_to_hub", "breakhis"], "'breakhis' is no name of a repository: give user/name"),
        (["--push_to_hub", "a/b/c"], "'a/b/c' is no name of a repository"),
        (["--push_to_hub", "user/.."], "'user/..' is no name of a repository"),
        (["--push_to_hub", "user/breakhis"], "Not logged in to the Hugging Face Hub: run `hf auth login`"),
        (["--data_dir", "/no/where"], "no such file or folder"),
    ],
)
def test_bad_input_is_one_line_before_any_work(asked, line, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hf_breakhis.hub.remote.get_token", lambda: None)
    assert main(["data", "export", str(tmp_path / "export"), *asked]) == 2
    printed = capsys.readouterr()
    assert line in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert not (tmp_path / "export").exists()


def test_real_images_come_back_byte_for_byte(real_breakhis, data_args, tmp_path):
    images = load_images(data_args(real_breakhis))
    exported = export_images(images, tmp_path / "export")
    for row in undecoded(load(exported.folder)):
        path = real_breakhis / parse_file_name(row["file_name"]).path
        assert row["image"]["bytes"] == path.read_bytes()


def test_of_an_exported_twin_as_many_images_are_expected_as_it_had(tmp_path, data_args, monkeypatch, capsys):
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0})
    write_twin(tmp_path / "twin", TwinSettings(scale=0.001, width=48, height=32))
    export_images(load_images(data_args(tmp_path / "twin")), tmp_path / "export")
    assert main(["data", "verify", str(tmp_path / "export")]) == 0
    assert "Whole and clean." in capsys.readouterr().out
