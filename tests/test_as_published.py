"""The recipes as the tables of the paper read: their sizes are the paper's, and what is carried on is told."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.cli import main
from hf_breakhis.data.splits import make_folds
from hf_breakhis.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("small_reports")

RECIPES = Path(__file__).parents[1] / "recipes"
NAMES = ("c1", "c2", "c3")
# What differs from the recipe of the same name, which starts each fold afresh on all of BreakHis.
OTHER = {"dataset", "reserve_size", "carry_over", "output_dir"}
SUPPORTS = {"c1": [957], "c2": [2125] * 3, "c3": [2125] * 3}  # Tables II, III and V
BENIGN = {"c1": [492], "c2": [1055, 1053, 1060], "c3": [1063, 1061, 1044]}
TINY = [
    "--dataset", "rcl7500_twin", "--twin_kwargs", '{"scale": 0.01, "width": 70, "height": 46}', "--image_size", "32",
    "--init", "random", "--num_train_epochs", "1", "--use_cpu", "--dataloader_num_workers", "0",
    "--disable_tqdm", "true", "--model_kwargs",
    '{"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}',
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_only_data_and_carrying_on_differ_from_the_fresh_recipe(name):
    fresh, published = (load_recipe(RECIPES / folder / f"{name}.yaml") for folder in ("", "as_published"))
    differing = {key for key in fresh | published if fresh.get(key) != published.get(key)}
    assert differing == (OTHER - {"carry_over"} if name == "c1" else OTHER)
    assert published["dataset"] == "rcl7500"
    assert published["split_by"] == "image"
    assert published.get("carry_over") == (None if name == "c1" else "all")


@pytest.mark.parametrize("name", NAMES)
def test_supports_are_those_of_the_tables_up_to_the_draw(name):
    recipe = load_recipe(RECIPES / "as_published" / f"{name}.yaml")
    labels = np.repeat([0, 1], 3750)
    names = ("split_by", "num_folds", "test_size", "reserve_size", "stratify")
    options = {key: recipe[key] for key in names if key in recipe}
    folds = make_folds(labels, {"patient_id": [None] * 7500, "specimen_id": [None] * 7500}, **options)
    assert [len(fold.test) for fold in folds] == SUPPORTS[name]
    assert {len(fold.reserve) for fold in folds} == {1125}
    drawn = [int((labels[fold.test] == 0).sum()) for fold in folds]
    # an unstratified draw of n of 6,375 rows, half of them benign: sd = sqrt(n / 4 * (1 - n / 6375))
    for one, paper in zip(drawn, BENIGN[name], strict=True):
        size = SUPPORTS[name][0]
        sd = np.sqrt(size / 4 * (1 - size / 6375))
        assert abs(one - size / 2) < 4 * sd
        assert abs(paper - size / 2) < 4 * sd, "the paper's own supports fit such a draw"
    assert len(set(drawn)) == len(drawn), "a stratified split would give every fold the same number"


@pytest.mark.parametrize("name", NAMES)
def test_a_run_scores_what_was_set_aside_after_every_fold(name, tmp_path):
    run = tmp_path / name
    assert main(["train", str(RECIPES / "as_published" / f"{name}.yaml"), *TINY, "--output_dir", str(run)]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert [row["fold"] for row in summary["reserve"]["per_fold"]] == list(range(len(SUPPORTS[name])))
    reserve = {tuple(table["file_name"]) for _, table in _reserves(run)}
    assert len(reserve) == 1, "the same images are set aside in every fold"
    share = summary["leakage"]["share_seen"]
    assert share == 0 if name == "c1" else 0.5 < share < 0.8  # fold 0 has seen none, the others all of their test set
    text = " ".join(caution["text"] for caution in summary["warnings"])
    assert ("carried over from fold to fold" in text) == (name != "c1")
    assert "nothing about BreakHis" in text


def _reserves(run):
    tables = [pd.read_csv(path) for path in sorted(run.glob("fold-*/predictions.csv"))]
    return [(table["fold"].iloc[0], table[table["part"] == "reserve"]) for table in tables]
