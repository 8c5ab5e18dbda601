"""Evaluate any image classifier on any data set: a run with its predictions, without the images that it has seen."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hf_breakhis.arguments import DataArguments
from hf_breakhis.averaging import with_scores
from hf_breakhis.data.counts import describe_data
from hf_breakhis.data.images import Images
from hf_breakhis.data.integrity.check_images import Findings, check_images
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError, write_csv, write_json
from hf_breakhis.folders import require_place
from hf_breakhis.inference.classifier import Classifier, default_batch_size, open_classifier
from hf_breakhis.inference.evaluation.classes import ClassMap, match_classes
from hf_breakhis.inference.evaluation.training_set import TrainingSet, find_training_set
from hf_breakhis.inference.fold_images import DATA_FIELDS
from hf_breakhis.inference.hub_model import quiet_hub
from hf_breakhis.inference.inputs import InputImage, Unreadable
from hf_breakhis.inference.model import Weights, find_model
from hf_breakhis.inference.predict import score_images
from hf_breakhis.results.evaluated import internal_scores
from hf_breakhis.results.imported import FOLD_ROWS, kept_apart, kind_of_folder, protocol_fields, write_predictions
from hf_breakhis.run import COLORS, EVALUATED, EVALUATION, EXCLUDED, WEIGHTS, Run
from hf_breakhis.settings import restored_settings

TEXT = ("tumor_type", "patient_id", "specimen_id", "magnification")
PACKAGES = ("hf-breakhis", "pandas", "scikit-learn", "torch", "transformers")
OTHER_CLASSES = "The classes of this run are not those of the model one by one, so its threshold does not apply."


@restored_settings()
def evaluate_model(
    model: str | Path,
    fields: Mapping[str, Any],
    folder: str | Path,
    classes: Mapping[str, str] | None = None,
    fold: str | None = None,
    revision: str | None = None,
    batch_size: int | None = None,
    command: Sequence[str] = (),
) -> Run:
    """Score the images of a data set with a model and write a run of kind "evaluated".

    Images that the model was trained on, and copies of them, are excluded and listed in excluded.csv.

    Args:
        model: a run, a fold's folder, a model folder, or OWNER/NAME on the Hub.
        fields: which images, by the names of `DATA_FIELDS`; `target` is by default that of the run.
        folder: the run folder; an earlier evaluated run is replaced.
        classes: see `match_classes`; needed if the names of the classes differ.
        fold: of a run: a number from 0, or "refit"; by default fold 0.
        revision: of a Hub id: commit, branch or tag.
        batch_size: images in the network at a time; by default it depends on the hardware.
        command: the words of the command line.

    Raises:
        InputError: the model or the images cannot be used, the classes do not match, or no image is left.
    """
    require_place(folder, kind_of_folder(EVALUATED))
    quiet_hub()
    weights = find_model(model, fold, revision)
    classifier = open_classifier(weights)
    target = {} if weights.run is None else {"target": weights.run.field("target")}
    data = DataArguments(**{**target, **fields})
    images = load_images(data)
    is_ours = weights.run is not None or weights.decision is not None
    mapped = match_classes(classifier.classes, images.classes, classes or {}, keep_order=is_ours)
    findings = check_images(images)
    findings.raise_if_unusable()
    training = find_training_set(weights, images, findings)
    chosen = _chosen_rows(images, mapped, training)
    kept = replace(images, dataset=images.dataset.select(chosen, keep_in_memory=True))
    logits = mapped.logits(_logits(classifier, kept, batch_size or default_batch_size()))
    test = _predictions(kept, mapped, logits)
    rows = _training_rows(training, classifier.classes, mapped)
    folds = pd.concat([test[list(FOLD_ROWS)], rows], ignore_index=True)
    level = "unknown" if rows.empty else kept_apart(folds)
    recipe = _recipe(weights, model, data, mapped, level, shlex.join(command))
    described = _describe(images, kept, findings, mapped, training)
    about = _about(weights, model, classifier.classes, images.classes, mapped, training)
    colors = findings.colors[findings.colors["file_name"].isin(test["file_name"])]

    def write_more(part: Path) -> None:
        write_json(part / EVALUATION, about)
        write_csv(part / EXCLUDED, training.excluded)
        if training.colors is not None:
            own = set(test["file_name"])
            theirs = training.colors[~training.colors.index.isin(own)].rename_axis("file_name").reset_index()
            write_csv(part / COLORS, pd.concat([colors, theirs], ignore_index=True))

    return write_predictions(Path(folder), recipe, described, folds, test, write_more)


def _chosen_rows(images: Images, mapped: ClassMap, training: TrainingSet) -> list[int]:
    """Return the rows that are scored: neither seen in training nor of a class that is left out."""
    excluded = set(training.excluded["file_name"])
    columns = zip(images.dataset["file_name"], images.dataset["label"], strict=True)
    rows = [row for row, (name, label) in enumerate(columns)
            if name not in excluded and mapped.labels[label] is not None]  # fmt: skip
    if not rows:
        raise InputError(
            f"All {len(images.dataset):,} images are in the training set of the model, or copies of it. Give other "
            "images, or the fold of the run that tests these."
        )
    return rows


def _logits(classifier: Classifier, images: Images, batch_size: int) -> np.ndarray:
    """Return the logits of all images, (n, num_classes).

    Raises:
        InputError: an image cannot be read.
    """
    rows = zip(images.dataset["image"], images.dataset["file_name"], strict=True)
    items = (InputImage(image["path"] or name, image["bytes"]) for image, name in rows)
    found = []
    for one in score_images(classifier, items, batch_size):
        if isinstance(one, Unreadable):
            raise InputError(f"{one.path} cannot be read: {one.reason}")
        found.append(one[1])
    return np.concatenate(found)


def _predictions(images: Images, mapped: ClassMap, logits: np.ndarray) -> pd.DataFrame:
    """Return the rows of predictions.csv."""
    table = images.dataset.remove_columns("image").to_pandas()
    table["label"] = [mapped.labels[label] for label in table["label"]]
    text = table[list(TEXT)].fillna("")
    described = pd.concat([table[["file_name", "label"]], text], axis=1)
    return with_scores(described.assign(fold=0, part="test", seen_in_training=False), logits, mapped.classes)


def _training_rows(training: TrainingSet, model_classes: Sequence[str], mapped: ClassMap) -> pd.DataFrame:
    """Return the rows of folds.csv of the training set, labelled with the classes of the run."""
    if training.rows is None:
        return pd.DataFrame(columns=list(FOLD_ROWS))
    known = training.rows[training.rows["label"].between(0, len(model_classes) - 1)]
    label = np.array(mapped.columns)[known["label"].to_numpy()]
    return known.assign(label=label, fold=0, part="train")[list(FOLD_ROWS)]


def _recipe(
    weights: Weights, model: str | Path, data: DataArguments, mapped: ClassMap, level: str, command: str
) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(data).items() if name in DATA_FIELDS and name != "target"}
    return {
        "kind": EVALUATED,
        "model": str(model),
        "fold": weights.fold or None,
        **fields,
        "classes": dict(mapped.given),
        **protocol_fields(data.target, level, 1, command, PACKAGES),
    }


def _describe(
    images: Images, kept: Images, findings: Findings, mapped: ClassMap, training: TrainingSet
) -> dict[str, Any]:
    """Return the content of data.json: of the images that are scored, with what was left out as warnings."""
    described = describe_data(kept, findings)
    counts: dict[str, int] = {}
    for name, count in described["counts"]["label"].items():
        own = mapped.classes[mapped.labels[images.classes.index(name)] or 0]
        counts[own] = counts.get(own, 0) + count
    described["counts"]["label"] = counts
    warnings, number = [], len(training.excluded)
    if training.source is not None and training.source.is_generated and not images.about.is_generated:
        warnings.append(
            f"The model was trained on other data: {training.source.title}. Its internal scores say nothing about "
            "real tissue."
        )
    if number:
        warnings.append(
            f"In the training set of the model, or copies of it: {number:,} of {len(images.dataset):,} images. "
            f"They are excluded from the scores and listed in {EXCLUDED}."
        )
    if training.num_overlapping:
        warnings.append(
            f"Images that show a part of what a training image shows: {training.num_overlapping:,}. They are scored."
        )
    left = [name for name, label in zip(images.classes, mapped.labels, strict=True) if label is None]
    if left:
        warnings.append(f"Images of {', '.join(left)} are left out, as `--classes` says.")
    return described | {"warnings": warnings + described["warnings"]}


def _about(
    weights: Weights,
    model: str | Path,
    model_classes: Sequence[str],
    data_classes: Sequence[str],
    mapped: ClassMap,
    training: TrainingSet,
) -> dict[str, Any]:
    """Return the content of evaluation.json."""
    decision = weights.decision if mapped.keeps_scores else None
    reason = weights.reason if mapped.keeps_scores else OTHER_CLASSES
    locked = {"threshold": None, "temperature": None, "rule": None} if decision is None else asdict(decision)
    scored = weights.records is not None and weights.records[0].is_scored
    kinds = training.excluded["kind"].value_counts().sort_index().to_dict()
    return {
        "format": 1,
        "model": {
            "name": str(model),
            "fold": weights.fold or None,
            "revision": weights.revision,
            "weights_sha256": weights.sha256 if (weights.folder / WEIGHTS).is_file() else None,
        },
        "classes": {
            "model": list(model_classes),
            "data": list(data_classes),
            "run": list(mapped.classes),
            "given": dict(mapped.given),
        },
        "decision": locked | {"reason": reason},
        "internal": internal_scores(*weights.records) if scored and weights.records else None,
        "training": {
            "is_known": training.rows is not None,
            "is_same_data": training.is_same_data,
            "how": training.how,
            "num_images": None if training.rows is None else len(training.rows),
            "num_excluded": len(training.excluded),
            "excluded_by_kind": kinds,
            "num_overlapping": training.num_overlapping,
        },
    }
