"""What a killed command left half written is deleted; what is being written, or is not ours, stays."""

import os
import signal
import subprocess
import sys

import pytest

from hf_breakhis import files
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.twin.twin import TwinSettings, write_twin
from hf_breakhis.files import remove_leftovers, temporary, write_text, write_whole
from hf_breakhis.hub.dataset_export import export_images

TINY = TwinSettings(scale=0.001, width=36, height=32)
OTHERS = (".twin.part", ".twin.0123456.part", ".twin.0123abcz.part", ".twin2.0123abcd.part", "twin.0123abcd.part")
WRITE = """
import sys, time
from pathlib import Path
from hf_breakhis.data.twin import twin
twin._write_pictures = lambda folder, *_: ((folder / "half").touch(), print("writing", flush=True), time.sleep(60))
twin.write_twin(Path(sys.argv[1]), twin.TwinSettings())
"""


@pytest.fixture
def left(tmp_path):
    """What a killed process left beside `twin`."""
    part = tmp_path / ".twin.0123abcd.part"
    (part / "inner").mkdir(parents=True)
    (part / "inner" / "half.png").touch()
    return part


def test_only_what_was_left_of_this_name_is_deleted(tmp_path, left):
    for name in OTHERS:
        (tmp_path / name).mkdir()
    (tmp_path / ".twin.00000000.part").write_text("half a file")
    (tmp_path / ".twin.11111111.part").symlink_to(tmp_path / OTHERS[0])
    remove_leftovers(tmp_path / "twin")
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {*OTHERS, ".twin.11111111.part"}


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_being_written_stays(tmp_path, folder):
    with temporary(tmp_path / "twin", folder) as part:
        remove_leftovers(tmp_path / "twin")
        assert part.exists()
        assert part.is_dir() == folder
    assert list(tmp_path.iterdir()) == []


def test_a_file_removes_what_killed_writers_of_it_left(tmp_path):
    (tmp_path / ".scores.csv.0123abcd.part").write_text("half")
    (tmp_path / ".other.csv.0123abcd.part").write_text("half")
    write_text(tmp_path / "scores.csv", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"scores.csv", ".other.csv.0123abcd.part"}


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    def write(part):
        write_text(tmp_path / "a", "inner")
        part.write_text("outer")

    write_whole(tmp_path / "a", write)
    assert (tmp_path / "a").read_text() == "outer"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_part_that_another_process_takes_for_a_leftover_is_made_anew(tmp_path, monkeypatch):
    real, lost = files._lock, []

    def lose_the_first(part):
        if not lost:
            lost.append(part)
            part.unlink()
        return real(part)

    monkeypatch.setattr(files, "_lock", lose_the_first)
    assert write_text(tmp_path / "a", "text").read_text() == "text"
    assert lost


def test_a_writer_that_is_killed_is_told_from_one_that_lives(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path / "twin")], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"writing\n"
        (part,) = tmp_path.iterdir()
        remove_leftovers(tmp_path / "twin")
        assert (part / "half").exists()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert (part / "half").exists()
        remove_leftovers(tmp_path / "twin")
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_without_such_locks_nothing_is_deleted(tmp_path, left, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    remove_leftovers(tmp_path / "twin")
    assert left.exists()
    assert write_text(tmp_path / "file", "text").read_text() == "text"


def test_twins_and_exports_clear_up_before_they_write(tmp_path, small_breakhis, data_args, left, monkeypatch):
    monkeypatch.setattr("hf_breakhis.data.twin.twin._write_pictures", lambda *_: None)
    write_twin(tmp_path / "twin", TINY, num_proc=1)
    left.with_name(".export.0123abcd.part").mkdir()
    export_images(load_images(data_args(small_breakhis)), tmp_path / "export")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "small", "twin"]


def test_the_twin_of_rcl_clears_up_too(tmp_path, data_args, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0})
    (tmp_path / ".rcl.0123abcd.part").mkdir()
    settings = {"scale": 0.001, "width": 48, "height": 32}
    load_images(data_args(tmp_path / "rcl", dataset="rcl7500_twin", twin_kwargs=settings))
    assert [path.name for path in tmp_path.iterdir()] == ["rcl"]
