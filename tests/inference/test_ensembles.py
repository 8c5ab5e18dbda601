"""Predictions and exports of ensembles are the mean over their networks, and folds are never averaged."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax

from hf_breakhis.cli import main
from hf_breakhis.cli.embed import find_backbone
from hf_breakhis.data.pixels.transforms import read_rgb
from hf_breakhis.files import InputError
from hf_breakhis.inference.classifier import AveragedClassifier, Classifier, open_classifier
from hf_breakhis.inference.inputs import find_images
from hf_breakhis.inference.model import find_model
from hf_breakhis.inference.predict import predict_images
from hf_breakhis.run import Run


@pytest.fixture(scope="module")
def images(ensemble_run):
    """Some test images of fold 0, by name."""
    folds = Run(ensemble_run).read_folds()
    names = set(folds[(folds["fold"] == 0) & (folds["part"] == "test")]["file_name"].head(6))
    found = find_images([Run(ensemble_run).data["location"]])
    return {one.path: one.path for one in found if one.path.rpartition("/")[2] in names}


def predicted(model, images, **options):
    table = predict_images(model, list(images), **options)
    return table.assign(name=table["path"].str.rpartition("/")[2]).set_index("name").sort_index()


def test_by_default_the_members_are_averaged_as_in_the_run(ensemble_run, images):
    whole = pd.read_csv(ensemble_run / "fold-0/predictions.csv").set_index("file_name")
    found = predicted(ensemble_run, images)
    np.testing.assert_allclose(found["prob_malignant"], whole.loc[found.index, "prob_malignant"], atol=1e-5)
    assert "decision" in found, "the threshold of the run is that of the ensemble"
    pd.testing.assert_frame_equal(found, predicted(ensemble_run, images, members="all"))


def test_one_path_need_not_be_in_a_list(ensemble_run, images):
    first = next(iter(images))
    as_list = predict_images(ensemble_run, [first])
    for path in (first, Path(first)):
        pd.testing.assert_frame_equal(predict_images(ensemble_run, path), as_list)


def test_all_is_the_mean_of_the_members_one_by_one(ensemble_run, images):
    each = [predicted(ensemble_run, images, members=str(number)) for number in range(3)]
    mean = np.mean([one["prob_malignant"] for one in each], axis=0)
    np.testing.assert_allclose(predicted(ensemble_run, images)["prob_malignant"], mean, atol=1e-12)
    assert np.ptp([one["prob_malignant"].iloc[0] for one in each]) > 1e-4, "members differ"
    assert all("decision" not in one for one in each), "the threshold is not that of one network"


def test_a_member_is_found_by_its_folder(ensemble_run, images):
    by_number = predicted(ensemble_run, images, members="2")
    for place in ("fold-0/member-2", "fold-0/member-2/model"):
        pd.testing.assert_frame_equal(predicted(ensemble_run / place, images), by_number)
    pd.testing.assert_frame_equal(predicted(ensemble_run / "fold-0", images), predicted(ensemble_run, images))


def test_the_vectors_of_an_ensemble_are_those_of_its_first_network_or_of_the_one_given(ensemble_run):
    for place, number in (("", 0), ("fold-0", 0), ("fold-0/member-2", 2)):
        found, _ = find_backbone(str(ensemble_run / place))
        assert found.model_name_or_path == str(ensemble_run / f"fold-0/member-{number}/model")


def test_test_time_augmentation_is_the_mean_of_turned_images(ensemble_run, images):
    weights = find_model(ensemble_run, tta="dihedral", members="1")
    assert weights.decision is None
    assert "another `tta`" in weights.reason
    plain = Classifier(weights.folder)
    prepared = [plain.prepare(read_rgb(path).permute(1, 2, 0).numpy()) for path in images]
    sides = [[one.numpy() for one in prepared], [one.numpy()[..., ::-1] for one in prepared]]
    turned = [[np.rot90(one, k, axes=(1, 2)).copy() for one in side] for side in sides for k in range(4)]
    each = [plain.logits([torch.from_numpy(one) for one in view]) for view in turned]
    expected = np.mean([softmax(one, axis=1) for one in each], axis=0)
    found = softmax(open_classifier(weights).logits(prepared), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - softmax(plain.logits(prepared), axis=1)).max() > 1e-5


def test_a_run_of_one_network_is_not_averaged(trained_run):
    assert type(open_classifier(find_model(trained_run))) is Classifier
    weights = find_model(trained_run, tta="dihedral")
    assert isinstance(open_classifier(weights), AveragedClassifier)
    assert weights.decision is None
    assert find_model(trained_run).decision is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--members", "3"], "--members is 3, but has to be all or a number from 0 to 2."),
        (["--members", "al"], "--members is al, but has to be all or a number from 0 to 2. Did you mean `all`?"),
        (["--tta", "dihedra"], "`tta` is dihedra, but has to be one of none, dihedral. Did you mean `dihedral`?"),
        (["--fold", "all"], "Networks of different folds are never averaged: each test image was in the training set"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_one_line(options, message, ensemble_run, images, capsys):
    assert main(["predict", str(ensemble_run), next(iter(images)), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["predict", "export"])
def test_folds_of_one_network_are_no_members(command, trained_run, images, capsys):
    paths = [next(iter(images))] if command == "predict" else []
    assert main([command, str(trained_run), *paths, "--members", "all"]) == 2
    error = capsys.readouterr().err
    assert "has one network. Networks of different folds are never averaged" in error
    assert error.count("\n") == 1


def test_a_model_folder_has_no_members(ensemble_run, images, capsys):
    folder = ensemble_run / "fold-0/member-1/model"
    assert main(["predict", str(folder), next(iter(images)), "--members", "all"]) == 2
    assert f"--members is all, but {folder} is one network. Leave --members out." in capsys.readouterr().err


def test_members_with_other_classes_are_refused(ensemble_run, tmp_path):
    run = shutil.copytree(ensemble_run, tmp_path / "run")
    path = run / "fold-0/member-1/model/config.json"
    path.write_text(path.read_text().replace("malignant", "cancer"))
    Run(run).seal()
    with pytest.raises(InputError, match=r"member-1/model has other classes than .*member-0/model"):
        find_model(run)


def test_classifiers_with_other_classes_are_not_averaged(write_model):
    one, other = Classifier(write_model(name="one")), Classifier(write_model(("a", "b"), name="other"))
    with pytest.raises(InputError, match=r"other has other classes than .*one"):
        AveragedClassifier([one, other])


@pytest.fixture(scope="module")
def exported(ensemble_run, tmp_path_factory):
    """A copy of the run with exports: all members in fold 0, with test-time augmentation in fold 1, and member 2."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    run = shutil.copytree(ensemble_run, tmp_path_factory.mktemp("exported") / "run")
    assert main(["export", str(run), "--members", "all", "--int8"]) == 0
    assert main(["export", str(run), "--fold", "1", "--tta", "dihedral"]) == 0
    assert main(["export", str(run), "--members", "2"]) == 0
    return run


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("fold", "tta"), [("0", "none"), ("1", "dihedral")])
def test_one_onnx_file_is_the_mean_of_the_members(exported, images, fold, tta):
    import onnxruntime

    path = exported / f"fold-{fold}/onnx/model.onnx"
    about = json.loads((path.parent / "export.json").read_text())
    assert (about["members"], about["tta"]) == (3, tta)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = np.stack([read_rgb(path).permute(1, 2, 0).numpy() for path in images])
    logits, found = session.run(["logits", "probabilities"], {"image": pixels})
    each = [
        predict_images(exported, list(images), fold=fold, members=str(number), tta=tta)["prob_malignant"]
        for number in range(3)
    ]
    np.testing.assert_allclose(found[:, 1], np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_allclose(softmax(logits, axis=1), found, atol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_predictions_with_onnx_are_those_of_torch(exported, images, tmp_path):
    for options in ([], ["--fold", "1", "--tta", "dihedral"], ["--members", "2"]):
        tables = []
        for backend in ("torch", "onnx"):
            output = tmp_path / f"{backend}.csv"
            argv = ["predict", str(exported), *images, *options, "--backend", backend, "--output", str(output)]
            assert main(argv) == 0
            tables.append(pd.read_csv(output))
        np.testing.assert_allclose(tables[1]["prob_malignant"], tables[0]["prob_malignant"], atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_export_with_another_augmentation_is_refused_with_the_command(exported, images, capsys):
    argv = ["predict", str(exported), next(iter(images)), "--backend", "onnx", "--tta", "dihedral"]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert "was exported with tta none, not dihedral" in error
    assert f"Write it with `hf-breakhis export {exported} --fold 0 --tta dihedral`" in error
    assert main([*argv[:-2], "--members", "1"]) == 2
    assert f"`hf-breakhis export {exported} --fold 0 --members 1 --tta none`" in capsys.readouterr().err
