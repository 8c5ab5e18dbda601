"""The stages of a run, described from its recipe as in figures 3 and 4 of the paper."""

from dataclasses import dataclass
from typing import Any

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.results.formatting import count, lora_words, percent, things

OPTIMIZERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD", "nadam": "NAdam", "radam": "RAdam", "rmsprop": "RMSprop"}
SPLITS = {
    "image": "by image: patients on both sides",
    "patient": "by patient: no slide folder on both sides",
    "specimen": "by specimen: none on both sides",
    "official": "published with BreakHis",
    "folders": "as the folders of the images say",
}


@dataclass(frozen=True)
class Stage:
    """One box of the pipeline.

    Attributes:
        name: a word or two.
        lines: what happens there, a fact each.
        lane: "before" or "after" the folds; within a fold "both" parts, the "train" part or the "test" part.
    """

    name: str
    lines: tuple[str, ...]
    lane: str


def stages(recipe: dict[str, Any], summary: dict[str, Any]) -> list[Stage]:
    """The stages of a run in order; what the recipe does not say is left out."""
    shown = [
        Stage("Data", _data(recipe, summary["data"]), "before"),
        Stage("Split", _split(recipe, summary["protocol"]), "before"),
        Stage("Transform", _transform(recipe), "both"),
        Stage("Augmentation", _augmentation(recipe), "train"),
        Stage("Model", _model(recipe, summary["classes"], summary["protocol"]), "train"),
        Stage("Optimizer", _optimizer(recipe), "train"),
        Stage("Schedule", _schedule(recipe), "train"),
        Stage("Training", _training(recipe, summary["protocol"]), "train"),
        Stage("Test", _test(recipe), "test"),
        Stage("Scores", _scores(summary), "after"),
    ]
    return [stage for stage in shown if stage.lines]


def loop_label(recipe: dict[str, Any], summary: dict[str, Any]) -> str:
    """The label of the frame around the stages that every fold repeats."""
    folds = recipe.get("num_folds") or len(summary["protocol"]["folds_present"])
    if folds == 1:
        return "once"
    carried = {"model": "weights carried over", "all": "weights, optimizer and schedule carried over"}
    return f"for each of {folds} folds: {carried.get(recipe.get('carry_over', ''), 'a fresh model')}"


def _data(recipe: dict[str, Any], data: dict[str, Any]) -> tuple[str, ...]:
    groups = [things(data.get(f"num_{noun}s"), noun) for noun in ("patient", "specimen") if data.get(f"num_{noun}s")]
    chosen = recipe.get("magnifications") or []
    counts = ", ".join([things(data["num_images"], "image"), *groups])
    lines = [source_of(data).title, counts]
    return tuple(lines + ([f"magnification {' '.join(chosen)}"] if 0 < len(chosen) < 4 else []))


def _split(recipe: dict[str, Any], protocol: dict[str, Any]) -> tuple[str, ...]:
    folds = protocol.get("num_folds") or len(protocol["folds_present"])
    level = str(protocol.get("split_by"))
    how = f"{folds} folds" if folds > 1 else f"hold-out of {percent(protocol.get('test_size'))}"
    how = "hold-out" if level == "folders" else how
    lines = [f"{how}, {SPLITS.get(level, level)}"]
    if protocol.get("reserve_size"):
        lines.append(f"{percent(protocol['reserve_size'])} reserved first, scored apart")
    if protocol.get("validation_size"):
        lines.append(f"{percent(protocol['validation_size'])} of the training groups for validation")
    if recipe.get("train_share", 1) < 1:
        lines.append(f"{percent(recipe['train_share'])} of the other training groups are used")
    for part in ("train", "test"):
        if recipe.get(f"{part}_magnifications"):
            lines.append(f"{part} images at {', '.join(recipe[f'{part}_magnifications'])} only")
    if level not in ("official", "folders") and "split_seed" in recipe:
        lines.append(f"{'stratified by class' if protocol.get('stratify') else 'not stratified'}, "
                     f"seed {recipe['split_seed']}")  # fmt: skip
    return tuple(lines)


def _transform(recipe: dict[str, Any]) -> tuple[str, ...]:
    size = recipe.get("image_size")
    if size is None:
        return ()
    part = "central square" if recipe.get("crop") == "center" else "whole frame"
    interpolation = recipe.get("interpolation", "bilinear")
    how = "interpolation of the backbone" if interpolation == "backbone" else interpolation
    own = recipe.get("normalization") == "backbone" and recipe.get("init") == "pretrained"
    stain = recipe.get("stain_normalization", "none")
    return (
        f"{part} to {size} \N{MULTIPLICATION SIGN} {size} pixels, {how}",
        *([] if stain == "none" else [f"stain normalised ({stain})"]),
        f"{'own' if own else 'ImageNet'} mean and standard deviation{' of the backbone' if own else ''}",
    )


