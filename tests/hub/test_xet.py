"""An upload with Xet on: its client stores the large files in a folder, from which it reads the same bytes back."""

import numpy as np
import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from hf_breakhis.hub.remote import open_repo, push_folder

hf_xet = pytest.importorskip("hf_xet")
NAME = "user/model"


@pytest.fixture
def storage(hub, tmp_path, monkeypatch):
    """The folder in which this process stores with Xet, as the Hub on loopback says."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setenv("HF_TOKEN", next(iter(hub.tokens)))
    (tmp_path / "xet").mkdir()
    hub.xet = f"local://{tmp_path / 'xet'}"
    yield tmp_path / "xet"
    close_session()


@pytest.fixture
def weights(tmp_path):
    """A large file in a folder with a card."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("---\nlicense: mit\n---\n")
    place = tmp_path / "folder" / "model.safetensors"
    place.write_bytes(np.random.default_rng(0).bytes(300_000))
    return place


def fetched(place, storage, folder):
    """Return what the storage holds under the name that Xet gives to the content of a file."""
    (known,) = hf_xet.hash_files([str(place)])
    target = folder / "back"
    wanted = hf_xet.PyXetDownloadInfo(str(target), known.hash, known.file_size)
    with pytest.warns(DeprecationWarning, match="download_files"):
        hf_xet.download_files([wanted], f"local://{storage}", ("x", 4102444800), None, None)
    return target.read_bytes()


def test_large_files_are_in_the_storage_and_the_rest_in_the_commit(hub, storage, weights, tmp_path):
    open_repo(NAME, "model")
    push_folder(weights.parent, NAME, "model", [], "Upload")
    routes = [route for route, _ in hub.log]
    assert ("xet_write_token" in routes, "put" in routes) == (True, False)
    assert fetched(weights, storage, tmp_path) == weights.read_bytes()
    there = hub.repos["model", NAME].files
    assert there["README.md"] == (weights.parent / "README.md").read_bytes()
    assert there["model.safetensors"].startswith(b"in the storage of Xet: ")
    other = tmp_path / "other"  # the control: what was never uploaded
    other.write_bytes(b"other weights" * 1000)
    with pytest.raises(Exception, match="File size mismatch"):
        fetched(other, storage, tmp_path)
