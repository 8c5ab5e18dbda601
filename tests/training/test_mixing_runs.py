"""Runs with mixed batches: trained with soft labels, scored with hard ones, and resumed to the same weights."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torchvision.transforms import v2

from hf_breakhis.training import stopping
from hf_breakhis.training.crossval import cross_validate

WHOLE = {"lam": 1.0, "lam_adjusted": 1.0, "box": (0, 0, 0, 0)}


def weights_of(run):
    return load_file(run / "fold-0" / "model" / "model.safetensors")


def distance(one, other):
    return max(float((one[key].double() - other[key].double()).abs().max()) for key in one)


@pytest.fixture(scope="module")
def plain(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "run"
    cross_validate(recipe(folder))
    return folder


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_whole_shares_are_plain_training(name, plain, recipe, tmp_path, monkeypatch):
    for kind in (v2.MixUp, v2.CutMix):
        monkeypatch.setattr(kind, "make_params", lambda self, inputs: WHOLE)
    cross_validate(recipe(tmp_path / "run", **{name: 0.4}))
    assert distance(weights_of(plain), weights_of(tmp_path / "run")) < 1e-4


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_scores_and_watched_loss_use_hard_labels(name, plain, recipe, tmp_path):
    run = tmp_path / "run"
    cross_validate(recipe(run, **{name: 1.0}))
    assert distance(weights_of(plain), weights_of(run)) > 1e-3, "mixing changes the weights"
    table = pd.read_csv(run / "fold-0" / "predictions.csv")
    assert set(table["label"]) == {0, 1}
    truth = torch.tensor(table["label"].tolist())
    logits = torch.tensor(table[["logit_benign", "logit_malignant"]].to_numpy())
    watched = pd.read_csv(run / "fold-0" / "history.csv")["eval_loss"].dropna().iloc[-1]
    assert watched == pytest.approx(torch.nn.functional.cross_entropy(logits, truth).item(), rel=1e-5)


def test_a_stopped_run_with_mixing_ends_with_the_same_weights(recipe, tmp_path, monkeypatch):
    fields = {"mixup": 0.4, "cutmix": 0.4, "num_folds": 1, "gradient_accumulation_steps": 2}
    cross_validate(recipe(tmp_path / "whole", **fields))
    own = recipe(tmp_path / "stopped", **fields)
    original, calls = stopping.StopAtStep.on_step_end, []

    def stop_in_third(self, args, state, control, **kwargs):
        calls.append(state.global_step)
        if len(calls) == 3:
            self.request.signal_number = 15
        return original(self, args, state, control, **kwargs)

    monkeypatch.setattr(stopping.StopAtStep, "on_step_end", stop_in_third)
    with pytest.raises(stopping.StoppedError):
        cross_validate(own)
    monkeypatch.undo()
    cross_validate(own)
    assert distance(weights_of(tmp_path / "whole"), weights_of(tmp_path / "stopped")) == 0
