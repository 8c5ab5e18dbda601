"""What `doctor` says of the Hub and of the token."""

import pytest
from huggingface_hub import HfApi, constants

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
