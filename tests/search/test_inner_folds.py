"""No image of an outer test set, and none of its specimens, is in an inner fold."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hf_breakhis.arguments import DataArguments
from hf_breakhis.cli import main
from hf_breakhis.data.splits import Fold, make_folds
from hf_breakhis.files import InputError
from hf_breakhis.search.inner_folds import check_split, inner_folds

CLASSES = ["benign", "malignant"]


@st.composite
def data_sets(draw):
    """Labels and groups: specimens of one class, some of two patients (slide folders)."""
    specimens = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4)), min_size=12, max_size=40))
    rows = [(label, f"s{number}", f"s{number}-{image % 2}") for number, (label, images) in enumerate(specimens)
            for image in range(images)]  # fmt: skip
    rows = draw(st.permutations(rows))
    labels, specimen, patient = zip(*rows, strict=True)
    return np.array(labels), {"specimen_id": list(specimen), "patient_id": list(patient)}


@settings(max_examples=60, deadline=None)
@given(
    data_sets(), st.integers(2, 4), st.integers(2, 3), st.integers(0, 9), st.sampled_from([0.0, 0.25]),
    st.sampled_from([0.0, 0.2]),
)  # fmt: skip
def test_no_specimen_of_the_outer_test_set_is_in_an_inner_fold(found, outer, inner, seed, validation, reserve):
    labels, columns = found
    data = DataArguments(
        num_folds=outer, split_seed=seed, validation_size=validation, reserve_size=reserve, split_by="specimen"
    )
    try:
        folds = make_folds(
            labels, columns, num_folds=outer, seed=seed, validation_size=validation, reserve_size=reserve
        )
        found_folds = [inner_folds(fold, labels, columns, data, inner, CLASSES) for fold in folds]
    except InputError:  # too few specimens of a class
        assume(False)
    specimens = np.array(columns["specimen_id"])
    for fold, made in zip(folds, found_folds, strict=True):
        hidden = set(specimens[np.concatenate([fold.test, fold.reserve])])
        tested = np.concatenate([one.test for one in made])
        assert sorted(tested) == sorted(np.concatenate([fold.train, fold.validation]))  # each once
        for one in made:
            used = np.concatenate([one.train, one.validation, one.test])
            assert not hidden & set(specimens[used])
            assert not set(specimens[one.test]) & set(specimens[np.concatenate([one.train, one.validation])])
            assert len(one.validation) > 0 or not validation


def test_the_search_of_an_outer_fold_does_not_depend_on_its_test_images(tmp_path, noise, fields):
    """End to end: other vectors of the test images change the other searches, and not that of their own fold."""
    space, parts = tmp_path / "space.yaml", []
    space.write_text("learning_rate: {low: 0.001, high: 0.1, log: true}\nnum_train_epochs: {choices: [1, 3]}\n")
    vectors = pd.read_csv(noise)
    for name in ("before", "after"):
        file = tmp_path / f"{name}.csv"
        vectors.to_csv(file, index=False)
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump(fields(file) | {"num_folds": 2}))
        command = ["search", str(recipe), "--space", str(space), "--trials", "2", "--inner_folds", "2"]
        assert main([*command, "--output_dir", str(tmp_path / name)]) == 0
        parts.append(json.loads((tmp_path / name / "search.json").read_text())["parts"])
        test = pd.read_csv(tmp_path / name / parts[0][0]["predictions"])["file_name"].str.removesuffix(".png")
        rows = vectors["file_name"].str.removesuffix(".png").isin(test)
        assert rows.sum() == len(test)
        vectors.loc[rows, vectors.columns[1:]] = np.random.default_rng(1).normal(size=(rows.sum(), 12))
    (before, other_before, _), (after, other_after, _) = parts
    steps = [[trial["steps"] for trial in part["trials"]] for part in (before, after, other_before, other_after)]
    assert steps[0] == steps[1]
    assert before["best"] == after["best"]
    assert steps[2] != steps[3]


def test_an_inner_fold_with_a_test_image_would_be_noticed(monkeypatch):
    labels = np.array([0, 1] * 8)
    columns = {"specimen_id": [f"s{i}" for i in range(16)], "patient_id": [f"s{i}" for i in range(16)]}
    outer = Fold(0, np.arange(4, 16), np.arange(6))  # rows 4 and 5 are in both
    with pytest.raises(ValueError, match="has a test image"):
        inner_folds(outer, labels, columns, DataArguments(), 2, CLASSES)


def test_too_few_specimens_name_the_outer_fold():
    labels = np.array([0, 1, 0, 1, 0, 1])
    columns = {"specimen_id": list("abcdef"), "patient_id": list("abcdef")}
    with pytest.raises(InputError, match="Inner folds of outer fold 3"):
        inner_folds(Fold(3, np.arange(4), np.arange(4, 6)), labels, columns, DataArguments(), 4, CLASSES)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"repeats": 3}, "`repeats` is 3"),
        ({"fold": "1"}, "`fold` is 1"),
        ({"split_by": "folders", "num_folds": 1}, "`split_by` is folders"),
        ({"split_by": "official"}, "`split_by` is official"),
        ({"train_magnifications": ["40X"]}, "`train_magnifications`"),
    ],
)
def test_a_split_without_inner_folds_is_refused(fields, words):
    with pytest.raises(InputError, match=words):
        check_split(DataArguments(**fields))
