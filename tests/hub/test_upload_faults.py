"""An upload that breaks is one line, with Xet and without."""

import time

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from hf_breakhis.files import InputError
from hf_breakhis.hub.remote import open_repo, push_folder

NAME = "user/model"


@pytest.fixture(params=[True, False], ids=["with Xet", "without Xet"])
def upload(request, hub, tmp_path, monkeypatch):
    """Push a folder with a large file, in this process."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not request.param)
    monkeypatch.setenv("HF_TOKEN", next(iter(hub.tokens)))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # the client waits before it tries again
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "folder" / "README.md").write_text("---\nlicense: mit\n---\n")
    open_repo(NAME, "model")
    yield lambda: push_folder(tmp_path / "folder", NAME, "model", [], "Upload"), request.param
    close_session()


def refusal(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_broken_connection_is_one_line(upload, hub):
    push, xet = upload
    hub.cut = 99
    assert refusal(push).startswith("The connection to the Hub failed (")
    routes = [route for route, _ in hub.log]
    assert ("xet_write_token" in routes, "put" in routes) == (xet, not xet)
    assert hub.repos["model", NAME].files == {}


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "does not accept the token"), (403, "is refused (403)"), (404, "there is no user/model")],
)
def test_a_refusal_is_one_line_with_its_reason(upload, hub, status, message):
    push, xet = upload
    hub.refuse["xet_write_token" if xet else "batch"] = status
    assert message in refusal(push)
    assert hub.repos["model", NAME].files == {}


def test_a_fault_of_this_package_keeps_its_traceback(upload, monkeypatch):
    push, _ = upload
    monkeypatch.setattr("hf_breakhis.hub.remote._send", lambda *_: (_ for _ in ()).throw(RuntimeError("a fault")))
    with pytest.raises(RuntimeError, match="a fault"):
        push()
