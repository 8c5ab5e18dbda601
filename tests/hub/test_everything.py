"""`publish --everything` puts model, ONNX file, app, page and images of a run on a Hub on loopback, with links."""

import csv
import re

import pytest
import yaml
from huggingface_hub import ModelCard, constants
from huggingface_hub.utils import close_session

from hf_breakhis.cli import main
from hf_breakhis.hub.collection import add_to_collection, open_collection

pytestmark = pytest.mark.usefixtures("small_reports")

NAME = "user/tiny"
KINDS = {"model": ("model", NAME), "app": ("space", NAME), "page": ("space", f"{NAME}-page")}
IMAGES = ("dataset", f"{NAME}-images")


@pytest.fixture
def at_loopback(hub, monkeypatch):
    """Let this process take the server for the Hub."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", next(iter(hub.tokens)))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.large = (".safetensors", ".onnx", ".parquet")
    yield hub
    close_session()


def publish(run, *options):
    return main(["publish", str(run), "--repo_id", NAME, "--everything", *map(str, options)])


def links_in(card):
    return set(re.findall(r"\]\((http[^)]*)\)", card.partition("## Parts")[2]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of onnx and onnxscript, about themselves
def test_all_parts_go_up_once_with_links_and_in_a_collection(at_loopback, trained_run, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    hub, run = at_loopback, trained_run
    # A refusal in the middle ends in one line, and the same command continues.
    hub.refuse["collections"] = 500
    assert publish(run, "--output_dir", tmp_path / "all") == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "later the same command continues" in printed
    hub.refuse.clear()
    hub.cut = 99
    assert publish(run, "--output_dir", tmp_path / "all") == 2
    assert "the same command continues where it stopped" in capsys.readouterr().err
    assert hub.repos["model", NAME].files == {}  # its card would link what is not there
    hub.cut = 0
    assert publish(run, "--output_dir", tmp_path / "all") == 0, capsys.readouterr().err

    assert set(hub.repos) == {*KINDS.values(), IMAGES}
    assert {hub.repos["space", NAME].sdk, hub.repos["space", f"{NAME}-page"].sdk} == {"gradio", "static"}
    (collection,) = hub.collections
    assert collection["title"] == "tiny"
    assert {(item["type"], item["id"]) for item in collection["items"]} == set(hub.repos)
    addresses = {
        "model": f"{hub.url}/{NAME}", "app": f"{hub.url}/spaces/{NAME}", "page": f"{hub.url}/spaces/{NAME}-page",
        "images": f"{hub.url}/datasets/{NAME}-images", "collection": f"{hub.url}/collections/{collection['slug']}",
    }  # fmt: skip
    for name, key in KINDS.items():
        card = hub.repos[key].files["README.md"].decode()
        assert links_in(card) == set(addresses.values()) - {addresses[name]}
    for key, sdk, file in ((KINDS["app"], "gradio", "app.py"), (KINDS["page"], "static", "index.html")):
        metadata = yaml.safe_load(hub.repos[key].files["README.md"].decode().split("---")[1])
        assert (metadata["sdk"], metadata["app_file"]) == (sdk, file)
        assert file in hub.repos[key].files

    card = ModelCard(hub.repos["model", NAME].files["README.md"].decode())
    assert card.data.datasets == [IMAGES[1]]
    images = yaml.safe_load(hub.repos[IMAGES].files["README.md"].decode().split("---")[1])
    configurations = {one["config_name"] for one in images["configs"]}
    assert {(one.dataset_type, one.dataset_config) for one in card.data.eval_results} == {
        (IMAGES[1], name) for name in configurations
    }

    # A second call sends nothing.
    items, objects = list(collection["items"]), set(hub.objects)
    contents = {key: repo.files for key, repo in hub.repos.items()}
    assert publish(run, "--output_dir", tmp_path / "all") == 0
    assert {key: repo.files for key, repo in hub.repos.items()} == contents
    assert set(hub.objects) == objects
    assert collection["items"] == items
    assert len(hub.collections) == 1

    # `predict` fetches the ONNX file only when it is asked for, and both backends agree.
    image = next((tmp_path / "all" / "model" / "examples").glob("*.png"))
    scores = {}
    for backend in ("torch", "onnx"):
        hub.log.clear()
        done = hub.command("predict", NAME, image, "--backend", backend)
        assert done.returncode == 0, done.stderr
        (row,) = csv.DictReader(done.stdout.splitlines())
        scores[backend] = float(row["prob_malignant"])
        assert any("model.onnx" in path for _, path in hub.log) == (backend == "onnx")
    assert scores["onnx"] == pytest.approx(scores["torch"], abs=1e-5)


def test_several_models_share_a_collection_of_a_title(at_loopback):
    for name in ("user/c1", "user/c2", "user/c3", "user/c1"):
        collection = open_collection("BreakHis", "user", private=False)
        add_to_collection(collection, [("model", name), ("space", name)])
    open_collection("Other", "user", private=True)
    shared, other = at_loopback.collections
    every = [(kind, f"user/c{i}") for i in (1, 2, 3) for kind in ("model", "space")]
    assert [(item["type"], item["id"]) for item in shared["items"]] == every
    assert (other["items"], other["private"], shared["private"]) == ([], True, False)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--collection", "BreakHis"], "--collection needs --everything"),
        (["--everything", "--collection", "x" * 60], "has 60 characters"),
        (["--everything", "--weights", "all"], "--everything is of one model"),
        (["--everything", "--create_pr"], "--everything is of one model"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, line, trained_run, capsys):
    assert main(["publish", str(trained_run), "--repo_id", NAME, *options]) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1
