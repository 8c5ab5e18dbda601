"""A run goes to a Hub on loopback with the real client, comes back, and gives the numbers of the run."""

import ast
import contextlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import close_session
from PIL import Image
from transformers import pipeline

from hf_breakhis.files import InputError
from hf_breakhis.hub import publish as publishing
from hf_breakhis.hub.privacy import require_impersonal
from hf_breakhis.hub.publish import claim_model, propose, publications, push
from hf_breakhis.run import Run

pytestmark = pytest.mark.usefixtures("small_figures")

NAME = "user/breakhis-tiny"
# Prints the probability of malignant of each file, by `pipeline` and by hand, from what was pulled.
PULL = """
import json, sys
import torch
from huggingface_hub import snapshot_download
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
folder = snapshot_download("user/breakhis-tiny")
classify = pipeline("image-classification", model="user/breakhis-tiny", top_k=None)
model, processor = AutoModelForImageClassification.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder)
scores = {}
for path in sys.argv[1:]:
    picture = Image.open(path)
    with torch.inference_mode():
        logits = model(**processor(picture, return_tensors="pt")).logits
    piped = {one["label"]: one["score"] for one in classify(picture)}
    scores[path] = [piped["malignant"], float(logits.softmax(-1)[0, 1])]
print(json.dumps(scores))
"""


