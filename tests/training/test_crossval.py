"""A run trains every fold from new weights, writes every file, and trains no fold twice."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_breakhis.cli import main
from hf_breakhis.data.counts import original_bytes
from hf_breakhis.data.open_image import open_image
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.data.splits import Fold
from hf_breakhis.files import InputError
from hf_breakhis.recipe import Recipe, build_recipe
from hf_breakhis.run import Run
from hf_breakhis.training import crossval, fold
from hf_breakhis.training.crossval import cross_validate

pytestmark = pytest.mark.usefixtures("small_figures")

SMALL = {"layer_type": "basic", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
FIELDS = {
    "dataset": "twin",
    "twin_kwargs": {"scale": 0.01, "width": 70, "height": 46},
    "split_by": "specimen",
    "num_folds": 3,
    "image_size": 32,
    "init": "random",
    "model_kwargs": SMALL,
    "optimizer_name": "sgd",
    "optimizer_kwargs": {"momentum": 0.9},
    "learning_rate": 0.05,
    "scheduler_name": "step",
    "num_train_epochs": 2,
    "batch_size": 32,
    "augmentation": "dihedral",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}
FILES = ["checksums.json", "colors.csv", "cost.json", "data.json", "finished.json", "folds.csv", "recipe.yaml"]


def run(folder, **fields):
    """Cross-validate into `folder`; return whether anything was trained."""
    return cross_validate(build_recipe({**FIELDS, **fields, "output_dir": str(folder)}, {}))


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A finished run of three folds."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    assert run(folder)
    return folder


def test_a_run_leaves_every_file(plain):
    assert sorted(path.name for path in plain.iterdir() if path.is_file()) == FILES
    for i in range(3):
        fold = plain / f"fold-{i}"
        assert sorted(p.name for p in fold.iterdir()) == [
            "checksums.json",
            "examples",
            "history.csv",
            "metrics.json",
            "model",
            "predictions.csv",
        ]
        assert sorted(p.name for p in (fold / "model").iterdir()) == [
            "config.json", "model.safetensors", "preprocessor_config.json",
        ]  # fmt: skip
    assert json.loads((plain / "finished.json").read_text()) == {"folds": [0, 1, 2]}


def test_test_parts_cover_every_image_once(plain):
    pooled = pd.concat([pd.read_csv(plain / f"fold-{i}" / "predictions.csv") for i in range(3)])
    assert set(pooled["part"]) == {"test"}
    assert not pooled["file_name"].duplicated().any()
    assert len(pooled) == json.loads((plain / "data.json").read_text())["num_images"]
    assert not pooled["seen_in_training"].any()
    logits = pooled[["logit_benign", "logit_malignant"]].to_numpy()
    assert pooled["predicted"].tolist() == logits.argmax(1).tolist()
    odds = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert pooled["prob_malignant"].to_numpy() == pytest.approx(odds, abs=1e-12)


def test_the_saved_model_and_processor_give_the_same_logits(plain):
    """What is published sees what evaluation saw."""
    images = load_images(build_recipe(FIELDS, {}).data).dataset
    rows = {name: i for i, name in enumerate(images["file_name"])}
    table = pd.read_csv(plain / "fold-1" / "predictions.csv").head(5)
    model = AutoModelForImageClassification.from_pretrained(plain / "fold-1" / "model").eval()
    processor = AutoImageProcessor.from_pretrained(plain / "fold-1" / "model", backend="torchvision")
    decoded = [open_image(original_bytes(images[rows[name]]["image"])) for name in table["file_name"]]
    with torch.no_grad():
        logits = model(**processor(decoded, return_tensors="pt")).logits.numpy()
    assert logits == pytest.approx(table[["logit_benign", "logit_malignant"]].to_numpy(), abs=1e-5)
    assert model.config.id2label == {0: "benign", 1: "malignant"}


def test_history_has_one_row_an_epoch(plain):
    history = pd.read_csv(plain / "fold-0" / "history.csv")
    assert history["epoch"].tolist() == [1, 2]
    assert history["learning_rate"].tolist() == [0.05, 0.05]
    assert set(history["eval_part"]) == {"test"}
    assert history[["train_loss", "eval_loss", "eval_accuracy", "eval_roc_auc"]].notna().all(axis=None)
    last = json.loads((plain / "fold-0" / "metrics.json").read_text())
    assert history["eval_accuracy"].iloc[-1] == pytest.approx(last["test"]["accuracy"])
    assert last["selected_on"] is None


def test_the_same_recipe_gives_the_same_numbers(plain, tmp_path):
    assert run(tmp_path / "again")
    for name in ("folds.csv", "colors.csv", "fold-2/predictions.csv", "fold-2/history.csv", "fold-2/metrics.json"):
        assert (tmp_path / "again" / name).read_bytes() == (plain / name).read_bytes(), name
    assert equal(weights(tmp_path / "again" / "fold-2"), weights(plain / "fold-2"))


def test_without_the_cache_the_numbers_are_the_same(plain, tmp_path):
    assert run(tmp_path / "without", cache=False, fold="0")
    for name in ("fold-0/predictions.csv", "fold-0/history.csv", "fold-0/metrics.json"):
        assert (tmp_path / "without" / name).read_bytes() == (plain / name).read_bytes(), name
    assert equal(weights(tmp_path / "without" / "fold-0"), weights(plain / "fold-0"))


def test_another_seed_gives_other_weights(plain, tmp_path):
    run(tmp_path / "other", seed=43, fold="0")
    assert not equal(weights(tmp_path / "other" / "fold-0"), weights(plain / "fold-0"))


def test_folds_one_by_one_equal_the_run_in_one_piece(plain, tmp_path):
    for i in (2, 0, 1):
        assert run(tmp_path / "array", fold=str(i))
        assert (tmp_path / "array" / "finished.json").exists() == (i == 1)
    for i in range(3):
        name = f"fold-{i}/predictions.csv"
        assert (tmp_path / "array" / name).read_bytes() == (plain / name).read_bytes()


def test_a_finished_run_does_nothing_until_restarted(plain, monkeypatch):
    before = (plain / "fold-0" / "metrics.json").stat().st_mtime_ns
    assert not run(plain)
    assert (plain / "fold-0" / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("fields", [{}, {"fold": "1"}])
def test_checkpoints_that_a_killed_process_left_are_deleted(plain, tmp_path, fields):
    """It was killed after the fold was complete, before its checkpoints were deleted."""
    killed = tmp_path / "killed"
    shutil.copytree(plain, killed)
    (killed / "finished.json").unlink()
    shutil.rmtree(killed / "fold-2")
    leftovers = [killed / name / "checkpoints" / "checkpoint-5" / "model.safetensors" for name in ("fold-0", "fold-1")]
    for path in leftovers:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights")
    run(killed, **fields)
    assert not list(killed.rglob("checkpoints"))
    assert (killed / "fold-2").exists() == (not fields)


def test_the_recipe_of_a_finished_run_trains_nothing_and_says_so(plain, monkeypatch, capsys):
    monkeypatch.setattr(
        "hf_breakhis.results.report.page.is_reported", lambda run: True
    )  # a report takes longer than all the rest
    before = (plain / "fold-0" / "metrics.json").stat().st_mtime_ns
    assert main(["train", str(plain / "recipe.yaml")]) == 0
    assert capsys.readouterr().out.startswith(f"{plain} is already finished.")
    assert (plain / "fold-0" / "metrics.json").stat().st_mtime_ns == before
    assert main(["train", str(plain / "recipe.yaml"), "--learning_rate", "0.01"]) == 2


def test_restart_begins_again_and_is_not_repeated_by_the_recipe_of_the_run(tmp_path):
    run(tmp_path / "r", fold="0", num_train_epochs=1)
    assert run(tmp_path / "r", fold="0", num_train_epochs=2, restart=True)
    assert len(pd.read_csv(tmp_path / "r" / "fold-0" / "history.csv")) == 2
    assert not cross_validate(Recipe.load(tmp_path / "r" / "recipe.yaml"))


class KilledError(Exception):
    """Simulates a kill."""


@pytest.mark.parametrize("after", [1, 2])
def test_a_stopped_run_continues_to_the_same_end(after, plain, tmp_path, monkeypatch):
    """Stopped after the first epoch's checkpoint, or after training and before the fold is written."""
    folder = tmp_path / "stopped"
    saved = []
    trainer = fold.BreakHisTrainer
    original = trainer._save_checkpoint

    def stop(self, *args):
        original(self, *args)
        saved.append(self.state.global_step)
        if len(saved) == after:
            raise KilledError

    monkeypatch.setattr(trainer, "_save_checkpoint", stop)
    with pytest.raises(KilledError):
        run(folder)
    monkeypatch.setattr(trainer, "_save_checkpoint", original)
    assert not (folder / "fold-0" / "metrics.json").exists()
    assert run(folder)
    for i in range(3):
        for name in ("predictions.csv", "history.csv", "metrics.json"):
            assert (folder / f"fold-{i}" / name).read_bytes() == (plain / f"fold-{i}" / name).read_bytes()
        assert equal(weights(folder / f"fold-{i}"), weights(plain / f"fold-{i}"))
        assert not (folder / f"fold-{i}" / "checkpoints").exists()


