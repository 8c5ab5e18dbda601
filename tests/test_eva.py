"""kaiko-eva's task restated: its images, its patients, its four classes, and what its split shares is told."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

from hf_breakhis.cli import main
from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.data.splits import make_folds
from hf_breakhis.files import InputError
from hf_breakhis.recipe import build_recipe, load_recipe

pytestmark = pytest.mark.usefixtures("small_reports")

RECIPE = load_recipe("eva")
SHARED = {"14-16184", "14-18842", "14-19979", "14-23060"}


@pytest.fixture(scope="module")
def names():
    """The images of the task, by their names."""
    every = [parse_file_name(name) for name in expected_file_names()]
    return [one for one in every if one.magnification == "40X" and one.tumor_type in RECIPE["tumor_types"]]


def split(names, **changes):
    wanted = {"split_by": "patient", "num_folds": 1, "test_patients": RECIPE["test_patients"]} | changes
    labels = np.array([RECIPE["tumor_types"].index(one.tumor_type) for one in names])
    columns = {key: [getattr(one, key) for one in names] for key in ("patient_id", "specimen_id")}
    return make_folds(labels, columns, classes=RECIPE["tumor_types"], **wanted)


def test_sizes_are_those_that_eva_expects(names):
    (fold,) = split(names)
    assert (len(fold.train), len(fold.test)) == (1132, 339)
    sides = [{names[row].specimen_id for row in rows} for rows in (fold.train, fold.test)]
    assert sides[0] & sides[1] == SHARED


def test_a_divided_specimen_is_refused_by_name(names):
    with pytest.raises(InputError, match=r"divides a specimen: SOB_.* belongs to one that is named; name it too"):
        split(names, split_by="specimen")


@pytest.mark.parametrize(
    ("patient", "message"),
    [("SOB_M_DC-14-2774", "Did you mean `SOB_M_DC-14-2773`?"), ("nobody", "of whom there is no image here")],
)
def test_a_patient_who_is_not_there_is_refused(names, patient, message):
    with pytest.raises(InputError, match="`test_patients` has ") as refused:
        split(names, test_patients=[*RECIPE["test_patients"], patient])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_folds": 3}, "`num_folds` is 3, but `test_patients` requires 1"),
        ({"split_by": "image"}, "`split_by` is image, but `test_patients` requires patient or specimen"),
        ({"test_patients": ["a", "a"]}, "`test_patients` contains a twice"),
        ({"tumor_types": ["TA", "TA"]}, "`tumor_types` contains TA twice"),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        build_recipe({**RECIPE, **changes, "use_cpu": True}, {})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The recipe to its end on the whole twin at 40X, small, from a small backbone as if pretrained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("eva")
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=3)
    ResNetForImageClassification(config).save_pretrained(folder / "backbone")
    small = [
        "--dataset", "twin", "--twin_kwargs", '{"scale": 0.1, "width": 48, "height": 32}', "--image_size", "32",
        "--model_name_or_path", str(folder / "backbone"), "--model_revision", "main", "--num_train_epochs", "3",
        "--repeats", "2", "--use_cpu", "--disable_tqdm", "true", "--output_dir", str(folder / "run"),
    ]  # fmt: skip
    assert main(["train", "eva", *small]) == 0
    return folder / "run"


def test_the_run_has_four_classes_in_the_order_of_the_recipe(run):
    summary = json.loads((run / "repeat-0" / "summary.json").read_text())
    assert summary["classes"] == ["TA", "MC", "F", "DC"]
    folds = pd.read_csv(run / "repeat-0" / "folds.csv")
    assert set(folds.loc[folds["part"] == "test", "patient_id"]) == set(RECIPE["test_patients"])
    kinds = folds["file_name"].map(lambda name: parse_file_name(name).tumor_type)
    assert (kinds == folds["label"].map(lambda label: RECIPE["tumor_types"][label])).all()
    both = pd.read_csv(run / "repeat-1" / "folds.csv")
    assert both.equals(folds), "the patients stay, only the weights change"


def test_the_run_tells_what_it_shares_and_where_it_chose(run):
    summary = json.loads((run / "repeat-0" / "summary.json").read_text())
    text = " ".join(caution["text"] for caution in summary["warnings"])
    assert "specimen" in text
    assert "Selected on the test set" in text
    assert 0 <= summary["mean"]["balanced_accuracy"] <= 1 if "mean" in summary else summary["image"]


def test_a_type_that_is_not_there_is_refused(capsys, tmp_path):
    wanted = [
        "train", "demo", "--tumor_types", "DC", "XX", "--use_cpu", "--output_dir", str(tmp_path / "x"),
        "--twin_kwargs", '{"scale": 0.001, "width": 48, "height": 32}',
    ]  # fmt: skip
    assert main(wanted) == 2
    assert "`tumor_types` has XX, but" in capsys.readouterr().err
