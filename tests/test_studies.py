"""A study is a base and rows that change some fields; whatever makes rows no comparison is refused in one line."""

from pathlib import Path

import pytest
import yaml

from hf_breakhis.files import InputError
from hf_breakhis.recipe import resolved_fields
from hf_breakhis.study import BASE, SAME, SPLIT_FIELDS, read_study
from hf_breakhis.training.crossval import check_recipe

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "studies").glob("*.yaml"))


@pytest.fixture
def write(run_fields, tmp_path):
    """Write a study next to its base, and return its path."""

    def to_file(**content):
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(run_fields), encoding="utf-8")
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({"base": "tiny.yaml", **content}), encoding="utf-8")
        return path

    return to_file


def fields_of(row):
    return {name: value for name, value in resolved_fields(row.recipe).items() if name != "output_dir"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_study_has_rows_that_differ_from_the_base_as_they_say(path):
    study = read_study(path.stem, {"init": "random"})
    base = fields_of(study.rows[BASE])
    assert len(study.rows) > 2
    for name, row in study.rows.items():
        check_recipe(row.recipe)
        own = fields_of(row)
        derived = {"metric_for_best_model", "greater_is_better"}  # a plateau schedule sets them
        assert {field for field in own if own[field] != base[field]} - derived == {
            field for field, value in row.changes.items() if value != base[field]
        }
        assert row.recipe.training.output_dir == f"outputs/{path.stem}/{name}"
    if path.stem != "leakage":
        assert all(not SAME & set(row.changes) for row in study.rows.values())


def test_the_grid_of_the_classifiers_is_whole():
    rows = read_study("classifiers", {}).rows
    assert len(rows) == 2 * 3 * 2 * 2, "with the base, which is one of its cells"
    cells = {
        tuple(fields_of(row)[field] for field in ("optimizer_name", "learning_rate", "scheduler_name", "batch_size"))
        for row in rows.values()
    }
    assert len(cells) == 24
    assert ("adamw", 0.0075, "plateau", 64) in cells, "Classifier 3"
    assert ("sgd", 0.005, "step", 32) in cells, "Classifier 1"


def test_the_leakage_study_differs_in_split_carrying_and_length_alone():
    rows = read_study("leakage", {"num_train_epochs": 2}, "c2").rows
    ways = {
        name: (row.recipe.data.split_by, row.recipe.model.carry_over, row.recipe.training.num_train_epochs)
        for name, row in rows.items()
    }
    assert ways == {
        "base": ("specimen", "none", 2),
        **{f"{level}-fresh": (level, "none", 2) for level in ("image", "patient")},
        **{f"{level}-carried": (level, "model", 2) for level in ("image", "patient", "specimen")},
        **{f"{level}-{n}x": (level, "none", 2 * n) for level in ("image", "patient", "specimen") for n in (2, 3)},
    }
    references = {row.name: row.reference for row in rows.values()}
    assert references["image-carried"] == references["patient-3x"] == "specimen-3x"
    assert references["image-2x"] == "specimen-2x"
    assert {row.recipe.data.stratify for row in rows.values()} == {True}


def test_flags_change_the_base_and_rows_change_the_result(write):
    path = write(rows={"long": {"times": {"num_train_epochs": 3, "image_size": 1.25}}, "fast": {"learning_rate": 1.0}})
    study = read_study(path, {"num_train_epochs": 4, "learning_rate": 0.5, "output_dir": "here"})
    training = {name: row.recipe.training for name, row in study.rows.items()}
    assert training["long"].num_train_epochs == 12
    assert training["long"].learning_rate == 0.5
    assert training["fast"].learning_rate == 1.0
    assert study.rows["long"].recipe.data.image_size == 40
    assert study.rows["long"].changes == {"num_train_epochs": 12, "image_size": 40}
    assert training["fast"].output_dir == str(Path("here") / "fast")


TWO = {"a": {"learning_rate": 0.1}, "b": {"learning_rate": 0.2}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "has no rows, so there is nothing to compare"),
        ({"rows": {}}, "has no rows, so there is nothing to compare"),
        ({"row": TWO}, r"unknown key `row`. Did you mean `rows`\?"),
        (
            {"rows": {"a": {"learning_rat": 1}}},
            r"row a has the unknown field `learning_rat`. Did you mean `learning_rat",
        ),
        ({"rows": {"a": {"times": {"epochs": 2}}}}, "row a has the unknown field `epochs`"),
        ({"rows": {"a": {"learning_rate": 0.05}}}, "row a changes nothing of the base"),
        ({"rows": {"a": {}}}, "row a changes nothing of the base"),
        ({"rows": {**TWO, "c": {"learning_rate": 0.2}}}, "row c is the same as row b"),
        ({"rows": {"a": {"seed": 1}}}, "row a changes `seed`, which has to be the same in all rows"),
        ({"rows": {"a": {"num_folds": 3}}}, "row a changes `num_folds`, which has to be the same"),
        ({"rows": {"a": {"split_by": "image"}}}, "row a changes `split_by`, which has to be the same"),
        ({"rows": {"a": {"learning_rate": "high"}}}, "row a: `learning_rate` is 'high', but has to be a number"),
        ({"rows": {"a": {"times": {"loss": 2}}}}, "multiplies `loss` .'cross_entropy'. by 2, but both have to be num"),
        ({"rows": {"a": {"times": {"learning_rate": 2}, "learning_rate": 1.0}}}, "and gives it a value too"),
        ({"rows": {"a": {"reference": "c", "learning_rate": 0.1}}}, "compared with c, which is not a row"),
        ({"rows": {"../a": {"learning_rate": 0.1}}}, "a row is named '../a', but a name has to consist of letters"),
        ({"rows": {"base": {"learning_rate": 0.1}}}, "cannot be base"),
        ({"rows": ["a"]}, "`rows` is .*, but has to be lines of `name: value`"),
        ({"rows": {"a": {"focal_gamma": 1.0}}}, "row a: `focal_gamma` has no effect, since `loss` is cross_entropy"),
        ({"rows": TWO, "score": "acuracy"}, r"has to be one of accuracy, .* Did you mean `accuracy`\?"),
        ({"rows": TWO, "score": "auc"}, "`score` is auc, but has to be one of accuracy, "),
        ({"rows": TWO, "may_change": ["seed"]}, "`may_change` is .*, but has to be a list of split_by"),
        ({"rows": TWO, "fields": {"lr": 1}}, "fields has the unknown field `lr`"),
        ({"grid": {"x": {"1": {"learning_rate": 0.1}}, "y": {"1": {"learning_rate": 0.2}}}}, "two axes of the grid"),
        ({"rows": TWO, "base": "no_such"}, "No recipe at no_such"),
        ({"rows": {"a": {"test_magnifications": ["40X"]}}}, "row a changes `test_magnifications`, which has to be"),
        ({"rows": TWO, "fields": {"push_to_hub": True, "hub_model_id": "user/a"}}, "has no effect in a study"),
        ({"rows": {"a": {"push_to_hub": True, "hub_model_id": "user/a"}}}, "has no effect in a study"),
        ({"rows": TWO, "fields": {"fold": "1"}}, "`fold` is 1, but a study needs all folds"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(write, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_study(write(**content), {})
    assert "\n" not in str(caught.value)


def test_the_split_of_a_study_on_splits_is_its_own(write):
    path = write(rows={"a": {"split_by": "image"}}, fields={"split_by": "specimen"}, may_change=["split_by"])
    assert set(SPLIT_FIELDS) <= SAME
    assert read_study(path, {}).rows["a"].recipe.data.split_by == "image"
    with pytest.raises(InputError, match=r"`split_by` is set by the study mine\. Leave it out"):
        read_study(path, {"split_by": "patient"})


def test_a_study_that_is_absent_names_those_of_the_package():
    with pytest.raises(
        InputError, match=r"No study at whishes\. Did you mean `wishes`\? .*classifiers, ensemble, leakage, "
    ):
        read_study("whishes", {})
