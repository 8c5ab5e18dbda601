"""Classes are matched by equal names, or as the user says, and are never guessed."""

import re
import shlex

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from hf_breakhis.data.filenames import TUMOR_TYPES
from hf_breakhis.files import InputError
from hf_breakhis.inference.evaluation.classes import match_classes, parse_classes

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=2, max_size=6, unique=True)


@settings(max_examples=100, deadline=None)
@given(NAMES, st.randoms(use_true_random=False))
def test_equal_names_in_any_order_are_matched(names, random):
    other = list(names)
    random.shuffle(other)
    for keep in (True, False):
        found = match_classes(names, [name.upper() for name in other], {}, keep)
        logits = np.arange(len(names), dtype=float)[None]
        for number, name in enumerate(other):
            label = found.labels[number]
            assert found.logits(logits)[0, label] == names.index(name)
            assert found.classes[label].lower() == name


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=3, max_size=8), st.integers(0, 2**32 - 1))
def test_probabilities_of_merged_classes_are_added(groups, seed):
    groups = [0, 1, 2, *groups]
    model, data = [f"m{k}" for k in range(len(groups))], ["x", "y", "z"]
    found = match_classes(model, data, {name: data[own] for name, own in zip(model, groups, strict=True)})
    logits = np.random.default_rng(seed).normal(size=(4, len(model)))
    merged, prob = softmax(found.logits(logits), axis=1), softmax(logits, axis=1)
    for own in range(3):
        np.testing.assert_allclose(merged[:, own], prob[:, np.array(groups) == own].sum(1))
    assert not found.keeps_scores


@settings(max_examples=100, deadline=None)
@given(NAMES, NAMES)
def test_different_names_are_refused_with_both_sides(model, data):
    if set(data) <= set(model):
        match_classes(model, data, {})
        return
    with pytest.raises(InputError) as error:
        match_classes(model, data, {})
    text = str(error.value)
    assert all(name in text for name in (*model, *data))
    assert "\n" not in text


def test_a_class_is_left_out_and_another_keeps_its_name():
    given_classes = parse_classes(["Normal=benign, InSitu=malignant", "Other="])
    found = match_classes(["benign", "malignant"], ["Normal", "Benign", "InSitu", "Other"], given_classes)
    assert found.classes == ("benign", "malignant")
    assert found.labels == (0, 0, 1, None)
    assert found.keeps_scores


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text("ab c", min_size=1, max_size=4).map(str.strip).filter(bool), NAMES, max_size=3))
def test_pairs_are_read_as_they_are_written(pairs):
    given_classes = {name: own[0] for name, own in pairs.items()}
    assert parse_classes([",".join(f"{name} = {own}" for name, own in given_classes.items())]) == given_classes


@pytest.mark.parametrize("word", ["benign", "=benign", "a=b,c"])
def test_a_word_without_a_pair_is_refused(word):
    with pytest.raises(InputError, match="--classes has"):
        parse_classes([word])


TYPES, TWO = list(TUMOR_TYPES), ["malignant", "benign"]
FULL = [name.title().replace(" ", "_") for name in TUMOR_TYPES.values()]


@pytest.mark.parametrize(
    ("model", "data", "words"),
    [(TYPES, TWO, []), (TYPES, TWO, ["A=benign,DC=malignant"]), (FULL, TWO, []), (TWO, TYPES, []), (FULL, TYPES, []),
     (TYPES, list(TUMOR_TYPES.values()), [])],
)  # fmt: skip
def test_tumour_types_are_offered_as_a_mapping_that_can_be_pasted(model, data, words):
    with pytest.raises(InputError) as error:
        match_classes(model, data, parse_classes(words))
    offered = shlex.split(re.search("Give (.*) if these are", str(error.value))[1])
    assert offered[0] == "--classes"
    found = match_classes(model, data, parse_classes(offered[1:]))
    two = ["benign"] * 4 + ["malignant"] * 4
    if model is TWO:
        assert [found.classes[label] for label in found.labels] == two
    elif data is TWO:
        assert [found.classes[column] for column in found.columns] == two
    else:
        assert found.labels == tuple(range(8))


@pytest.mark.parametrize(("model", "data"), [(["x", "y"], TWO), (TWO, ["A", "F", "normal"]), (TYPES, ["a", "b"])])
def test_other_names_are_offered_no_mapping(model, data):
    with pytest.raises(InputError) as error:
        match_classes(model, data, {})
    assert "if these are the tumour types" not in str(error.value)
    assert "Give --classes NAME=CLASS,..." in str(error.value)


def test_a_class_of_the_model_cannot_be_left_out():
    words = parse_classes(["A=benign,F=benign,PT=benign,TA=benign,DC=malignant,LC=malignant,MC=malignant,PC="])
    with pytest.raises(InputError, match="PC is a class of the model, and only classes of the data can be left out"):
        match_classes(TYPES, TWO, words)
