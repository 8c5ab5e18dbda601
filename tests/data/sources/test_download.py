"""`dataset: breakhis` without a place fetches the archive once, and only if it is BreakHis."""

import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hf_breakhis.cli import main
from hf_breakhis.data.sources import download
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def published(tmp_path, small_breakhis, monkeypatch):
    """Publish the small BreakHis as if it were all of it; returns the archive's file."""
    folder = tmp_path / "www"
    folder.mkdir()
    with tarfile.open(folder / "BreaKHis_v1.tar.gz", "w:gz") as archive:
        archive.add(small_breakhis / "BreaKHis_v1", "BreaKHis_v1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "URL", f"http://127.0.0.1:{server.server_port}/BreaKHis_v1.tar.gz")
    names = sorted(path.name for path in small_breakhis.rglob("*.png"))
    monkeypatch.setattr(download, "expected_file_names", lambda: names)
    yield folder / "BreaKHis_v1.tar.gz"
    server.shutdown()
    server.server_close()


def test_the_archive_is_fetched_into_the_cache_once(own_cache, published, small_breakhis, data_args):
    images = load_images(data_args())
    folder = load_images(data_args(small_breakhis))
    archive = own_cache / "hf_breakhis/downloads/BreaKHis_v1.tar.gz"
    assert images.location == str(archive)
    assert images.dataset.remove_columns("image").to_list() == folder.dataset.remove_columns("image").to_list()
    published.unlink()
    assert len(load_images(data_args()).dataset) == 24
    archive.unlink()


def test_the_command_fetches_to_a_folder_that_is_then_a_place(published, tmp_path, data_args, capsys):
    assert main(["data", "download", str(tmp_path / "here")]) == 0
    assert capsys.readouterr().out == f"archive: {tmp_path / 'here/BreaKHis_v1.tar.gz'}\n"
    assert len(load_images(data_args(tmp_path / "here")).dataset) == 24
    published.unlink()
    assert main(["data", "download", str(tmp_path / "elsewhere")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("hf-breakhis: Cannot fetch http://127.0.0.1")
    assert "404" in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda names: [*names, "SOB_M_DC-14-2523-400-001.png"], "misses 1 image, SOB_M_DC-14-2523-400-001.png"),
        (lambda names: names[1:], "has besides 1 image, SOB_B_A-14-22549AB-200-001.png"),
    ],
)
def test_another_set_of_names_is_refused_and_deleted(published, tmp_path, monkeypatch, change, message):
    names = change(download.expected_file_names())
    monkeypatch.setattr(download, "expected_file_names", lambda: names)
    with pytest.raises(InputError) as caught:
        download.download_breakhis(tmp_path / "here")
    assert message in str(caught.value)
    assert "was deleted" in str(caught.value)
    assert [path.name for path in (tmp_path / "here").iterdir()] == [".BreaKHis_v1.tar.gz.lock"]


def test_a_waiting_process_takes_what_the_first_fetched(published, tmp_path, start_python):
    """Two processes, not threads: the lock is one of the file system."""
    code = (
        "import sys; from pathlib import Path; from hf_breakhis.data.sources import fetch;"
        "print(fetch.fetch(sys.argv[1], Path(sys.argv[2]), lambda path: None))"
    )
    command = ["-c", code, download.URL, str(tmp_path / "here/BreaKHis_v1.tar.gz")]
    runs = [start_python(*command) for _ in range(2)]
    outputs = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert (tmp_path / "here/BreaKHis_v1.tar.gz").read_bytes() == published.read_bytes()