def test_another_recipe_in_the_folder_is_refused(plain):
    with pytest.raises(InputError, match=r"other precision \(bf16 False -> True\)\. Add --bf16 false"):
        run(plain, bf16=True)
    with pytest.raises(InputError, match=r"run of another recipe \(learning_rate 0\.05 -> 0\.01\).*--restart"):
        run(plain, learning_rate=0.01)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"contains notes\.txt and no recipe\.yaml"):
        run(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_changed_folds_are_refused(plain, tmp_path):
    import shutil

    shutil.copytree(plain, tmp_path / "copy")
    path = tmp_path / "copy" / "folds.csv"
    path.write_text(path.read_text().replace("train", "test", 1))
    (tmp_path / "copy" / "finished.json").unlink()
    with pytest.raises(InputError, match=r"have changed: folds\.csv\."):
        run(tmp_path / "copy")


def test_a_run_is_resumed_with_the_folds_that_it_began_with(plain, tmp_path, monkeypatch):
    """Another version of the package may split otherwise; the folds that are trained already count."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(plain, copy)
    (copy / "finished.json").unlink()
    shutil.rmtree(copy / "fold-1")
    before = (copy / "folds.csv").read_bytes()
    split = crossval.split_images
    monkeypatch.setattr(crossval, "split_images", lambda dataset, data: split(dataset, data, data.split_seed + 1))
    assert run(copy)
    assert (copy / "folds.csv").read_bytes() == before
    assert (copy / "fold-1" / "predictions.csv").read_bytes() == (plain / "fold-1" / "predictions.csv").read_bytes()


@pytest.mark.parametrize("stopped", [True, False], ids=["a stopped run", "another fold"])
def test_data_whose_manifest_changed_are_refused(stopped, plain, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(plain, copy)
    (copy / "finished.json").unlink()
    shutil.rmtree(copy / "fold-1")
    data = json.loads((copy / "data.json").read_text())
    now, data["manifest_sha256"] = data["manifest_sha256"], "0" * 64
    with Run(copy).rewriting("data.json"):  # as a run on those images would have written it
        (copy / "data.json").write_text(json.dumps(data))
    message = f"contains a run on other images: the manifest was {'0' * 12} and is now {now[:12]}.*--restart"
    with pytest.raises(InputError, match=message):
        run(copy, **({} if stopped else {"fold": "1"}))
    assert not (copy / "fold-1").exists()


def test_an_output_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write"):
        run(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"augmentation": "flipz"}, "Unknown augmentation `flipz`. Did you mean `flips`"),
        ({"optimizer_name": "sgdd"}, "Unknown optimizer `sgdd`. Did you mean `sgd`"),
        ({"carry_over": "all", "scheduler_name": "cosine"}, "has a fixed length"),
        ({"model_kwargs": {"depth": [1]}}, "Did you mean `depths`"),
    ],
)
def test_names_are_checked_before_anything_is_read(fields, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "r", data_dir="/nowhere", **fields)
    assert not Path(tmp_path / "r").exists()


def test_short_batches_left_out_of_training_are_not_left_out_of_scores(tmp_path):
    """The Trainer leaves the last images of a test set out too: `dataloader_drop_last` is one field for both."""
    assert run(tmp_path / "run", num_folds=2, fold="0", num_train_epochs=1, dataloader_drop_last=True, batch_size=16)
    folds = pd.read_csv(tmp_path / "run" / "folds.csv")
    tested = set(folds.loc[(folds["fold"] == 0) & (folds["part"] == "test"), "file_name"])
    assert len(tested) % 16
    assert set(pd.read_csv(tmp_path / "run" / "fold-0" / "predictions.csv")["file_name"]) == tested


def test_a_train_part_without_a_whole_batch_is_refused_or_used_as_it_is(tmp_path, capsys):
    few = {"num_folds": 2, "fold": "0", "num_train_epochs": 1, "batch_size": 512}
    with pytest.raises(InputError, match=r"less than a batch of 512.*Lower `batch_size`"):
        run(tmp_path / "left_out", **few, dataloader_drop_last=True)
    assert run(tmp_path / "used", **few)
    assert "images, less than a batch of 512." in capsys.readouterr().err


def test_the_shortest_last_batch_is_reported(capsys):
    folds = [Fold(i, np.arange(n), *[np.array([], dtype=int)] * 3) for i, n in enumerate([90, 65, 96])]
    crossval.check_small_parts(folds, 32, drop_last=False)
    printed = capsys.readouterr().err
    assert "has 1 image instead of 32 (fold 1)" in printed
    assert "batch normalization" in printed
    crossval.check_small_parts(folds, 32, drop_last=True)
    assert capsys.readouterr().err == ""
