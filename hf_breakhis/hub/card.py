"""The card of a model: what it is, what its score is worth, on whom it fails, and how to call it."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, constants
from jinja2 import Environment, StrictUndefined

from hf_breakhis.data.filenames import TUMOR_TYPES
from hf_breakhis.files import InputError, read_json
from hf_breakhis.hub.facts import Facts, parts_of, read_facts
from hf_breakhis.hub.paper import paper_words
from hf_breakhis.hub.templates import card_text
from hf_breakhis.inference.weights import Weights

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


@dataclass(frozen=True)
class Example:
    """A picture of the published fold's test part, and what the model says of it.

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
    """

    repo_id: str
    revision: str | None = None
    branches: tuple[str, ...] = ()

    def address(self, name: str) -> str:
        """Return where a file of the branch is shown from."""
        return f"{constants.ENDPOINT}/{self.repo_id}/resolve/{quote(self.revision or 'main', safe='')}/{name}"


def model_card(
    weights: Weights, place: Place, examples: list[Example], maps: dict[str, Any] | None = None
) -> ModelCard:
    """Return the card of the weights of a run; every number comes from the run's files.

    Args:
        weights: of a finished and scored run.
        place: where it goes up.
        examples: pictures that go up beside the card.
        maps: index of the heat maps that go up beside it, None where there are none.

    Raises:
        InputError: the weights are of no run, or the run was not scored.
    """
    facts = read_facts(weights)
    run = Path(str(weights.run))
    summary, data, cost = (read_json(run / name) for name in ("summary.json", "data.json", "cost.json"))
    decision = read_json(run / "decision.json")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    if "repeats" in summary:
        raise InputError(f"{run} holds repeats; publish one of them: {run / 'repeat-0'}.")
    markdown = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)  # noqa: S701
    metadata = card_metadata(facts, summary, recipe, place, examples)
    text = markdown.from_string(card_text("template.md")).render(
        place=place, facts=facts, summary=summary, data=data, recipe=recipe, decision=decision, cost=cost,
        environment=recipe["environment"], examples=examples, parts=_count(parts_of(weights)), fold=weights.fold,
        scores=[(words, summary["image"]["pooled"][name]) for name, (_, words) in SCORES.items()
                if name in summary["image"]["pooled"]],
        words=paper_words(recipe), types=TUMOR_TYPES, maps=maps,
    )  # fmt: skip
    return ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{text}")


def card_metadata(
    facts: Facts, summary: dict[str, Any], recipe: dict[str, Any], place: Place, examples: list[Example]
) -> ModelCardData:
    """Return the block that the Hub reads: task, base, licence, scores for each magnification, and the widget."""
    base = recipe["model_name_or_path"]
    hub_data = str(recipe["dataset"])
    return ModelCardData(
        model_name=place.repo_id.split("/")[-1],
        library_name="transformers",
        pipeline_tag="image-classification",
        base_model=base if recipe["init"] == "pretrained" and _is_hub_id(base) else None,
        datasets=[hub_data] if _is_hub_id(hub_data) else None,
        metrics=[hub for name, (hub, _) in SCORES.items() if name in summary["image"]["pooled"]],
        license="apache-2.0",
        tags=["histopathology", "breast-cancer", "breakhis", "research-only", "not-for-diagnosis"],
        eval_results=_eval_results(facts, summary),
        widget=[
            {
                "src": place.address(f"examples/{example.file_name}"),
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


def _eval_results(facts: Facts, summary: dict[str, Any]) -> list[EvalResult]:
    """Return the pooled scores of the cross-validation, over all magnifications and for each."""
    protocol = summary["protocol"]
    name = "Twin of BreakHis (generated pictures)" if facts.twin else "BreakHis"
    split = f"{len(protocol['folds_present'])} folds, split by {protocol['split_by']}"
    parts = {"all magnifications": summary["image"]["pooled"], **summary["by_magnification"]}
    patient = (summary["patient"] or {}).get("pooled") or {}
    results = []
    for part, scores in parts.items():
        found = {key: (*SCORES[key], scores[key]["value"]) for key in SCORES if key in scores}
        if part == "all magnifications" and "recognition_rate" in patient:
            found["recognition_rate"] = (
                "recognition_rate", "Recognition rate (patient level)", patient["recognition_rate"]["value"],
            )  # fmt: skip
        results += [
            EvalResult(
                task_type="image-classification",
                dataset_type="twin" if facts.twin else "breakhis",
                dataset_name=name,
                dataset_config=part,
                dataset_split=split,
                metric_type=metric,
                metric_name=words,
                metric_value=value,
            )
            for metric, words, value in found.values()
            if value is not None
        ]
    return results


def _count(parts: pd.DataFrame) -> list[tuple[str, int, int, int]]:
    """Return name, images, patients and specimens of each part."""
    return [
        (str(part), len(group), group["patient_id"].nunique(), group["specimen_id"].nunique())
        for part, group in parts.groupby("part")
    ]


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not Path(name).exists() and not name.startswith((".", "/"))
