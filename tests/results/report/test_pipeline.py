"""The pipeline says what the recipe says, and no more."""

import re

import pytest
from markupsafe import escape

from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.report.pipeline import loop_label, stages
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run

SUMMARY = {
    "data": {"source": "twin", "num_images": 7909, "num_patients": 82, "num_specimens": 70},
    "protocol": {
        "split_by": "specimen", "num_folds": 3, "test_size": 0.2, "folds_present": [0, 1, 2], "stratify": True,
        "reserve_size": 0.0, "validation_size": 0.0, "covers_all_images_once": True, "selected_on": None,
    },
    "classes": ["benign", "malignant"],
    "interval": {
        "method": "t interval, standard error by bootstrap over specimens", "level": 0.95, "reason": None,
    },
}  # fmt: skip
RECIPE = {
    "num_folds": 3, "split_seed": 42, "image_size": 224, "augmentation": "none", "carry_over": "none",
    "model_name_or_path": "microsoft/resnet-50", "model_revision": "34c2154c194f", "init": "pretrained",
    "optimizer_name": "adamw", "optimizer_kwargs": {"betas": [0.92, 0.999]}, "learning_rate": 0.0075,
    "weight_decay": 0.01, "scheduler_name": "plateau", "scheduler_kwargs": {"patience": 3, "factor": 0.1},
    "num_train_epochs": 3.0, "batch_size": 64, "class_weights": "none", "sampler": "none",
}  # fmt: skip


def shown(recipe=None, **protocol):
    summary = SUMMARY | {"protocol": SUMMARY["protocol"] | protocol}
    return {stage.name: " | ".join(stage.lines) for stage in stages(RECIPE | (recipe or {}), summary)}


def test_classifier_3_is_told_from_data_to_scores():
    assert shown() == {
        "Data": "Synthetic twin of BreakHis (generated images) | 7,909 images, 82 patients, 70 specimens",
        "Split": "3 folds, by specimen: none on both sides | stratified by class, seed 42",
        "Transform": "whole frame to 224 \N{MULTIPLICATION SIGN} 224 pixels, bilinear | "
        "ImageNet mean and standard deviation",
        "Model": "microsoft/resnet-50 | pretrained weights, revision 34c2154 | new head of 2 classes",
        "Optimizer": "AdamW | learning rate 0.0075, weight decay 0.01 | betas 0.92 0.999",
        "Schedule": "plateau | patience 3, factor 0.1",
        "Training": "3 epochs, batches of 64 | cross-entropy",
        "Test": "the model of each fold predicts its own test set",
        "Scores": "per fold, their mean and standard deviation | pooled: each image tested once | "
        "95 % interval: t interval, standard error by bootstrap over specimens",
    }


@pytest.mark.parametrize(
    ("recipe", "protocol", "stage", "words"),
    [
        ({"augmentation": "flips"}, {}, "Augmentation", "flips"),
        ({"init": "random"}, {}, "Model", "random weights"),
        ({"freeze_backbone": True}, {}, "Model", "backbone frozen"),
        (
            {"lora": {"r": 4}},
            {"trained_parameters": 12, "parameters": 1000},
            "Model",
            "new head of 2 classes, LoRA of rank 4: 1.2 % of the parameters trained",
        ),
        ({"lora": {}}, {}, "Model", "LoRA of rank 8"),
        ({"class_weights": "balanced"}, {}, "Training", "balanced class weights"),
        ({"sampler": "balanced"}, {}, "Training", "balanced sampler"),
        ({"magnifications": ["40X"]}, {}, "Data", "magnification 40X"),
        ({}, {"num_folds": 1}, "Split", "hold-out of 20 %"),
        ({}, {"reserve_size": 0.15}, "Split", "15 % reserved first"),
        ({}, {"validation_size": 0.1}, "Split", "10 % of the training groups"),
        ({}, {"split_by": "image"}, "Split", "patients on both sides"),
        ({}, {"selected_on": "test"}, "Training", "selected on the test set"),
    ],
)
def test_each_setting_shows(recipe, protocol, stage, words):
    assert words in shown(recipe, **protocol)[stage]


def test_what_the_recipe_does_not_say_is_not_drawn():
    names = [stage.name for stage in stages({}, SUMMARY)]
    assert names == ["Data", "Split", "Training", "Test", "Scores"]


def test_carrying_over_stands_on_the_frame_of_the_folds():
    assert loop_label(RECIPE, SUMMARY) == "for each of 3 folds: a fresh model"
    assert "weights, optimizer and schedule carried over" in loop_label(RECIPE | {"carry_over": "all"}, SUMMARY)
    assert loop_label(RECIPE | {"num_folds": 1}, SUMMARY) == "once"


def test_the_page_shows_every_stage_once_and_in_order(write_run, tmp_path):
    write_run(tmp_path, num_folds=2)
    summarise(tmp_path)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    drawn = page[page.index('id="figure-pipeline"') : page.index("The pipeline of this run")]
    names = re.findall(r'<div class="stage"><b>(.+?)</b>', drawn)
    record = Run(tmp_path)
    expected = stages(record.recipe, record.summary)
    assert sorted(names) == sorted(stage.name for stage in expected)
    assert names[:2] == ["Data", "Split"]
    assert names[-2:] == ["Test", "Scores"]
    for stage in expected:
        for line in stage.lines:
            assert str(escape(line)) in drawn
