"""The space file: what is read, and every refusal in one line."""

import itertools

import pytest

from hf_breakhis.files import InputError
from hf_breakhis.search.claims import TrialPlan
from hf_breakhis.search.space import Parameter, Searched, Space, check_space, read_space
from hf_breakhis.yaml_files import packed_files


def space_of(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return read_space(path)


def test_ranges_and_choices_are_read(tmp_path):
    space = space_of(
        tmp_path,
        "# Title.\nlearning_rate: {low: 1.0e-4, high: 0.1, log: true}\nbatch_size: {low: 8, high: 33, step: 8}\n"
        "num_train_epochs: {low: 2, high: 4, int: true}\nclass_weights: {choices: [none, balanced]}\n"
        "model_kwargs: {choices: [{depths: [1, 1]}, {depths: [2, 2]}]}\n",
    )
    rate, batch, epochs, weights, network = space.parameters
    assert space.title == "Title."
    assert rate == Parameter("learning_rate", (), 1e-4, 0.1, log=True)
    assert batch.grid() == [8, 16, 24, 32]  # the last one below 33
    assert (epochs.is_int, epochs.grid()) == (True, [2, 3, 4])
    assert weights.ends() == ["none", "balanced"]
    assert [network.value(label) for label in network.labels] == [{"depths": [1, 1]}, {"depths": [2, 2]}]


def test_a_choice_keeps_its_type():
    parameter = Parameter("x", (1, True, 1.0, None))
    assert [(type(value), value) for value in map(parameter.value, parameter.labels)] == [
        (int, 1), (bool, True), (float, 1.0), (type(None), None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("{}", "has no fields"),
        ("- learning_rate", "no `key: value` lines"),
        ("learning_rat: {low: 0.1, high: 1}", "Did you mean `learning_rate`?"),
        ("seed: {low: 1, high: 5}", "`seed` is the same in all trials"),
        ("split_seed: {low: 1, high: 5}", "cannot be searched"),
        ("features: {choices: [[a.csv], [b.csv]]}", "cannot be searched"),
        ("validation_size: {low: 0.1, high: 0.2}", "cannot be searched"),
        ("learning_rate: 0.1", "has to be {low: ..., high: ...} or {choices: [...]}"),
        ("learning_rate: {}", "has to be {low: ..., high: ...} or {choices: [...]}"),
        ("learning_rate: {low: 0.1}", "has no `high`"),
        ("learning_rate: {low: 0.1, hihg: 1}", "Did you mean `high`?"),
        ("learning_rate: {low: 0.1, high: 1, choices: [1, 2]}", "has choices and a range"),
        ("learning_rate: {low: 1e-4, high: 1}", "YAML reads 1e-4 as text"),
        ("learning_rate: {low: 1, high: 0.1}", "low has to be below high"),
        ("learning_rate: {low: 0, high: 0.1, log: true}", "has to begin above 0"),
        ("learning_rate: {low: 0.1, high: 1, log: 3}", "has to be true or false"),
        ("learning_rate: {low: 0.1, high: 1, step: 0}", "has to be above 0"),
        ("learning_rate: {low: 0.1, high: 1, step: 0.1, log: true}", "do not go together"),
        ("learning_rate: {low: 0.1, high: 1, int: true}", "needs whole numbers"),
        ("batch_size: {low: 8, high: 64, step: 1.5}", "needs a whole number"),
        ("batch_size: {low: 8.5, high: 64}", "has to be a whole number"),
        ("class_weights: {low: 1, high: 2}", "has to be one of none, balanced"),
        ("class_weights: {choices: [none, equal]}", "has to be one of none, balanced"),
        ("class_weights: {choices: none}", "have to be a list"),
        ("class_weights: {choices: []}", "have to be a list"),
        ("class_weights: {choices: [none]}", "are one value"),
        ("class_weights: {choices: [none, none]}", "twice"),
        ("freeze_backbone: {low: true, high: false}", "is not a number"),
    ],
)
def test_a_wrong_space_is_refused_in_one_line(tmp_path, text, words):
    with pytest.raises(InputError) as caught:
        space_of(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_space_names_those_of_the_package():
    with pytest.raises(InputError, match=r"No space at haed.*fine_tuning, head"):
        read_space("haed")


@pytest.mark.parametrize("name", packed_files("spaces"))
def test_the_spaces_of_the_package_fit_their_recipes(name):
    base = {"head": {"features": ["v.csv"]}, "fine_tuning": {"init": "random"}}[name]
    common = {"optimizer_name": "adamw", "learning_rate": 0.01, "use_cpu": True, "bf16": False}
    check_space(Searched("recipe", base | common, read_space(name)))


@pytest.mark.parametrize(
    ("parameter", "base", "words"),
    [
        (Parameter("optimizer_name", ("adamw", "adamx")), {}, "`optimizer_name` adamx"),
        (Parameter("activation", ("relu", "gelu")), {"features": ["v.csv"]}, "has no effect in this recipe"),
        (Parameter("scheduler_name", ("cosine", "plateau")), {}, "decided on the test set of each fold"),
        (Parameter("augmentation", ("none", "flips")), {"features": ["v.csv"]}, "`features` are fixed"),
    ],
)
def test_a_value_that_the_recipe_cannot_have_is_refused_before_training(parameter, base, words):
    fields = {"init": "random", "optimizer_name": "adamw", "learning_rate": 0.01, "use_cpu": True, "bf16": False}
    with pytest.raises(InputError, match=words):
        check_space(Searched("recipe", fields | base, Space("s", "t", (parameter,))))


def test_a_grid_has_every_combination_once_in_an_order_of_the_seed():
    space = Space("s", "t", (Parameter("a", (1, 2, 3)), Parameter("b", ("x", "y"))))
    cells = [tuple(cell.values()) for cell in TrialPlan("grid", "none", 0, space, None).grid()]
    assert sorted(cells) == sorted(itertools.product((1, 2, 3), ("x", "y")))
    assert cells != [tuple(cell.values()) for cell in TrialPlan("grid", "none", 1, space, None).grid()]


def test_a_grid_needs_steps():
    with pytest.raises(InputError, match="range without a step"):
        Parameter("learning_rate", (), 0.1, 1.0).grid()
    assert Parameter("learning_rate", (), 0.1, 0.4, step=0.1).grid() == pytest.approx([0.1, 0.2, 0.3, 0.4])
