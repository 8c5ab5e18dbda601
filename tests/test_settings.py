"""Settings that are changed for a while come back, and those of the connection are checked."""

import gc
import weakref
from importlib import metadata

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import (
    are_progress_bars_disabled,
    close_session,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers.utils import logging as transformers_logging

from hf_breakhis import __version__, cli, settings
from hf_breakhis.arguments import ModelArguments
from hf_breakhis.data.sources.hub import fetch_published
from hf_breakhis.files import InputError
from hf_breakhis.hub.remote import require_login
from hf_breakhis.inference.hub_model import fetch_model
from hf_breakhis.settings import frozen_objects, require_hub_settings, restored_settings, versions_of
from hf_breakhis.training.modeling import require_reachable


class Knot:
    """An object that only garbage collection frees, since it refers to itself."""

    def __init__(self):
        self.itself = self


def tie():
    """Make such an object that nobody uses, and return how to look whether it still exists."""
    return weakref.ref(Knot())


def test_objects_from_before_are_skipped_inside_and_freed_afterwards(monkeypatch):
    monkeypatch.setattr(settings, "_depth", 0)  # the whole suite runs inside one
    gc.disable()
    try:
        old = tie()
        with frozen_objects():
            new = tie()
            gc.collect()
            assert new() is None
            with frozen_objects():
                gc.collect()
            assert old() is not None, "only the outermost makes objects collectable again"
        gc.collect()
        assert old() is None
    finally:
        gc.enable()
        gc.freeze()


@pytest.mark.parametrize(("ends", "code"), [(None, 0), (InputError("a reason"), 2)])
def test_a_command_collects_garbage_less_often_and_restores_the_threshold(monkeypatch, ends, code):
    before, inside = gc.get_threshold(), []

    def command(**_):
        inside.append(gc.get_threshold())
        if ends:
            raise ends

    monkeypatch.setattr(cli, "app", command)
    assert cli.main(["train"]) == code
    assert inside == [(settings.RARE, *before[1:])]
    assert gc.get_threshold() == before


def test_the_version_of_this_package_is_known_without_an_installation(monkeypatch):
    def version(name):
        if name == "hf-breakhis":
            raise metadata.PackageNotFoundError(name)
        return f"that of {name}"

    monkeypatch.setattr(metadata, "version", version)
    assert versions_of(["hf-breakhis", "torch"]) == {"hf-breakhis": __version__, "torch": "that of torch"}


@pytest.mark.parametrize("is_silent", [True, False])
def test_progress_bars_of_the_hub_alone_stay_as_they_are(is_silent):
    """transformers switches those of the Hub with its own."""
    switches = [enable_progress_bars, disable_progress_bars]
    before = are_progress_bars_disabled()
    try:
        transformers_logging.enable_progress_bar()
        switches[is_silent]()
        with restored_settings():
            transformers_logging.disable_progress_bar()
        assert transformers_logging.is_progress_bar_enabled()
        assert are_progress_bars_disabled() is is_silent
    finally:
        switches[before]()


@pytest.fixture
def new_client():
    """Let huggingface_hub read the environment again, now and for the next test."""
    close_session()
    yield
    close_session()


@pytest.mark.parametrize(
    "use",
    [
        require_login,
        lambda: fetch_model("user/model", None),
        lambda: fetch_published("user/images", None),
        lambda: require_reachable(ModelArguments(model_name_or_path="user/model")),
    ],
    ids=["publish", "predict", "dataset", "train"],
)
@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "nonsense://127.0.0.1"])
@pytest.mark.usefixtures("new_client")
def test_a_proxy_that_cannot_be_used_is_one_line(monkeypatch, use, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(InputError, match="Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY") as refused:
        use()
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("new_client")
def test_a_token_that_cannot_be_read_or_sent_is_one_line(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    place = tmp_path / "token"
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(place))
    require_hub_settings()
    place.write_text("hf_plain")
    require_hub_settings()
    place.write_text("h\u00e9", encoding="utf-8")
    with pytest.raises(InputError, match="characters that no token has") as refused:
        require_hub_settings()
    assert "h\u00e9" not in str(refused.value)
    for content in (b"\xff\xfe", None):
        place.unlink()
        place.mkdir() if content is None else place.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be read\. Delete this file, or set HF_HOME"):
            require_hub_settings()
