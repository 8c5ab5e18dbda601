"""The card says what the run's files say: of a refit, of a changed recipe, of real pictures."""

import json
import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_breakhis.files import InputError
from hf_breakhis.hub.facts import read_facts
from hf_breakhis.hub.publish import choose_weights, publications
from hf_breakhis.inference.explain import explain_fold
from hf_breakhis.inference.weights import find_weights
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.aggregate import summarise
from hf_breakhis.training.crossval import cross_validate

NAME = "user/breakhis-tiny"


def card_of(run, folder, which="fold:0"):
    (publication,) = publications(run, NAME, which, folder)
    return ModelCard.load(publication.folder / "README.md")


@pytest.fixture
def ready(trained_run, tmp_path):
    """The folder of fold 0, ready to go up."""
    (publication,) = publications(trained_run, NAME, "fold:0", tmp_path / "publish")
    return publication


def test_the_card_is_valid_and_complete(ready, trained_run):
    card = ModelCard.load(ready.folder / "README.md")
    summary = json.loads((trained_run / "summary.json").read_text())
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license == "apache-2.0"
    found = {(result.dataset_config, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert found["all magnifications", "accuracy"] == summary["image"]["pooled"]["accuracy"]["value"]
    assert found["40X", "accuracy"] == summary["by_magnification"]["40X"]["accuracy"]["value"]
    pooled = summary["patient"]["pooled"]["recognition_rate"]
    assert found["all magnifications", "recognition_rate"] == pooled["value"]
    for entry in card.data.widget:
        assert (ready.folder / "examples" / entry["src"].rpartition("/")[2]).is_file()
        assert sum(one["score"] for one in entry["output"]) == pytest.approx(1, abs=2e-4)
    text = card.text
    assert text.index("generated pictures only") < text.index("How to use")
    assert "not for diagnosis" in text
    assert "None" not in text
    assert "nan" not in text.lower().split()
    point = json.loads((trained_run / "decision.json").read_text())["cross_fitted"]["operating_point"]
    assert f"| PPV | {point['ppv']['value']:.3f} |" in text


def test_a_leak_stands_in_the_first_paragraph(trained_run, tmp_path):
    run = tmp_path / "leaks"
    shutil.copytree(trained_run, run)
    summary = json.loads((run / "summary.json").read_text())
    leak = "9 of 10 test images (90 %) show a patient whose other images the model was trained on."
    summary["leakage"] |= {"share_same_patient": 0.9}
    summary["warnings"] = [leak, *summary["warnings"]]
    (run / "summary.json").write_text(json.dumps(summary))
    (publication,) = publications(run, NAME, "fold:0", tmp_path / "publish")
    text = ModelCard.load(publication.folder / "README.md").text
    assert text.index(f"**Leak:** {leak}") < text.index("test images were classified right")
    (honest,) = publications(trained_run, NAME, "fold:0", tmp_path / "honest")
    assert "**Leak:**" not in ModelCard.load(honest.folder / "README.md").text


def test_heat_maps_go_up_unless_they_are_of_other_weights(trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    explain_fold(find_weights(run), num_images=1, num_curves=2)
    (publication,) = publications(run, NAME, "fold:0", tmp_path / "publish")
    shown = re.findall(r"\((explain/[^)]+)\)", ModelCard.load(publication.folder / "README.md").text)
    assert shown
    assert all((publication.folder / name).is_file() for name in shown)
    shutil.copyfile(run / "fold-1/model/model.safetensors", run / "fold-0/model/model.safetensors")
    (publication,) = publications(run, NAME, "fold:0", tmp_path / "other")
    assert not (publication.folder / "explain").exists()
    assert "explain/" not in ModelCard.load(publication.folder / "README.md").text


@pytest.fixture(scope="module")
def refitted(run_fields, tmp_path_factory):
    """A finished run with a reserve and validation parts, and the refit of it."""
    folder = tmp_path_factory.mktemp("refitted") / "run"
    fields = run_fields | {"reserve_size": 0.2, "validation_size": 0.2, "output_dir": str(folder)}
    cross_validate(build_recipe(fields, {}))
    cross_validate(build_recipe(fields, {"fold": "refit"}))
    summarise(folder)
    return folder


def test_a_refit_with_a_validation_part_has_no_examples(refitted):
    names = {path.name for path in (refitted / "refit").iterdir()}
    assert names == {"model", "history.csv", "predictions.csv", "metrics.json"}
    assert (refitted / "fold-0" / "examples").is_dir()


def test_the_card_of_a_refit_tells_what_it_was_not_trained_on(refitted, tmp_path):
    text = card_of(refitted, tmp_path / "publish", "refit").text
    rows = dict(re.findall(r"^\| (train|test|validation|reserve) \| ([\d,]+) \|", text, re.MULTILINE))
    assert set(rows) == {"train", "validation", "reserve"}
    assert sum(int(number) for number in rows.values()) == 328
    left = int(rows["validation"]) + int(rows["reserve"])
    told = f"all but {left} images ({rows['validation']} for validation and {rows['reserve']} for reserve) of 328"
    assert told in text
    assert "on everything" not in text
    assert "no test part was held out" in text
    assert "examples/" not in text


def test_the_card_of_a_refit_without_such_parts_says_all(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    shutil.copytree(run / "fold-0", run / "refit", ignore=shutil.ignore_patterns("examples"))
    assert "It was trained on all of 328 generated pictures" in card_of(run, tmp_path / "publish", "refit").text


def test_a_refit_that_is_not_finished_is_not_published(refitted, tmp_path):
    run = shutil.copytree(refitted, tmp_path / "run")
    assert choose_weights(run, "refit")[0].fold == "refit"
    (run / "refit" / "metrics.json").unlink()
    with pytest.raises(InputError, match=r"refit is not finished; .* --fold refit` continues it"):
        choose_weights(run, "refit")
    assert choose_weights(run, "fold:0")[0].fold == "0"


def test_a_model_that_went_on_from_fold_to_fold_was_trained_on_them_all(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    assert "the training part of fold 1 of" in read_facts(find_weights(run, "1")).trained_on
    recipe = yaml.safe_load((run / "recipe.yaml").read_text()) | {"carry_over": "all"}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert "the training part of fold 0 of" in read_facts(find_weights(run, "0")).trained_on
    assert "the training parts of folds 0 to 1 of" in read_facts(find_weights(run, "1")).trained_on
