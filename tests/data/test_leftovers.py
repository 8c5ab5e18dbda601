"""What a killed writer left is deleted; what is being written, or is not ours, stays."""

import os
import signal
import subprocess
import sys

import pytest

from hf_breakhis.data import leftovers
from hf_breakhis.data.leftovers import remove_leftovers, writing
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.twin.twin import TwinSettings, write_twin
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
    (tmp_path / ".twin.00000000.part").write_text("a file of somebody")
    (tmp_path / ".twin.11111111.part").symlink_to(tmp_path / OTHERS[0])
    remove_leftovers(tmp_path / "twin")
    assert not left.exists()
    kept = {*OTHERS, ".twin.00000000.part", ".twin.11111111.part"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_what_is_being_written_stays(tmp_path, left):
    with writing(left):
        remove_leftovers(tmp_path / "twin")
        assert left.exists()
    remove_leftovers(tmp_path / "twin")
    assert not left.exists()


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
    monkeypatch.setattr(leftovers, "fcntl", None)
    with writing(left):
        remove_leftovers(tmp_path / "twin")
    assert left.exists()


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
