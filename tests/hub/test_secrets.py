"""No token is in what a run and a push leave or say, and no place of this machine in what is published."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from transformers import ResNetConfig, ResNetForImageClassification

import hf_breakhis
from hf_breakhis.cli import main
from hf_breakhis.data.twin.twin import TwinSettings, write_twin
from hf_breakhis.files import InputError
from hf_breakhis.hub.facts import public_name
from hf_breakhis.hub.publish import copy_examples
from hf_breakhis.inference.model import find_model
from hf_breakhis.run import Run
from hf_breakhis.training.environment import command_line

pytestmark = pytest.mark.usefixtures("small_reports")

TOKENS = ("hf_secretofthemachine", "hf_secretontheline", "hf_secretintherecipe")
NETWORK = {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
RECIPE = """
dataset: breakhis
num_folds: 2
image_size: 32
optimizer_name: sgd
learning_rate: 0.05
num_train_epochs: 1
batch_size: 36
use_cpu: true
disable_tqdm: true
"""
PUBLISHED = ("publish", "space", "page", "parquet")


@pytest.fixture
def left(hub, tmp_path, monkeypatch, capfd):
    """The folder of a user who trained from absolute paths, with tokens in every place, and published all there is."""
    base = tmp_path / "of-ada"
    twin = write_twin(base / "images", TwinSettings(scale=0.01, width=70, height=46), num_proc=1)
    first = min(twin.rglob("*.png"))
    first.with_name("odd.png").write_bytes(first.read_bytes())  # a finding that names a file
    ResNetForImageClassification(ResNetConfig(**NETWORK)).save_pretrained(base / "tiny-net")
    (base / "r.yaml").write_text(RECIPE)
    monkeypatch.chdir(base)
    monkeypatch.setenv("HF_TOKEN", TOKENS[0])
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    hub.tokens[TOKENS[0]] = "user"
    train = ["train", "r.yaml", "--data_dir", str(twin), "--output_dir", "run",
             "--model_name_or_path", str(base / "tiny-net"), "--model_revision", "main"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["hf-breakhis", *train])
    run = str(base / "run")
    assert main([*train, "--hub_token", TOKENS[1]]) == 2
    (base / "token.yaml").write_text(f"{RECIPE}hub_token: {TOKENS[2]}\n")
    assert main(["train", "token.yaml", *train[2:]]) == 2
    for command in (
        train,
        ["explain", run],
        ["publish", run, "--repo_id", "user/tiny", "--output_dir", str(base / "publish")],
        ["space", run, str(base / "space")],
        ["page", run, str(base / "page")],
        ["data", "export", str(base / "parquet"), "--data_dir", str(twin)],
    ):
        assert main(command) == 0
    hub.refuse["preupload"] = 401
    assert main(["publish", run, "--repo_id", "user/tiny", "--output_dir", str(base / "publish")]) == 2
    (base / "printed.txt").write_text("\n".join(capfd.readouterr()))
    yield base
    close_session()


def files_with(text, *folders):
    """Return the names of files, of whatever kind, that hold a text; a public file may hold it in its name, too."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if text.encode() in path.read_bytes() or text in path.name)


@pytest.mark.filterwarnings("ignore")  # of torch's exporter
def test_what_is_left_tells_no_token_and_what_is_published_no_place(left, hub):
    for token in TOKENS:
        found = files_with(token, left)
        assert found == (["token.yaml"] if token == TOKENS[2] else []), token
    public = [left / name for name in PUBLISHED]
    assert all(folder.is_dir() for folder in public)
    repo = hub.repos["model", "user/tiny"].files
    package = Path(hf_breakhis.__file__).parents[1]
    for place in (
        left,
        left.parent,
        package,
        sys.prefix,
        Path.home() / ".cache",
        Path(sys.modules["torch"].__file__).parent,
    ):
        assert files_with(str(place), *public) == [], place
        assert not [name for name, content in repo.items() if str(place).encode() in content]
    # What is looked for is there where it may be, so that it would have been found.
    assert files_with(str(left), left / "run") >= ["data.json"]
    summary = (left / "publish" / "summary.json").read_text()
    assert "Left out, since not named as BreakHis images are: 1." in summary
    assert "odd.png" not in summary
    assert "tiny-net" in (left / "publish" / "README.md").read_text()
    assert not [
        path for folder in public for path in folder.rglob("*") if path.suffix in (".bin", ".pt", ".pkl", ".pth")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "c3", "--hub_token", "abc", "--fold", "0"], "train c3 --hub_token ... --fold 0"),
        (["train", "--hub_token=abc", "--seed=1"], "train --hub_token=... --seed=1"),
        (["train", "--run_name", "hf_abcdefghijkl"], "train --run_name ..."),
        (["train", "--data_dir", "hf_data"], "train --data_dir hf_data"),
        ([], ""),
    ],
)
def test_a_command_line_is_told_without_its_tokens(words, message):
    assert command_line(words) == message


def test_a_model_of_this_machine_is_called_by_its_last_name(tmp_path):
    assert public_name("microsoft/resnet-50") == "microsoft/resnet-50"
    assert public_name("~/ada/net") == public_name("/home/ada/net") == "net"
    assert public_name(str(tmp_path)) == tmp_path.name


def test_an_example_outside_of_its_folder_is_not_published(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    index = tmp_path / "run" / "fold-0" / "examples" / "index.json"
    rows = json.loads(index.read_text())
    index.write_text(json.dumps([rows[0] | {"file_name": "../../recipe.yaml"}]))
    Run(tmp_path / "run").seal()
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="which is no picture there"):
        copy_examples(find_model(tmp_path / "run"), tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and "out" in path.parts] == []