@pytest.fixture
def at_loopback(hub, monkeypatch):
    """Let this process take the server for the Hub."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", next(iter(hub.tokens)))
    yield hub
    close_session()


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_pulled_gives_the_numbers_of_the_run(hub, trained_run, tmp_path):
    """Processes as users start them: push, and pull by pipeline and by hand; then the lines of the card."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    pushed = hub.command("publish", run, "--repo_id", NAME, "--private", forked=False)
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.endswith(f"pushed: {hub.url}/{NAME}\n")
    repo = hub.repos["model", NAME]
    assert repo.private
    assert repo.files == files_of(run / "publish")
    assert hub.objects  # the weights went through LFS

    data = json.loads((run / "data.json").read_text())
    predictions = pd.read_csv(run / "fold-0" / "predictions.csv").query("part == 'test'").head(12)
    places = {path.name: path for path in Path(data["location"]).rglob("*.png")}
    paths = [places[name] for name in predictions["file_name"]]
    pulled = hub.run("-c", PULL, *paths, forked=False)
    assert pulled.returncode == 0, pulled.stderr
    content = np.array(list(json.loads(pulled.stdout.splitlines()[-1]).values()))
    np.testing.assert_allclose(content, predictions[["prob_malignant"] * 2], atol=1e-5)

    # A processor that crops is noticed: without this the comparison above proves nothing.
    processor = json.loads(repo.files["preprocessor_config.json"])
    repo.commit(repo.files | {"preprocessor_config.json": json.dumps(processor | {"resample": 0}).encode()})
    wrong = hub.run("-c", PULL, *paths)
    assert wrong.returncode == 0, wrong.stderr
    content = np.array(list(json.loads(wrong.stdout.splitlines()[-1]).values()))
    assert np.abs(content - predictions[["prob_malignant"] * 2].to_numpy()).max() > 1e-4

    card = repo.files["README.md"].decode()
    (lines,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(lines.strip().splitlines()) <= 4
    shown = hub.run("-c", lines.replace("image.png", str(paths[0])))
    assert shown.returncode == 0, shown.stderr
    assert "malignant" in shown.stdout


def test_what_goes_up(ready, trained_run):
    names = {name for name, _ in ready.files}
    assert {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"} <= names
    assert {"recipe.yaml", "summary.json", "decision.json", "folds.csv", "figures/confusion_mean.png"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in names)
    recipe = yaml.safe_load((ready.folder / "recipe.yaml").read_text())
    assert recipe["dataset"] == "twin"
    assert not {"output_dir", "data_dir", "hub_token"} & set(recipe)
    assert "command" not in recipe["environment"]
    for path in ready.folder.rglob("*"):
        if path.suffix in (".json", ".yaml", ".csv", ".md"):
            text = path.read_text()
            assert str(trained_run) not in text
            assert str(Path.home()) + "/" not in text
            assert "hf_loopback" not in text


@pytest.mark.parametrize("what", ["/home/ada/data", "a token"])
def test_a_path_or_a_token_never_goes_up(what, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    (tmp_path / "summary.json").write_text('{"name": "fine"}')
    require_impersonal(tmp_path, Run(tmp_path / "run"))
    (tmp_path / "summary.json").write_text(json.dumps({"name": "hf_verysecret" if what == "a token" else what}))
    message = refusal(require_impersonal, tmp_path, Run(tmp_path / "run"))
    assert "summary.json contains private information" in message
    assert "hf_verysecret" not in message


def test_card_and_model_come_together_and_pushing_twice_changes_nothing(at_loopback, ready):
    claim_model(NAME, False, [])
    repo = at_loopback.repos["model", NAME]
    before = len(repo.commits)
    push(ready, NAME)
    assert repo.files == files_of(ready.folder)
    assert len(repo.commits) == before + 1
    claim_model(NAME, False, [])
    push(ready, NAME)
    assert len(repo.commits) == before + 1


def test_every_fold_gets_a_branch_and_the_plain_name_is_fold_0(hub, trained_run, tmp_path):
    """What the card of each branch says is run as a user would, and gives the answer of that fold's model."""
    asked = ("publish", trained_run, "--repo_id", NAME, "--weights", "all", "--output_dir", tmp_path / "publish")
    pushed = hub.command(*asked)
    assert pushed.returncode == 0, pushed.stderr
    repo = hub.repos["model", NAME]
    assert set(repo.branches) == {"main", "fold-0", "fold-1"}
    Image.effect_noise((70, 46), 60).convert("RGB").save(tmp_path / "image.png")
    for branch, fold in (("main", 0), ("fold-0", 0), ("fold-1", 1)):
        files = repo.at(branch)[1]
        assert files == files_of(tmp_path / "publish" / branch)
        model = trained_run / f"fold-{fold}" / "model"
        assert files["model.safetensors"] == (model / "model.safetensors").read_bytes()
        card = ModelCard(files["README.md"].decode())
        assert all(entry["src"].startswith("examples/") for entry in card.data.widget)
        assert "`fold-1`" in card.text
        (lines,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
        assert ('revision="' in lines) == (branch != "main")
        shown = hub.run("-c", lines.replace("image.png", str(tmp_path / "image.png")))
        assert shown.returncode == 0, shown.stderr
        answers = pipeline("image-classification", model=str(model), device="cpu")(str(tmp_path / "image.png"))
        assert ast.literal_eval(shown.stdout) == [
            one | {"score": pytest.approx(one["score"], abs=1e-6)} for one in answers
        ]
    assert hub.command(*asked).returncode == 0
    assert repo.at("main")[1] == files_of(tmp_path / "publish" / "main")


def test_the_card_of_one_branch_names_it(trained_run, tmp_path):
    (publication,) = publications(trained_run, NAME, "fold:1", tmp_path / "publish", "try/1")
    card = ModelCard.load(publication.folder / "README.md")
    assert 'revision="try/1")' in card.text
    assert "The branches" not in card.text
    assert all(entry["src"].startswith("examples/") for entry in card.data.widget)


def test_a_pull_request_leaves_the_main_branch_alone_and_is_renewed(at_loopback, ready, trained_run, tmp_path):
    claim_model(NAME, False, [])
    assert propose(ready, NAME).endswith("/discussions/1")
    repo = at_loopback.repos["model", NAME]
    assert repo.files == {}
    commits = list(repo.branches["refs/pr/1"])
    assert commits[-1][1] == files_of(ready.folder)
    assert propose(ready, NAME).endswith("/discussions/1")  # the open one, in which nothing is new
    assert repo.branches["refs/pr/1"] == commits
    (other,) = publications(trained_run, NAME, "fold:1", tmp_path / "other")
    assert propose(other, NAME).endswith("/discussions/2")
    assert repo.at("refs/pr/2")[1] == files_of(other.folder)


def test_what_the_main_branch_holds_is_not_proposed(at_loopback, ready):
    claim_model(NAME, False, [])
    push(ready, NAME)
    repo = at_loopback.repos["model", NAME]
    assert propose(ready, NAME) is None
    assert set(repo.branches) == {"main"}
    # A card alone is proposed too, and never pushed past the proposal.
    repo.commit(repo.files | {"README.md": b"other"})
    assert propose(ready, NAME).endswith("/discussions/1")
    assert repo.files["README.md"] == b"other"
    assert repo.at("refs/pr/1")[1] == files_of(ready.folder)
    # Nor is a file that has no place any more kept from being noticed.
    repo.commit(files_of(ready.folder) | {"examples/old.png": b"old"})
    assert propose(ready, NAME) is not None
    assert "examples/old.png" not in repo.at("refs/pr/1")[1]


def test_an_upload_that_breaks_off_leaves_what_was_up_and_the_next_push_finishes(at_loopback, ready, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    claim_model(NAME, False, [])
    at_loopback.repos["model", NAME].commit({"README.md": b"before"})
    at_loopback.cut = 99
    assert "the same command continues where it stopped" in refusal(push, ready, NAME)
    assert at_loopback.repos["model", NAME].files == {"README.md": b"before"}
    at_loopback.cut = 0
    push(ready, NAME)
    assert at_loopback.repos["model", NAME].files == files_of(ready.folder)


@pytest.mark.parametrize(
    ("status", "line"),
    [(401, "does not accept the token"), (403, "is refused (403)"), (409, "(409"), (429, "429"), (500, "(500)")],
)
def test_each_fault_of_the_hub_is_one_line_and_changes_nothing(at_loopback, ready, status, line, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    claim_model(NAME, False, [])
    at_loopback.refuse["commit"] = status
    assert line in refusal(push, ready, NAME)
    assert at_loopback.repos["model", NAME].files == {}


def test_a_hub_that_is_busy_for_a_moment_is_waited_for(at_loopback, ready, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    claim_model(NAME, False, [])
    at_loopback.refuse["preupload"], at_loopback.times["preupload"] = 503, 1
    with contextlib.suppress(InputError):  # the client waits on some routes and not on others
        push(ready, NAME)
    push(ready, NAME)
    assert at_loopback.repos["model", NAME].files == files_of(ready.folder)


def test_a_full_disk_leaves_no_half_folder(trained_run, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing.shutil, "copyfile", full)
    message = refusal(lambda: list(publications(trained_run, NAME, "fold:0", tmp_path / "publish")))
    assert "No space left on device" in message
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_speaks_to_nobody(hub, trained_run, tmp_path):
    done = hub.command(
        "publish", trained_run, "--repo_id", NAME, "--dry_run", "--output_dir", tmp_path / "x", token=None
    )
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in done.stdout
    assert hub.log == []
