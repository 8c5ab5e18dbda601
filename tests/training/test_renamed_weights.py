"""Checkpoints of a network that transformers saves under other names than it has: ViT."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import log_loss
from transformers import Trainer, ViTConfig, ViTForImageClassification

from hf_breakhis.files import InputError
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.modeling import build_model
from hf_breakhis.training.stopping import StoppedError
from hf_breakhis.training.trainer import BreakHisTrainer


@pytest.fixture(scope="module", params=[None, {"r": 2}], ids=["whole", "lora"])
def fields(tmp_path_factory, request):
    """A run whose best epoch is not its last one, with and without adapters."""
    if request.param is not None:
        pytest.importorskip("peft")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("backbones") / "vit"
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, image_size=32, patch_size=8
    )
    ViTForImageClassification(config).save_pretrained(folder)
    return {
        "twin_kwargs": {"scale": 0.01, "width": 70, "height": 46, "class_signal": 1, "patient_effect": 1, "noise": 1},
        "init": "pretrained", "model_kwargs": None, "model_name_or_path": str(folder), "num_folds": 1,
        "num_train_epochs": 3, "optimizer_name": "adamw", "optimizer_kwargs": None, "learning_rate": 0.3,
        "scheduler_name": "constant",
        "load_best_model_at_end": True, "lora": request.param, "metric_for_best_model": "loss",
    }  # fmt: skip


@pytest.fixture
def stopped(tmp_path, recipe, fields, signal_in_update):
    """Stop a run in its seventh update, and return its folder."""

    def stop():
        with signal_in_update(7), pytest.raises(StoppedError):
            cross_validate(recipe(tmp_path / "stopped", **fields))
        return tmp_path / "stopped"

    return stop


def test_the_best_epoch_predicts_the_test_set(run):
    losses = pd.read_csv(run / "fold-0" / "history.csv")["eval_loss"]
    table = pd.read_csv(run / "fold-0" / "predictions.csv")
    assert losses.idxmin() < len(losses) - 1, "else the last epoch would do"
    assert log_loss(table["label"], table["prob_malignant"]) == pytest.approx(losses.min(), abs=1e-6)


def test_a_stopped_run_resumes_to_the_same_result(stopped, run, recipe, fields, same_run):
    folder = stopped()
    weights = load_file(folder / "fold-0" / "checkpoints" / "checkpoint-7" / "model.safetensors")
    network = build_model(recipe(folder, **fields).model, ["benign", "malignant"])
    assert weights.keys() == network.state_dict().keys()
    assert cross_validate(recipe(folder, **fields))
    same_run(folder, run)


def test_the_saved_model_has_the_names_that_every_version_reads(run, fields):
    folders = run / "fold-0" / "model", fields["model_name_or_path"]
    saved, given = (load_file(f"{folder}/model.safetensors") for folder in folders)
    assert saved.keys() == given.keys()


def test_a_checkpoint_under_other_names_is_refused(stopped, recipe, fields, monkeypatch):
    """As the Trainer writes it, and loads it with a warning."""
    with monkeypatch.context() as patch:
        patch.setattr(BreakHisTrainer, "_save", Trainer._save)
        folder = stopped()
    with pytest.raises(InputError, match=r"has other parameters than the network \(.* --restart\.$"):
        cross_validate(recipe(folder, **fields))
