"""One network of an ensemble is published with the note that the scores are those of the ensemble."""

import json

import pytest
from huggingface_hub import ModelCard

from hf_breakhis.cli import main
from hf_breakhis.hub.facts import read_facts
from hf_breakhis.hub.publish import publications
from hf_breakhis.inference.model import find_model

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


def test_several_networks_are_not_published(ensemble_run, capsys):
    argv = ["publish", str(ensemble_run), "--repo_id", "user/tiny", "--dry_run", "--members", "all"]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert "--members is all, but a repository holds one network" in error
    assert error.count("\n") == 1
