"""`train --push_to_hub` publishes what `publish` would, and reports what would be refused before training."""

import pytest
import yaml
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.recipe import build_recipe
from tests.conftest import RUN_FIELDS

pytestmark = pytest.mark.usefixtures("small_reports")

NAME = "user/pushed"
PUSH = ("--push_to_hub", "true", "--hub_model_id", NAME)
SECRET = "hf_secretontheline"  # noqa: S105 (of the server on loopback)


@pytest.fixture
def recipe(tmp_path):
    """A file with the recipe of `trained_run`."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(RUN_FIELDS))
    return path


@pytest.fixture
def at_loopback(hub, monkeypatch):
    """Let this process take the server for the Hub, without a token."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(hub.home / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield hub
    close_session()


def commits(hub):
    return [path for route, path in hub.log if route == "commit"]


def test_one_command_trains_and_publishes_and_leaves_no_token(at_loopback, recipe, tmp_path, capfd):
    at_loopback.tokens[SECRET] = "user"
    run = tmp_path / "run"
    command = ["train", str(recipe), "--output_dir", str(run), *PUSH, "--hub_token", SECRET, "--hub_revision", "v2"]
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert f"pushed: {at_loopback.url}/{NAME}/tree/v2" in out
    there = at_loopback.repos["model", NAME]
    sent = len(commits(at_loopback))
    assert main(["publish", str(run), "--repo_id", NAME, "--output_dir", str(tmp_path / "p"), "--dry_run"]) == 0
    model = (tmp_path / "p" / "model.safetensors").read_bytes()
    assert model in [*there.files.values(), *at_loopback.objects.values()]
    assert main(command) == 0, "again: finished, and nothing new to send"
    assert "is already finished" in capfd.readouterr().out
    assert len(commits(at_loopback)) == sent
    left = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert left == []
    assert SECRET not in out + err


def test_two_processes_publish_once(hub, recipe, tmp_path, run_two):
    command = ["scripts/train.py", recipe, "--output_dir", tmp_path / "run", *PUSH, "--use_cpu", "false"]
    printed = run_two(*command, environment=hub.environment(), small=["figures", "resamples"])
    assert "".join(printed).count("pushed: ") == 1
    assert "README.md" in hub.repos["model", NAME].files


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("--hub_model_id", "no name"), "is no name of a repository"),
        ((), "Not logged in"),
        (("--repeats", "2"), "`repeats` is 2"),
        (("--fold", "0"), "`fold` is 0"),
    ],
    ids=["name", "token", "repeats", "fold"],
)
def test_what_cannot_be_published_is_refused_before_training(at_loopback, recipe, tmp_path, capfd, given, line):
    assert main(["train", str(recipe), "--output_dir", str(tmp_path / "run"), *PUSH, *given]) == 2
    error = capfd.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert at_loopback.repos == {}


def test_a_name_of_someone_else_is_refused_before_training(at_loopback, recipe, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", next(iter(at_loopback.tokens)))
    at_loopback.refuse["repos_create"] = 403
    assert main(["train", str(recipe), "--output_dir", str(tmp_path / "run"), *PUSH]) == 2
    assert "writing to user/pushed is refused (403)" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "visibility"),
    [(None, None), ("true", "private"), ("false", "public")],
    ids=["unset", "private", "public"],
)
def test_a_new_repository_is_as_the_trainer_would_create_it(
    at_loopback, recipe, tmp_path, monkeypatch, given, visibility
):
    """An organisation may have another default than public, so unset and public differ."""
    monkeypatch.setenv("HF_TOKEN", next(iter(at_loopback.tokens)))
    at_loopback.refuse["auth_check"] = 403  # ends the command after the repository was created
    option = [] if given is None else ["--hub_private_repo", given]
    assert main(["train", str(recipe), "--output_dir", str(tmp_path / "run"), *PUSH, *option]) == 2
    assert at_loopback.created == [(NAME, visibility)]


def test_a_public_repository_is_refused_where_a_private_one_is_asked_for(
    at_loopback, recipe, tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", next(iter(at_loopback.tokens)))
    at_loopback.repos["model", NAME] = at_loopback.new_repo(private=False)
    command = ["train", str(recipe), "--output_dir", str(tmp_path / "run"), *PUSH, "--hub_private_repo", "true"]
    assert main(command) == 2
    assert "leave out --private and `hub_private_repo`" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"push_to_hub": True}, "needs `hub_model_id`"),
        ({"push_to_hub": True, "hub_model_id": NAME, "hub_strategy": "every_save"}, "`hub_strategy` has to be end"),
        ({"hub_model_id": NAME}, "`hub_model_id` has no effect, since `push_to_hub` is False"),
        ({"hub_always_push": True}, "uploaded once, after the report"),
    ],
)
def test_fields_of_the_hub_that_contradict_are_refused(fields, line):
    with pytest.raises(InputError, match=line):
        build_recipe(RUN_FIELDS | fields, {})