def _augmentation(recipe: dict[str, Any]) -> tuple[str, ...]:
    name = recipe.get("augmentation", "none")
    lines = [] if name in (None, "none") else [str(name).replace("_", " ")]
    lines += [f"{field}, alpha {recipe[field]:g}" for field in ("mixup", "cutmix") if recipe.get(field)]
    return tuple(lines)


def _model(recipe: dict[str, Any], classes: list[str], protocol: dict[str, Any]) -> tuple[str, ...]:
    name = recipe.get("model_name_or_path")
    if name is None:
        return ()
    pretrained = recipe.get("init", "pretrained") == "pretrained"
    weights = "pretrained weights" if pretrained else "random weights"
    revision = recipe.get("model_revision")
    lines = [str(name), weights + (f", revision {str(revision)[:7]}" if revision and pretrained else "")]
    if recipe.get("model_kwargs"):
        lines.append(_settings(recipe["model_kwargs"]))
    if recipe.get("activation"):
        lines.append(f"activation {recipe['activation']}")
    head = f"new head of {len(classes)} classes"
    trained = "backbone frozen" if recipe.get("freeze_backbone") else lora_words(recipe, protocol)
    return (*lines, head + (f", {trained}" if trained else ""))


def _optimizer(recipe: dict[str, Any]) -> tuple[str, ...]:
    name = recipe.get("optimizer_name") or recipe.get("optim")
    if name is None:
        return ()
    lines = [OPTIMIZERS.get(name, str(name))]
    rates = {"learning rate": recipe.get("learning_rate"), "weight decay": recipe.get("weight_decay")}
    lines.append(_settings({key: value for key, value in rates.items() if value is not None}))
    return tuple(line for line in (*lines, _settings(recipe.get("optimizer_kwargs") or {})) if line)


def _schedule(recipe: dict[str, Any]) -> tuple[str, ...]:
    name = recipe.get("scheduler_name") or recipe.get("lr_scheduler_type")
    if name is None:
        return ()
    lines = str(name).replace("_", " "), _settings(recipe.get("scheduler_kwargs") or {})
    return tuple(line for line in lines if line)


def _training(recipe: dict[str, Any], protocol: dict[str, Any]) -> tuple[str, ...]:
    epochs, batch = recipe.get("num_train_epochs"), recipe.get("batch_size")
    facts = [things(epochs, "epoch") if epochs is not None else "", f"batches of {count(batch)}" if batch else ""]
    lines = [", ".join(fact for fact in facts if fact)]
    extra = {"balanced": "balanced class weights"}.get(recipe.get("class_weights") or "")
    focal = recipe.get("loss") == "focal"
    gamma = recipe.get("focal_gamma")
    loss = f"focal loss, gamma {2 if gamma is None else gamma:g}" if focal else "cross-entropy"
    smoothed = recipe.get("label_smoothing_factor")
    parts = (loss, extra, f"label smoothing {smoothed:g}" if smoothed else "")
    lines.append(", ".join(part for part in parts if part))
    if recipe.get("sampler") not in (None, "none"):
        lines.append(f"{recipe['sampler']} sampler")
    if recipe.get("members", 1) > 1:
        lines.append(f"{recipe['members']} networks a fold with different training seeds")
    if protocol.get("selected_on"):
        lines.append(f"checkpoint selected on the {protocol['selected_on']} set")
    return tuple(line for line in lines if line)


def _test(recipe: dict[str, Any]) -> tuple[str, ...]:
    lines = ["the model of each fold predicts its own test set"]
    if recipe.get("members", 1) > 1:
        lines.append(f"mean probability of {recipe['members']} networks")
    if recipe.get("tta", "none") != "none":
        lines.append(f"test-time augmentation: {recipe['tta']}")
    return tuple(lines)


def _scores(summary: dict[str, Any]) -> tuple[str, ...]:
    lines = ["per fold, their mean and standard deviation"]
    if summary["protocol"].get("covers_all_images_once"):
        lines.append("pooled: each image tested once")
    interval = summary.get("interval") or {}
    if interval.get("method"):
        lines.append(f"{percent(interval['level'])} interval: {interval['method']}")
    return tuple(lines)


def _settings(values: dict[str, Any]) -> str:
    """Settings as one line of words: "patience 3, factor 0.1"."""
    return ", ".join(f"{str(key).replace('_', ' ')} {_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return _settings(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
