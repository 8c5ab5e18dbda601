"""The real client pushes an export to a Hub on loopback and pulls it again; each refusal is one line."""

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import close_session

from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError
from hf_breakhis.hub import dataset_export as parquet
from hf_breakhis.hub import remote
from hf_breakhis.hub.dataset_export import claim_dataset, export_images, push_export

NAME = "user/breakhis"
PULL = """
import hashlib, json, sys
import datasets
rows = datasets.load_dataset("user/breakhis", split="train").cast_column("image", datasets.Image(decode=False))
print(json.dumps({row["file_name"]: hashlib.sha256(row["image"]["bytes"]).hexdigest() for row in rows}))
"""


@pytest.fixture
def at_loopback(hub, monkeypatch):
    """Let this process take the server for the Hub."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", next(iter(hub.tokens)))
    yield hub
    close_session()


@pytest.fixture
def exported(small_breakhis, data_args, tmp_path):
    return export_images(load_images(data_args(small_breakhis)), tmp_path / "export", NAME)


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_pushed_is_what_is_pulled(hub, small_breakhis, tmp_path):
    """Push, pull in a process as users start it, and the lines of the card."""
    asked = ("data", "export", tmp_path / "export", "--data_dir", small_breakhis, "--push_to_hub", NAME)
    pushed = hub.command(*asked, "--private")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.endswith(f"pushed: {hub.url}/datasets/{NAME}\n")
    repo = hub.repos["dataset", NAME]
    assert repo.private
    assert repo.files == files_of(tmp_path / "export")

    pulled = hub.run("-c", PULL)
    assert pulled.returncode == 0, pulled.stderr
    originals = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in small_breakhis.rglob("*.png")}
    assert json.loads(pulled.stdout) == originals

    card = repo.files["README.md"].decode()
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2
    shown = hub.run("-c", "\n".join(blocks) + "\nprint(len(images), len(train), len(test))")
    assert shown.returncode == 0, shown.stderr
    whole, train, test = map(int, shown.stdout.split())
    assert whole == 12
    assert train + test == 12
    assert test > 0


def test_images_of_a_pushed_data_set_are_scored_as_their_files_are(
    hub, exported, small_breakhis, trained_run, tmp_path
):
    repo = hub.command("data", "export", exported.folder, "--data_dir", small_breakhis, "--push_to_hub", NAME)
    assert repo.returncode == 0, repo.stderr
    tables = []
    for place in (f"hf://datasets/{NAME}", small_breakhis):
        done = hub.command("predict", trained_run, place, "--output", tmp_path / "scores.csv")
        assert done.returncode == 0, done.stderr
        table = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
        tables.append(table.set_index(table["path"].str.rpartition("/")[2]).sort_index())
    assert list(tables[0].index) == list(tables[1].index)
    assert len(tables[0]) == 24
    np.testing.assert_allclose(tables[0]["prob_malignant"], tables[1]["prob_malignant"], atol=1e-6)


def test_pushing_twice_changes_nothing(at_loopback, exported):
    claim_dataset(NAME, private=False)
    repo = at_loopback.repos["dataset", NAME]
    before = len(repo.commits)
    for _ in range(2):
        claim_dataset(NAME, private=False)
        push_export(exported, NAME)
    assert repo.files == files_of(exported.folder)
    assert len(repo.commits) == before + 1, "data and card in one commit"


def test_files_of_an_earlier_export_go(at_loopback, exported, small_breakhis, data_args, monkeypatch):
    claim_dataset(NAME, private=False)
    push_export(exported, NAME)
    monkeypatch.setattr(parquet, "SHARD_BYTES", 1)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 50_000)
    images = load_images(data_args(small_breakhis, magnifications=["40X"]))
    push_export(export_images(images, exported.folder, NAME), NAME)
    assert at_loopback.repos["dataset", NAME].files == files_of(exported.folder)
    assert not any("200X" in name for name in at_loopback.repos["dataset", NAME].files)


def test_a_refused_commit_leaves_the_repository_as_it_was_and_the_next_push_finishes(at_loopback, exported):
    claim_dataset(NAME, private=False)
    at_loopback.refuse["commit"] = 403
    assert f"writing to {NAME} is refused (403)" in refusal(push_export, exported, NAME)
    assert at_loopback.repos["dataset", NAME].files == {}
    at_loopback.refuse.clear()
    push_export(exported, NAME)
    assert at_loopback.repos["dataset", NAME].files == files_of(exported.folder)


def test_a_repository_with_something_else_is_left_alone(at_loopback, exported):
    claim_dataset(NAME, private=False)
    at_loopback.repos["dataset", NAME].commit({"train.csv": b"1", "README.md": b"mine"})
    message = refusal(claim_dataset, NAME, False)
    assert message == (
        f"The data set {NAME} on the Hub contains files that do not belong to an export of this package (train.csv). "
        "Give another name."
    )


def test_a_public_repository_is_not_taken_for_a_private_one(at_loopback):
    claim_dataset(NAME, private=False)
    assert "exists and is public" in refusal(claim_dataset, NAME, True)


@pytest.mark.parametrize("there", [False, True])
def test_a_name_of_someone_else_is_refused(at_loopback, there):
    if there:
        at_loopback.repos["dataset", "somebody/breakhis"] = type(at_loopback).new_repo()
    message = refusal(claim_dataset, "somebody/breakhis", False)
    assert "writing to somebody/breakhis is refused (403); the name belongs to someone else" in message


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (401, "does not accept the token (401); run `hf auth login`"),
        (404, f"there is no {NAME} (404)"),
        (422, f"{NAME} is refused (422: told to refuse)"),
        (500, "it has a fault of its own (500)"),
    ],
)
def test_what_the_hub_refuses_is_one_line(at_loopback, status, line):
    at_loopback.refuse["repos_create"] = status
    assert line in refusal(claim_dataset, NAME, False)


def test_a_hub_that_is_not_there_is_one_line(at_loopback):
    at_loopback.close()
    assert "The connection to the Hub failed" in refusal(claim_dataset, NAME, False)


def test_offline_is_one_line(at_loopback, monkeypatch):
    def offline(*_, **__):
        raise remote.OfflineModeIsEnabled("offline")

    monkeypatch.setattr(HfApi, "create_repo", offline)
    assert "HF_HUB_OFFLINE is set" in refusal(claim_dataset, NAME, False)
