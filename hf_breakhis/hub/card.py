"""The card of a model: what it is, what its score is worth, on whom it fails, and how to call it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors import safe_open

from hf_breakhis.data.filenames import MAGNIFICATIONS, TUMOR_TYPES
from hf_breakhis.data.sources.about import Source, is_hub_id, source_of
from hf_breakhis.files import read_json
from hf_breakhis.hub.facts import decision_of, parts_of, public_name, read_facts
from hf_breakhis.hub.paper import paper_words
from hf_breakhis.hub.templates import markdown_template
from hf_breakhis.inference.model import CONFIG, Weights
from hf_breakhis.results.formatting import interval, lora_words, rate_name
from hf_breakhis.results.report.screen import one_screen
from hf_breakhis.results.scores.estimands import meanings
from hf_breakhis.results.shifts import read_shifts

SCORES = {  # name in summary.json: name of the metric on the Hub, and in words
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "sensitivity": ("recall", "Sensitivity"),
    "specificity": ("specificity", "Specificity"),
    "roc_auc": ("roc_auc", "ROC AUC"),
    "average_precision": ("average_precision", "Average precision"),
    "mcc": ("matthews_correlation", "Matthews correlation"),
    "brier": ("brier_score", "Brier score (lower is better)"),
}
NUM_WIDGETS = 4
MODEL_WEIGHTS = "model.safetensors"
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_TAGS = ("histopathology", "breast-cancer", "breakhis")


@dataclass(frozen=True)
class Example:
    """A picture of the published fold's test set, and what the model says of it.

    Attributes:
        file_name: PNG in `examples/`.
        label: true class.
        predicted: class that the model names for the whole image.
        kind: "right" or "wrong".
        answer: label and score of every class for the small picture as it stands in the repository.
    """

    file_name: str
    label: str
    predicted: str
    kind: str
    answer: list[dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """Where a card goes up.

    Attributes:
        repo_id: user/name on the Hub.
        revision: branch of the repository; None for the main one.
        branches: those that hold the models of the run's folds, where all of them go up.
        parts: a section in Markdown about what else was published of the run.
        images: user/name of the data set on the Hub to which the images of the run go up; None where they do not.
    """

    repo_id: str
    revision: str | None = None
    branches: tuple[str, ...] = ()
    parts: str = ""
    images: str | None = None


def model_card(
    weights: Weights,
    place: Place,
    examples: list[Example],
    maps: dict[str, Any] | None = None,
    evaluations: Sequence[dict[str, Any]] = (),
) -> ModelCard:
    """Return the card of the weights of a run; every number comes from the run's files.

    Args:
        weights: of a finished and scored run.
        place: where it goes up.
        examples: pictures that go up beside the card.
        maps: index of the heat maps that go up beside it, None where there are none.
        evaluations: of these weights on other images, of `evaluations_of`.

    Raises:
        InputError: the weights are of no run, or the run was not scored.
    """
    facts = read_facts(weights)
    run = weights.require_run()
    summary, recipe = run.summary, run.recipe
    source, shifts = source_of(summary["data"]), read_shifts(run)
    types = TUMOR_TYPES if source.has_breakhis_names else {}
    metadata = card_metadata(source, summary, recipe, place, examples)
    if not weights.is_scored:  # the Hub would show the scores of the ensemble as those of one network
        metadata.eval_results = None
    text = markdown_template("template.md").render(
        place=place, facts=facts, summary=summary, data=run.data, recipe=recipe, cost=run.cost,
        decision=decision_of(weights), environment=run.environment, examples=examples, fold=weights.fold,
        estimands=meanings(summary["interval"]),
        parts=_count(parts_of(weights), facts.labels),
        scores=[(rate_name(name, words, facts.labels), summary["image"]["pooled"][name])
                for name, (_, words) in SCORES.items() if name in summary["image"]["pooled"]],
        named=partial(rate_name, classes=facts.labels),
        words=paper_words(recipe),
        size=count_parameters(weights), networks=len(weights.networks), architecture=architecture_of(weights),
        base=public_name(str(recipe["model_name_or_path"])),
        types=types, counts=_counts(run.data, types), audit=_audit(summary["leakage"]),
        rates=[name for name in ("sensitivity", "specificity") if name in summary["image"]["pooled"]],
        maps=maps, source=source,
        evaluations=evaluations, interval=interval, screen=one_screen(summary, shifts), shifts=shifts,
        lora=lora_words(recipe, summary["protocol"]), optimizer=_optimizer(recipe), schedule=_schedule(recipe),
    )  # fmt: skip
    return ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{text}")


def card_metadata(
    source: Source, summary: dict[str, Any], recipe: dict[str, Any], place: Place, examples: list[Example]
) -> ModelCardData:
    """Return the block that the Hub reads: task, base, licence, scores for each magnification, and the widget."""
    base, dataset = recipe["model_name_or_path"], str(recipe["dataset"])
    # an export of BreakHis, or of a twin, may be on the Hub too
    data = source.hub_id or (dataset if is_hub_id(dataset) else place.images)
    return ModelCardData(
        model_name=place.repo_id.split("/")[-1],
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=base if recipe["init"] == "pretrained" and is_hub_id(base) else None,
        datasets=[data] if data else None,
        metrics=[hub for name, (hub, _) in SCORES.items() if name in summary["image"]["pooled"]],
        license="apache-2.0" if source.licence else "unknown",
        tags=[*(_TAGS if source.is_of_breakhis else ()), "research-only", "not-for-diagnosis"],
        eval_results=_eval_results(source, summary, data),
        widget=[
            {
                "src": f"examples/{example.file_name}",
                "example_title": f"{example.label}, predicted {example.predicted}",
                "output": example.answer,
            }
            for example in _for_widget(examples)
        ],
    )


def _for_widget(examples: list[Example]) -> list[Example]:
    """Return right and wrong ones in turn: a widget that shows right answers only is an advertisement."""
    kinds = [[example for example in examples if example.kind == kind] for kind in ("right", "wrong")]
    return [example for pair in zip_longest(*kinds) for example in pair if example is not None][:NUM_WIDGETS]


def _eval_results(source: Source, summary: dict[str, Any], hub_id: str | None) -> list[EvalResult]:
    """Return the pooled scores of the cross-validation, over all magnifications and for each.

    Only a data set on the Hub has configurations; of another one the magnification is named in the split.
    """
    protocol = summary["protocol"]
    split = f"{len(protocol['folds_present'])} folds, split by {protocol['split_by']}"
    parts = {"default": summary["image"]["pooled"], **(summary["by_magnification"] or {})}
    patient = (summary["patient"] or {}).get("pooled") or {}
    results = []
    for part, scores in parts.items():
        found = {
            key: (metric, rate_name(key, words, summary["classes"]), scores[key]["value"])
            for key, (metric, words) in SCORES.items()
            if key in scores
        }
        if part == "default" and "recognition_rate" in patient:
            found["recognition_rate"] = (
                "recognition_rate", "Recognition rate (patient level)", patient["recognition_rate"]["value"],
            )  # fmt: skip
        results += [
            EvalResult(
                task_type="image-classification",
                dataset_type=hub_id or source.key,
                dataset_name=source.title,
                dataset_config=part if hub_id else None,
                dataset_split=split if hub_id or part == "default" else f"{split}, {part}",
                metric_type=metric,
                metric_name=words,
                metric_value=round(value, 4),
            )
            for metric, words, value in found.values()
            if value is not None
        ]
    return results


def count_parameters(weights: Weights) -> int:
    """Return the number of parameters in the weights, without running statistics of batch normalization."""
    with safe_open(weights.folder / MODEL_WEIGHTS, "pt") as file:
        names = [name for name in file.keys() if not name.endswith(_STATISTICS)]  # noqa: SIM118 (no mapping)
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def architecture_of(weights: Weights) -> str:
    """Return the class of the network in transformers; of a backbone of timm, its name too."""
    config = read_json(weights.folder / CONFIG)
    (name,) = config["architectures"]
    return f"{name} ({config['architecture']})" if "architecture" in config else str(name)


def _counts(data: dict[str, Any], types: dict[str, str]) -> list[tuple[str, str, int]]:
    """Return kind, name and images of each class, tumour type and magnification, these in rising order."""
    counts = dict(data["counts"])
    known = [name for name in MAGNIFICATIONS if name in counts["magnification"]]
    counts["magnification"] = {name: counts["magnification"][name] for name in known} | counts["magnification"]
    kinds = {"class": "label", "tumour type": "tumor_type", "magnification": "magnification"}
    return [(kind, types.get(name, name), count) for kind, key in kinds.items() for name, count in counts[key].items()]


def _audit(leakage: dict[str, Any]) -> list[str]:
    """Return what the audit found, and what it cannot know; None is a share that is unknown."""
    shares = {level: leakage[f"share_same_{level}"] for level in ("patient", "specimen")}
    unknown = [level for level, share in shares.items() if share is None]
    found = [
        f"{100 * share:.0f} % of the test images show a {level} of the training set"
        for level, share in shares.items()
        if share is not None
    ]
    if unknown:
        found.append(f"leakage by {' and '.join(unknown)} cannot be measured, because none is known")
    found.append(f"{100 * leakage['share_seen']:.0f} % of the test images were themselves trained on")
    return found


def _count(parts: pd.DataFrame, labels: list[str]) -> list[tuple[str, int, list[int], int, int]]:
    """Return name, images, images of each class, patients and specimens of each part; 0 where none are known."""
    return [
        (
            str(part),
            len(group),
            [int((group["label"] == i).sum()) for i in range(len(labels))],
            group.loc[group["patient_id"] != "", "patient_id"].nunique(),
            group.loc[group["specimen_id"] != "", "specimen_id"].nunique(),
        )
        for part, group in parts.groupby("part")
    ]


def _optimizer(recipe: dict[str, Any]) -> str:
    """Return the optimizer with its arguments, and none of those that another optimizer would read."""
    if recipe["optimizer_name"] is not None:
        return _called(recipe["optimizer_name"], recipe["optimizer_kwargs"])
    adam = {name: recipe[name] for name in ("adam_beta1", "adam_beta2", "adam_epsilon")}
    return _called(recipe["optim"], adam if "adam" in str(recipe["optim"]) else recipe["optim_args"])


def _schedule(recipe: dict[str, Any]) -> str:
    if recipe["scheduler_name"] is not None:
        return _called(recipe["scheduler_name"], recipe["scheduler_kwargs"])
    return _called(recipe["lr_scheduler_type"], {"warmup_steps": recipe["warmup_steps"]})


def _called(name: str, arguments: Any) -> str:
    if isinstance(arguments, dict):
        arguments = ", ".join(f"{key} {value}" for key, value in arguments.items())
    return f"{name} ({arguments})" if arguments else str(name)
