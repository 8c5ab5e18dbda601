"""What `doctor` says of the Hub and of the token."""

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import close_session

from hf_breakhis.cli.help.doctor import check_hub


@pytest.mark.parametrize(("token", "state"), [(None, "note"), ("hf_loopback", "ok"), ("hf_other", "problem")])
def test_the_hub_answers_and_the_token_has_a_user(hub, monkeypatch, token, state):
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint=hub.url))
    found = {line.subject: line for line in check_hub()}
    assert found["Hub"].state == "ok"
    assert found["token"].state == state
    assert ("of user user" in found["token"].text) == (state == "ok")
    assert "hf_" not in found["token"].text.replace("hf auth login", "")


def test_a_hub_that_does_not_answer_is_a_note(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_stored")
    found = {line.subject: line for line in check_hub()}
    assert found["Hub"].state == "note"
    assert "does not answer" in found["Hub"].text


@pytest.mark.parametrize(("route", "subject"), [("list", "Hub"), ("whoami_v2", "token")])
def test_a_hub_that_answers_with_an_error_is_a_note(hub, monkeypatch, route, subject):
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_loopback")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint=hub.url))
    assert {line.state for line in check_hub()} == {"ok"}
    hub.refuse[route] = 503
    found = {line.subject: line for line in check_hub()}
    assert found[subject].state == "note"
    assert "answers with an error (503)" in found[subject].text


@pytest.mark.parametrize("endpoint", ["nonsense", "http://[x"])
def test_an_address_that_is_none_is_a_note(monkeypatch, endpoint):
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_stored")
    assert {line.state for line in check_hub()} == {"note"}


def test_a_proxy_that_cannot_be_used_is_a_problem(monkeypatch):
    close_session()
    monkeypatch.setenv("HTTPS_PROXY", "nonsense://x")
    (line,) = check_hub()
    assert line.state == "problem"
    assert "Check HTTPS_PROXY" in line.text
    close_session()
