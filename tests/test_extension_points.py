"""One of each extension, added as CONTRIBUTING.md says, arrives in the run, the report and the card."""

import dataclasses
import sys
import types

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from hf_breakhis.cli import main
from hf_breakhis.data.pixels.augmentations import AUGMENTATIONS
from hf_breakhis.data.sources.about import SOURCES
from hf_breakhis.data.sources.table import load_twin
from hf_breakhis.recipe import build_recipe
from hf_breakhis.results.figures.captions import CAPTIONS
from hf_breakhis.results.figures.plots import FIGURES
from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.scores.thresholds import RULES
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.losses import LOSSES, CrossEntropy
from hf_breakhis.training.optim import OPTIMIZERS, SCHEDULERS

CALLED = set()


class OwnOptimizer(torch.optim.SGD):
    """SGD under another name."""

    def step(self, closure=None):
        CALLED.add("optimizer")
        return super().step(closure)


class OwnLoss(CrossEntropy):
    """Cross-entropy under another name."""

    def total(self, logits, labels, weights):
        CALLED.add("loss")
        return super().total(logits, labels, weights)


def own_schedule(optimizer, clock):
    CALLED.add("scheduler")
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def own_augmentation(pixels, draws):
    CALLED.add("augmentation")
    return pixels


def own_figure(run):
    figure, ax = plt.subplots()
    ax.set_title(f"own figure of {run.folder.name}")
    return figure


@pytest.fixture(scope="module")
def extended(tmp_path_factory, run_fields):
    """A run that uses one of each, with its report and its card."""
    folder = tmp_path_factory.mktemp("extended")
    own_source = dataclasses.replace(SOURCES["twin"], key="own_source", title="Own data set", loader="own_loader:load")
    own_loader = types.ModuleType("own_loader")
    own_loader.load = lambda data: dataclasses.replace(load_twin(data), source="own_source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "own_loader", own_loader)
        for table, name, entry in (
            (OPTIMIZERS, "own_optimizer", OwnOptimizer),
            (SCHEDULERS, "own_scheduler", own_schedule),
            (LOSSES, "own_loss", OwnLoss),
            (AUGMENTATIONS, "own_augmentation", own_augmentation),
            (SOURCES, "own_source", own_source),
            (FIGURES, "own_figure", own_figure),
            (CAPTIONS, "own_figure", "The caption of the own figure."),
        ):
            patch.setitem(table, name, entry)
        fields = {
            **run_fields, "dataset": "own_source", "optimizer_name": "own_optimizer", "loss": "own_loss",
            "scheduler_name": "own_scheduler", "augmentation": "own_augmentation", "num_train_epochs": 1,
            "output_dir": str(folder / "run"),
        }  # fmt: skip
        cross_validate(build_recipe(fields, {}))
        summarise(folder / "run")
        page = write_report(folder / "run").read_text()
        publish = [
            "publish",
            str(folder / "run"),
            "--repo_id",
            "user/own",
            "--dry_run",
            "--output_dir",
            str(folder / "up"),
        ]
        assert main(publish) == 0
        yield Run(folder / "run"), page, (folder / "up/README.md").read_text()


@pytest.mark.parametrize("name", ["optimizer", "scheduler", "loss", "augmentation"])
def test_a_part_of_training_is_called_and_named(extended, name):
    run, page, card = extended
    assert name in CALLED
    assert f"own_{name}" in page
    assert f"own_{name}" in card
    assert f"own_{name}" in run.recipe.values()


def test_a_source_is_named(extended):
    _, page, card = extended
    assert "Own data set" in page
    assert "Own data set" in card


def test_a_figure_and_its_caption_are_in_the_report(extended):
    run, page, _ = extended
    assert (run.folder / "figures/own_figure.svg").is_file() or (run.folder / "figures/own_figure.png").is_file()
    assert "The caption of the own figure." in page


def test_a_threshold_rule_is_applied(extended, monkeypatch):
    run, _, _ = extended
    before = run.decision
    name = next(iter(RULES))
    monkeypatch.setitem(RULES, name, lambda *_, **__: 0.123)
    summarise(run.folder)
    assert np.isclose(Run(run.folder).decision["threshold"], 0.123)
    assert not np.isclose(before["threshold"], 0.123)
