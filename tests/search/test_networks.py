"""A search over networks trains the ordinary way: the best recipe gives the same predictions with `train`."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from hf_breakhis.cli import main

pytestmark = pytest.mark.usefixtures("small_reports")


def search(folder, fields, space, *more):
    recipe, file = folder / "recipe.yaml", folder / "space.yaml"
    recipe.write_text(yaml.safe_dump(fields))
    file.write_text(space)
    command = ["search", str(recipe), "--space", str(file), "--trials", "2", "--inner_folds", "2", *more]
    assert main([*command, "--output_dir", str(folder / "out")]) == 0
    return json.loads((folder / "out" / "search.json").read_text())


@pytest.mark.parametrize(
    ("more", "space"),
    [
        (
            {"augmentation": "flips", "seed": 3, "num_train_epochs": 1},
            "image_size: {choices: [24, 32]}\nmodel_kwargs: {choices: [{depths: [1, 1]}, {depths: [2, 1]}]}\n",
        ),
        (
            {"validation_size": 0.3, "load_best_model_at_end": True, "num_train_epochs": 1},
            "learning_rate: {low: 0.001, high: 0.1, log: true}\noptimizer_name: {choices: [sgd, adamw]}\n",
        ),
    ],
    ids=["augmented", "watched"],
)
def test_the_best_recipe_gives_the_predictions_of_the_best_trial(tmp_path, run_fields, more, space):
    if "model_kwargs" in space:
        run_fields = run_fields | {"model_kwargs": None}
        sizes = "layer_type: basic, embedding_size: 4, hidden_sizes: [4, 8]"
        space = space.replace("{depths", f"{{{sizes}, depths")
    found = search(tmp_path, run_fields | more, space)
    assert main(["train", str(tmp_path / "out" / "best.yaml")]) == 0
    ours = pd.read_csv(tmp_path / "out" / found["parts"][-1]["predictions"]).set_index("file_name")
    trained = pd.read_csv(tmp_path / "out" / "best" / "predictions.csv").set_index("file_name").loc[ours.index]
    np.testing.assert_array_equal(ours["logit_malignant"], trained["logit_malignant"])
    recipe = yaml.safe_load((tmp_path / "out" / "best" / "recipe.yaml").read_text())
    assert {name: recipe[name] for name in found["space"]} == found["selected"][-1]["fields"]
    assert not list((tmp_path / "out").glob("**/.work/**/*"))
    weights = {path.parent.parent.parent.name for path in (tmp_path / "out").rglob("*.safetensors")}
    assert weights == {"best"}  # of `train`
