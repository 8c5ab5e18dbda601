"""The published tables are those of the paper, and agree with themselves."""

import numpy as np
import pytest

from hf_breakhis.recipe import load_recipe
from hf_breakhis.results.paper import CLASSIFIERS, classifier_of
from tests.metrics.test_paper_tables import AVERAGES, FITTING, TABLE_II_AVERAGES, TABLES

TABLE_OF = {"c1": "II", "c2": "III", "c3": "V"}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_folds_are_the_printed_rows(name):
    for fold, (benign, malignant, accuracy, supports) in zip(
        CLASSIFIERS[name].folds, TABLES[TABLE_OF[name]], strict=True
    ):
        rows = fold.rows()
        for label, values, support in zip(("benign", "malignant"), (benign, malignant), supports, strict=True):
            row = rows[label]
            assert [round(100 * row[key]) for key in ("precision", "recall", "f1")] == list(values)
            assert row["support"] == support
        assert round(100 * fold.accuracy) == accuracy


def test_averages_are_the_printed_ones():
    for name, table in {"c2": "IV", "c3": "VI"}.items():
        _, printed = AVERAGES[table]
        row = CLASSIFIERS[name].averages
        assert [round(100 * row[key]) for key in ("precision", "recall", "f1", "accuracy")] == list(printed)
    row = CLASSIFIERS["c1"].averages
    assert [round(100 * row[key]) for key in ("precision", "recall", "f1")] == list(TABLE_II_AVERAGES["macro"])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_accuracy_follows_from_the_recalls(name):
    for fold, (right0, right1) in zip(CLASSIFIERS[name].folds, FITTING[TABLE_OF[name]], strict=True):
        benign, malignant = fold.rows().values()
        exact = (right0 + right1) / (benign["support"] + malignant["support"])
        rounded = np.average(
            [benign["recall"], malignant["recall"]], weights=[benign["support"], malignant["support"]]
        )
        assert abs(exact - fold.accuracy) <= 0.005
        assert abs(rounded - fold.accuracy) <= 0.01


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_recipe_is_known_by_its_settings(name):
    for folder in ("", "as_published/"):
        assert classifier_of(load_recipe(f"{folder}{name}")) is CLASSIFIERS[name]
    assert classifier_of(load_recipe(name) | {"learning_rate": 0.02}) is None
    assert classifier_of(load_recipe("c3_tuned")) is None


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_recipes_hold_the_settings_of_table_i(name):
    recipe, settings = load_recipe(name), CLASSIFIERS[name].settings
    own = {"momentum", "step_size", "gamma"}
    assert {key: recipe[key] for key in settings if key not in own} == {k: settings[k] for k in settings.keys() - own}
    optimizer, schedule = recipe["optimizer_kwargs"], recipe["scheduler_kwargs"]
    assert settings["momentum"] in (optimizer.get("momentum"), *optimizer.get("betas", []))
    assert settings["step_size"] in schedule.values()
    assert settings["gamma"] in schedule.values()


def test_weighted_averages_are_those_of_table_ii():
    row = CLASSIFIERS["c1"].weighted
    assert [round(100 * row[key]) for key in ("precision", "recall", "f1")] == list(TABLE_II_AVERAGES["weighted"])
