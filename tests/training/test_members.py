"""Ensembles: members differ in the seed alone, their probabilities are averaged, and finished ones are kept."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForImageClassification

from hf_breakhis.cli import main
from hf_breakhis.data.pixels.preprocessing import read_processor
from hf_breakhis.data.pixels.transforms import normalize, read_rgb, resize
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError, read_json
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.members import mean_history, mean_predictions

pytestmark = pytest.mark.usefixtures("small_reports")

CLASSES = ["benign", "malignant"]


@pytest.fixture(scope="module")
def single(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members") / "single"
    cross_validate(recipe(folder, num_train_epochs=1))
    return folder


@pytest.fixture(scope="module")
def ensemble(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members") / "ensemble"
    cross_validate(recipe(folder, num_train_epochs=1, members=3))
    return folder


def read(path):
    return pd.read_csv(path)


def test_the_first_member_is_the_run_of_one_network(single, ensemble):
    for name in ("predictions.csv", "history.csv", "model/model.safetensors", "metrics.json"):
        same = (ensemble / "fold-1/member-0" / name).read_bytes() == (single / "fold-1" / name).read_bytes()
        assert same, name


def test_a_single_network_has_no_members(single):
    assert not list(single.rglob("member-*"))
    assert Run(single).fold(0).members() == []


def test_members_differ(ensemble):
    weights = {path.read_bytes() for path in ensemble.glob("fold-0/member-*/model/model.safetensors")}
    assert len(weights) == 3


def test_the_ensemble_is_the_mean_of_the_probabilities(ensemble):
    members = [read(path) for path in sorted(ensemble.glob("fold-0/member-*/predictions.csv"))]
    assert len(members) == 3
    whole = read(ensemble / "fold-0/predictions.csv")
    assert list(whole.columns) == list(members[0].columns)
    described = [name for name in whole if not name.startswith(("logit_", "prob_", "predicted"))]
    pd.testing.assert_frame_equal(whole[described], members[0][described])
    for name in CLASSES:
        mean = np.mean([member[f"prob_{name}"] for member in members], axis=0)
        np.testing.assert_allclose(whole[f"prob_{name}"], mean, atol=1e-12)
        np.testing.assert_allclose(whole[f"logit_{name}"], np.log(mean), atol=1e-9)
    np.testing.assert_array_equal(whole["predicted"], (whole["prob_malignant"] > 0.5).astype(int))
    metrics = read_json(ensemble / "fold-0/metrics.json")
    test = whole[whole["part"] == "test"]
    assert metrics["test"]["accuracy"] == pytest.approx((test["label"] == test["predicted"]).mean())


def test_the_learning_curve_is_the_mean_of_the_members(ensemble):
    members = [read(path) for path in ensemble.glob("fold-0/member-*/history.csv")]
    found = read(ensemble / "fold-0/history.csv")
    assert found["train_loss"][0] == pytest.approx(np.mean([one["train_loss"][0] for one in members]))
    assert found["eval_part"].tolist() == ["test"]


def test_an_epoch_that_some_did_not_reach_is_of_the_others(ensemble):
    long = Run(ensemble).fold(0).member(0).read_history()
    long = pd.concat([long, long.assign(epoch=2, step=99, train_loss=7.0)], ignore_index=True)
    mean = mean_history([long, long.iloc[:1].assign(train_loss=1.0)])
    assert mean["epoch"].tolist() == [1, 2]
    assert mean["train_loss"][0] == pytest.approx((long["train_loss"][0] + 1) / 2)
    assert mean.iloc[1][["train_loss", "step"]].tolist() == [7.0, 99]


def test_finished_members_are_kept(ensemble, recipe, tmp_path, same_run):
    run = tmp_path / "ensemble"
    shutil.copytree(ensemble, run)
    for name in ("metrics.json", "predictions.csv", "history.csv", "checksums.json"):
        (run / "fold-1" / name).unlink()
    shutil.rmtree(run / "fold-1/member-2")
    (run / "finished.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in run.glob("fold-*/member-*/model/model.safetensors")}
    cross_validate(recipe(run, num_train_epochs=1, members=3))
    assert len(before) == 5
    assert {path: path.stat().st_mtime_ns for path in before} == before
    same_run(run, ensemble)


def test_a_changed_member_of_an_unfinished_fold_is_refused_and_can_be_accepted(ensemble, recipe, tmp_path):
    run = tmp_path / "ensemble"
    shutil.copytree(ensemble, run)
    for name in ("metrics.json", "checksums.json"):
        (run / "fold-1" / name).unlink()
    (run / "finished.json").unlink()
    with (run / "fold-1/member-1/predictions.csv").open("a") as stream:
        stream.write("\n")
    with pytest.raises(InputError, match=r"have changed: fold-1/member-1/predictions.csv"):
        cross_validate(recipe(run, num_train_epochs=1, members=3))
    Run(run).seal()
    assert Run(run).changes(training=True) == []


def test_a_changed_member_of_a_finished_fold_is_found(ensemble, tmp_path):
    run = tmp_path / "ensemble"
    shutil.copytree(ensemble, run)
    with (run / "fold-0/member-2/model/config.json").open("a") as stream:
        stream.write("\n")
    assert Run(run).changes(training=True) == ["fold-0/member-2/model/config.json"]


def test_another_number_of_members_is_another_recipe(ensemble, recipe):
    with pytest.raises(InputError, match="members 3 -> 4"):
        cross_validate(recipe(ensemble, num_train_epochs=1, members=4))


def test_a_refit_has_members_too(ensemble, recipe, tmp_path):
    run = tmp_path / "ensemble"
    shutil.copytree(ensemble, run)
    cross_validate(recipe(run, num_train_epochs=1, members=3, fold="refit"))
    refit = Run(run).fold("refit")
    assert refit.is_finished
    assert [member.is_finished for member in refit.members()] == [True] * 3
    assert not (refit.folder / "predictions.csv").exists()
    assert refit.changes() == []


def test_the_summary_compares_members_and_ensemble(ensemble, tmp_path):
    run = tmp_path / "ensemble"
    shutil.copytree(ensemble, run)
    summary = summarise(run)
    found = summary["members"]
    (seeds,) = [one["text"] for one in summary["warnings"] if one["kind"] == "seeds"]
    assert seeds.startswith("This run uses one split seed and one ensemble for each fold.")
    accuracies = []
    for number in range(3):
        tables = [read(run / f"fold-{fold}/member-{number}/predictions.csv") for fold in (0, 1)]
        accuracies.append((pd.concat(tables)["label"] == pd.concat(tables)["predicted"]).mean())
    accuracy = found["scores"]["accuracy"]
    assert accuracy["members"] == pytest.approx(accuracies)
    assert accuracy["gain"]["value"] == pytest.approx(accuracy["ensemble"] - np.mean(accuracies))
    costs = json.loads((run / "cost.json").read_text())["folds"]
    assert list(costs) == [f"{fold}, member {number}" for fold in (0, 1) for number in range(3)]


def test_members_with_other_classes_or_images_are_refused(ensemble, tmp_path):
    paths = [tmp_path / "one.csv", tmp_path / "other.csv"]
    table = (ensemble / "fold-0/member-0/predictions.csv").read_text()
    paths[0].write_text(table)
    paths[1].write_text(table.replace("_malignant", "_cancer"))
    with pytest.raises(InputError, match=r"other.csv has no column logit_malignant"):
        mean_predictions(paths, CLASSES)
    paths[1].write_text(table.replace("predicted", "chosen"))
    with pytest.raises(InputError, match=r"other.csv has other classes than .*one.csv"):
        mean_predictions(paths, CLASSES)
    paths[1].write_text("".join(table.splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"other.csv has other images than .*one.csv"):
        mean_predictions(paths, CLASSES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"members": 0}, r"`members` is 0, but has to be at least 1"),
        ({"members": 2, "carry_over": "model"}, r"`members` is 2, which is not supported with `carry_over`"),
        ({"tta": "dihedral", "features": ["x.npz"]}, r"`tta` is dihedral, which turns pixels, but `features`"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        build_recipe({"use_cpu": True, **fields}, {})


def test_an_unknown_test_time_augmentation_is_one_line(recipe, tmp_path):
    with pytest.raises(InputError, match=r"`tta` is dihedrall, .* Did you mean `dihedral`\?"):
        cross_validate(recipe(tmp_path / "run", tta="dihedrall"))
    assert not (tmp_path / "run").exists()


def test_test_time_augmentation_averages_eight_predictions(single, recipe, tmp_path):
    """The weights are those of the run without it; an independent loop turns the images with numpy."""
    run = tmp_path / "run"
    args = recipe(run, num_train_epochs=1, tta="dihedral")
    cross_validate(args)
    fold, plain = run / "fold-0", single / "fold-0"
    assert (fold / "model/model.safetensors").read_bytes() == (plain / "model/model.safetensors").read_bytes()
    table = read(fold / "predictions.csv").head(5)
    dataset = load_images(args.data).dataset
    where = {name: row for row, name in enumerate(dataset["file_name"])}
    how = read_processor(read_json(fold / "model/preprocessor_config.json"))
    model = AutoModelForImageClassification.from_pretrained(fold / "model").eval()
    for row in table.itertuples():
        path = dataset[where[row.file_name]]["image"]["path"]
        pixels = normalize(resize(read_rgb(path), how), how=how).numpy()
        turned = [np.rot90(side, k, axes=(1, 2)).copy() for side in (pixels, pixels[..., ::-1]) for k in range(4)]
        logits = model(pixel_values=torch.from_numpy(np.stack(turned))).logits.detach().double()
        assert row.prob_malignant == pytest.approx(float(logits.softmax(-1)[:, 1].mean()), abs=1e-6)
    assert not np.allclose(table["prob_malignant"], read(plain / "predictions.csv").head(5)["prob_malignant"])


def test_an_ensemble_is_trained_and_reported_from_the_command_line(fields, tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**fields, "num_train_epochs": 1}))
    argv = ["train", str(tmp_path / "tiny.yaml"), "--members", "2", "--repeats", "2"]
    assert main([*argv, "--output_dir", str(tmp_path / "run")]) == 0
    for folder in (tmp_path / "run", tmp_path / "run/repeat-1"):
        page = (folder / "report.html").read_text()
        assert 'id="members"' in page
        assert "2 networks that differ in the training seed" in page
    summaries = [
        json.loads((tmp_path / f"run/{name}summary.json").read_text()) for name in ("", "repeat-0/", "repeat-1/")
    ]
    means = [summary["members"]["scores"]["accuracy"]["mean"] for summary in summaries]
    assert means[0] == pytest.approx((means[1] + means[2]) / 2)
    assert main([*argv[:2], "--members", "0"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("`members` is 0, but has to be at least 1.")
