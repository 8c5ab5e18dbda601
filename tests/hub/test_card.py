"""The card says what the run's files say: of a refit, of a changed recipe, of real pictures."""

import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_breakhis.files import InputError
from hf_breakhis.hub.facts import read_facts
from hf_breakhis.hub.publish import choose_weights, publications
from hf_breakhis.inference.weights import find_weights
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.aggregate import summarise
from hf_breakhis.training.crossval import cross_validate

NAME = "user/breakhis-tiny"


def card_of(run, folder, which="fold:0"):
    (publication,) = publications(run, NAME, which, folder)
    return ModelCard.load(publication.folder / "README.md")


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
