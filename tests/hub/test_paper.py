"""A card calls a run one of the paper's classifiers where its fields are those, whatever its folder is called."""

import pytest
import yaml

from hf_breakhis.hub.paper import OF_SPLIT, paper_words
from hf_breakhis.recipe import build_recipe, load_recipe, resolved_fields
from hf_breakhis.results.paper import DECIDING, PAPER_RECIPES, classifier_of

# Where images, threads and precision are, which of many equal splits, and the normalization, for which ResNet-50 has
# ImageNet's values in any case: Table I says nothing about them.
FREE = {"dataset", "output_dir", "dataloader_num_workers", "bf16", "seed", "normalization"}


def fields_of(recipe, **changes):
    """All fields of a run of a recipe, as its recipe.yaml holds them."""
    resolved = resolved_fields(build_recipe(load_recipe(recipe) | changes, {"use_cpu": True}))
    return yaml.safe_load(yaml.safe_dump(resolved))


@pytest.mark.parametrize("name", PAPER_RECIPES)
def test_a_restated_recipe_is_called_so_whatever_its_folder_is(name):
    words = paper_words(fields_of(name, output_dir="outputs/mine", seed=7, dataset="twin"))
    assert f"Classifier {name[1]}:" in words
    assert "differs" not in words


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.001}, {"num_train_epochs": 30}, {"augmentation": "dihedral"},
        {"class_weights": "balanced"}, {"init": "random"}, {"image_size": 128}, {"num_folds": 5},
        {"optimizer_kwargs": {"betas": [0.9, 0.999]}}, {"freeze_backbone": True}, {"magnifications": ["40X"]},
        {"lora": {}}, {"model_name_or_path": "microsoft/resnet-18"},
    ],
    ids=str,
)  # fmt: skip
def test_a_changed_recipe_is_not_whatever_its_folder_is(changes):
    assert paper_words(fields_of("c3", output_dir="outputs/c3")) != ""
    changed = fields_of("c3", output_dir="outputs/c3", **changes)
    assert paper_words(changed) == ""
    assert classifier_of(changed) is None, "neither the card nor the comparison"


@pytest.mark.parametrize("name", ["c3_tuned", "demo", "probe", "eva"])
def test_recipes_of_our_own_are_none_of_the_papers(name):
    assert paper_words(fields_of(name)) == ""


def test_another_split_is_told():
    words = paper_words(fields_of("c3", split_by="specimen"))
    assert "Classifier 3:" in words
    assert words.endswith("how images are divided: `split_by` is specimen instead of image.")
    words = paper_words(fields_of("as_published/c3"))
    assert "`carry_over` is all instead of none" in words
    assert "`reserve_size` is 0.15 instead of 0.0" in words


@pytest.mark.parametrize("name", [*PAPER_RECIPES, *(f"as_published/{name}" for name in PAPER_RECIPES)])
def test_every_field_of_the_recipes_is_judged(name):
    assert set(load_recipe(name)) <= {*DECIDING, *OF_SPLIT} | FREE
    assert paper_words(fields_of(name)) != ""
