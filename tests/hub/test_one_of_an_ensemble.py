"""An ensemble: `publish` uploads one network by default and says so, a Space averages all."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_breakhis.cli import main
from hf_breakhis.hub.facts import read_facts
from hf_breakhis.hub.publish import publications
from hf_breakhis.inference.model import find_model
from hf_breakhis.inference.predict import predict_images
from tests.inference.test_preprocessing import run_app

pytestmark = pytest.mark.usefixtures("small_reports")

NOTE = "This is one network of an ensemble of 3. The scores are those of the ensemble."


@pytest.fixture(scope="module")
def published(ensemble_run, tmp_path_factory):
    (publication,) = publications(ensemble_run, "user/tiny", "fold:0", tmp_path_factory.mktemp("one") / "publish")
    return publication.folder


def test_the_network_is_the_first_member(published, ensemble_run):
    own = (ensemble_run / "fold-0/member-0/model/model.safetensors").read_bytes()
    assert (published / "model.safetensors").read_bytes() == own


def test_the_card_says_whose_scores_they_are(published, ensemble_run):
    card = ModelCard.load(published / "README.md")
    summary = json.loads((ensemble_run / "summary.json").read_text())
    assert NOTE in card.text
    assert f"One network has accuracy {summary['members']['scores']['accuracy']['mean']:.3f} on average" in card.text
    assert "gain of the ensemble" in card.text
    assert card.data.eval_results is None
    assert "None" not in card.text


def test_the_threshold_of_the_ensemble_is_not_published(published, ensemble_run):
    decision = json.loads((published / "decision.json").read_text())
    assert decision["threshold"] is decision["temperature"] is None
    assert json.loads((ensemble_run / "decision.json").read_text())["threshold"] is not None
    weights = find_model(published)
    assert weights.decision is None
    assert "fitted on the scores of the run" in weights.reason


def test_facts_of_the_whole_ensemble_have_its_threshold_and_no_note(ensemble_run):
    weights = find_model(ensemble_run)
    assert read_facts(weights).threshold is not None
    assert not any("one network of an ensemble" in text for text in read_facts(weights).warnings)
    facts = read_facts(weights.one_network)
    assert facts.threshold is None
    assert any(text.startswith(NOTE) for text in facts.warnings)


def test_another_network_is_published_by_its_number(ensemble_run, tmp_path):
    folder = tmp_path / "second"
    argv = ["publish", str(ensemble_run), "--repo_id", "user/tiny", "--dry_run", "--output_dir", str(folder)]
    assert main([*argv, "--members", "2"]) == 0
    own = (ensemble_run / "fold-0/member-2/model/model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == own
    assert not (folder / "members").exists()
    assert NOTE in (folder / "README.md").read_text()


@pytest.mark.parametrize("tta", ["none", "dihedral"])
def test_a_space_answers_with_the_mean_of_all_networks(ensemble_run, tmp_path, monkeypatch, tta):
    assert main(["space", str(ensemble_run), str(tmp_path / "app"), "--tta", tta]) == 0
    assert len(list((tmp_path / "app/members").iterdir())) == 2
    app = run_app(tmp_path / "app", monkeypatch)
    location = Path(json.loads((ensemble_run / "data.json").read_text())["location"])
    paths = sorted(location.rglob("*.png"))[:3]
    expected = predict_images(ensemble_run, paths, tta=tta).set_index("path")["prob_malignant"]
    alone = predict_images(ensemble_run, paths, members="0", tta="none").set_index("path")["prob_malignant"]
    for path in map(str, paths):
        for method in app["METHODS"]:
            words, probabilities, _, heat = app["answer"](path, method)
            assert probabilities["malignant"] == pytest.approx(expected[path], abs=1e-5)
            assert heat is not None
        assert ("At the locked threshold" in words) == (tta == "none"), "the threshold is that of the run's own scores"
    assert abs(alone - expected).max() > 1e-4


def test_a_space_of_one_network_is_replaced_by_one_of_all(ensemble_run, tmp_path):
    folder = tmp_path / "app"
    assert main(["space", str(ensemble_run), str(folder), "--members", "1"]) == 0
    assert not (folder / "members").exists()
    own = (ensemble_run / "fold-0/member-1/model/model.safetensors").read_bytes()
    assert (folder / "model/model.safetensors").read_bytes() == own
    assert main(["space", str(ensemble_run), str(folder)]) == 0
    assert main(["space", str(ensemble_run), str(folder), "--members", "0"]) == 0
    assert not (folder / "members").exists()
    shutil.copyfile(folder / "facts.json", folder / "mine.json")
    assert main(["space", str(ensemble_run), str(folder)]) == 2, "a file of somebody else is never deleted"
