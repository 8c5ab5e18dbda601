"""`publish --members all` uploads all networks of an ensemble, and `predict USER/NAME` averages them."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.inference.model import find_model
from hf_breakhis.inference.predict import predict_images
from hf_breakhis.run import Run

pytestmark = pytest.mark.usefixtures("small_reports")

NAME = "user/tiny"


def publish(run, folder, *options):
    argv = ["publish", str(run), "--repo_id", NAME, "--dry_run", "--members", "all", "--output_dir", str(folder)]
    return main([*argv, *options])


@pytest.fixture(scope="module")
def published(ensemble_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "publish"
    assert publish(ensemble_run, folder, "--weights", "fold:1") == 0
    return folder


@pytest.fixture(scope="module")
def images(ensemble_run):
    location = Path(json.loads((ensemble_run / "data.json").read_text())["location"])
    return sorted(location.rglob("*.png"))[:4]


def probabilities(model, images, **options):
    return list(predict_images(model, images, **options)["prob_malignant"])


def test_every_network_is_there_and_the_first_is_the_model_of_the_repository(published, ensemble_run):
    places = {0: "", 1: "members/001", 2: "members/002"}
    for number, place in places.items():
        own = (ensemble_run / f"fold-1/member-{number}/model/model.safetensors").read_bytes()
        assert (published / place / "model.safetensors").read_bytes() == own
    assert len(list((published / "members").iterdir())) == 2


def test_a_folder_that_was_fetched_predicts_what_the_run_predicts(published, ensemble_run, images):
    whole = probabilities(ensemble_run, images, fold="1")
    assert probabilities(published, images) == whole
    alone = [probabilities(ensemble_run, images, fold="1", members=str(number)) for number in range(3)]
    assert [probabilities(published, images, members=str(number)) for number in range(3)] == alone
    assert probabilities(published / "members/002", images) == alone[2]
    assert len({*map(tuple, alone), tuple(whole)}) == 4
    assert whole == pytest.approx([sum(values) / 3 for values in zip(*alone, strict=True)], abs=1e-6)


def test_a_publication_within_its_run_is_no_fold_of_the_run(published, ensemble_run, tmp_path):
    run = shutil.copytree(ensemble_run, tmp_path / "run")
    place = shutil.copytree(published, run / "publish-everything/model")
    assert find_model(place).networks == (place, place / "members/001", place / "members/002")
    assert find_model(run / "fold-1/member-0/model").fold == "1"


def test_the_threshold_is_that_of_all_networks(published, ensemble_run):
    own = find_model(ensemble_run, "1")
    assert own.decision is not None
    assert find_model(published).decision == own.decision
    assert find_model(published).sha256 == own.sha256
    for number in ("0", "2"):
        one = find_model(published, members=number)
        assert one.decision is None
        assert "which has other members" in one.reason


def test_each_network_knows_what_it_was_trained_on(published, ensemble_run):
    own = find_model(ensemble_run, "1").seen
    for found in (find_model(published), find_model(published, members="2"), find_model(published / "members/001")):
        assert found.seen == own


def lose_a_network(folder):
    shutil.rmtree(folder / "members/002")
    return "has 2 networks, but its recipe has `members: 3`"


def lose_a_config(folder):
    (folder / "members/002/config.json").unlink()
    return "members/002 has no config.json"


def name_a_kernel(folder):
    path = folder / "members/001/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"attn_implementation": "evil/kernel"}))
    return "members/001 wants to run code of its own"


def write_no_number(folder):
    path = folder / "recipe.yaml"
    path.write_text(path.read_text().replace("\nmembers: 3\n", "\nmembers: many\n"))
    return "has `members: 'many'`"


@pytest.mark.parametrize("damage", [lose_a_network, lose_a_config, name_a_kernel, write_no_number])
def test_an_incomplete_or_hostile_ensemble_is_refused(damage, published, tmp_path):
    folder = tmp_path / "publish"
    shutil.copytree(published, folder)
    assert len(find_model(folder).networks) == 3
    words = damage(folder)
    with pytest.raises(InputError) as refused:
        find_model(folder)
    assert words in str(refused.value)


def test_the_card_has_the_scores_of_the_ensemble_and_says_what_pipeline_loads(published, ensemble_run):
    card = ModelCard.load(published / "README.md")
    summary = json.loads((ensemble_run / "summary.json").read_text())
    (accuracy,) = [
        one.metric_value
        for one in card.data.eval_results
        if one.metric_type == "accuracy" and not one.dataset_split.endswith("0X")
    ]
    assert accuracy == round(summary["image"]["pooled"]["accuracy"]["value"], 4)
    assert "an ensemble of 3 networks, each `ResNetForImageClassification` with" in card.text
    assert "`pipeline` and the widget use the first of the 3 networks." in card.text
    assert "This is one network of an ensemble" not in card.text
    assert "Locked threshold" in card.text


def test_from_the_hub_all_networks_are_fetched_and_averaged(hub, published, ensemble_run, images, tmp_path):
    hub.repos["model", NAME] = hub.new_repo()
    files = (path for path in published.rglob("*") if path.is_file())
    hub.repos["model", NAME].commit({path.relative_to(published).as_posix(): path.read_bytes() for path in files})
    expected = probabilities(ensemble_run, images, fold="1")
    done = hub.command("predict", NAME, *images)
    assert done.returncode == 0, done.stderr
    found = [float(row["prob_malignant"]) for row in csv.DictReader(done.stdout.splitlines())]
    assert found == pytest.approx(expected, abs=1e-6)
    done = hub.command("predict", NAME, *images, "--members", "1")
    found = [float(row["prob_malignant"]) for row in csv.DictReader(done.stdout.splitlines())]
    assert found == pytest.approx(probabilities(ensemble_run, images, fold="1", members="1"), abs=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of onnx and onnxscript, about themselves
def test_the_onnx_file_beside_it_has_all_networks(ensemble_run, images, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    assert publish(ensemble_run, tmp_path / "all", "--everything") == 0
    about = json.loads((tmp_path / "all/model/onnx/export.json").read_text())
    assert about["members"] == 3
    argv = ["predict", str(tmp_path / "all/model"), *map(str, images), "--backend", "onnx"]
    assert main([*argv, "--output", str(tmp_path / "scores.csv")]) == 0
    found = [
        float(row["prob_malignant"]) for row in csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())
    ]
    assert "`onnx/model.onnx` is the same ensemble for ONNX" in (tmp_path / "all/model/README.md").read_text()
    assert found == pytest.approx(probabilities(ensemble_run, images), abs=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_card_says_that_the_onnx_file_has_the_augmentation_of_the_run(ensemble_run, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    run = shutil.copytree(ensemble_run, tmp_path / "run")
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("\ntta: none\n", "\ntta: dihedral\n"))
    Run(run).seal()
    assert publish(run, tmp_path / "all", "--everything", "--members", "0") == 0
    assert json.loads((tmp_path / "all/model/onnx/export.json").read_text())["tta"] == "dihedral"
    assert "same network with test-time augmentation for ONNX" in (tmp_path / "all/model/README.md").read_text()


@pytest.mark.parametrize("name", ["001/notes.txt", "photo.png"])
def test_a_folder_of_all_networks_is_replaced_by_one_of_one(ensemble_run, tmp_path, capsys, name):
    folder = tmp_path / "publish"
    assert publish(ensemble_run, folder) == 0
    assert publish(ensemble_run, folder, "--members", "0") == 0
    assert not (folder / "members").exists()
    assert publish(ensemble_run, folder) == 0
    (folder / "members" / name).write_text("mine")
    assert publish(ensemble_run, folder) == 2
    assert name in capsys.readouterr().err
    assert (folder / "members" / name).read_text() == "mine"


def test_on_the_hub_all_networks_are_replaced_by_one(hub, ensemble_run, tmp_path):
    command = ["publish", ensemble_run, "--repo_id", NAME, "--output_dir", tmp_path / "publish"]
    for words, count in ((["--members", "all"], 2), ([], 0)):
        done = hub.command(*command, *words)
        assert done.returncode == 0, done.stderr
        files = hub.repos["model", NAME].files
        assert len([name for name in files if name.startswith("members/") and name.endswith(".safetensors")]) == count
        assert any(name.startswith("members/") for name in files) == bool(count)
        assert "model.safetensors" in files


@pytest.mark.parametrize("options", [["--members", "7"], ["--members", "al"]])
def test_a_network_that_is_not_there_is_refused(options, ensemble_run, tmp_path, capsys):
    assert publish(ensemble_run, tmp_path / "publish", *options) == 2
    printed = capsys.readouterr().err
    assert f"--members is {options[1]}, but has to be all or a number from 0 to 2" in printed
    assert printed.count("\n") == 1


def test_a_run_of_one_network_per_fold_has_no_members(trained_run, tmp_path, capsys):
    assert publish(trained_run, tmp_path / "publish") == 2
    assert "--members is all, but fold 0 of" in capsys.readouterr().err
