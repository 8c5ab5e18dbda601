"""What a visitor has to know about a model before believing it, from the files of its run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hf_breakhis.data.sources.about import source_of
from hf_breakhis.inference.model import Weights, saved_preprocessing
from hf_breakhis.results.scores.warnings import OPTIMISTIC, texts_of, texts_without
from hf_breakhis.run import REFIT

BREAKHIS_FRAME = (
    "It expects a whole frame of 700 x 460 pixels as the camera of BreakHis took it, at a magnification of 40, 100, "
    "200 or 400."
)
OWN_FRAME = "It expects images like those that it was trained on: same laboratory, stain, magnification and size."


@dataclass(frozen=True)
class Facts:
    """What the pages of a model tell.

    Attributes:
        labels: names of the classes in the order of their numbers.
        positive: the class whose probability the threshold is about; None where there is no such.
        threshold: of the calibrated probability of `positive`, None where none was locked.
        temperature: by which logits are divided to be calibrated, None where none was fitted.
        image_size: side of the square that the network sees.
        preprocessing: the end of a sentence that begins with "the image is".
        trained_on: one sentence.
        headline: the score with its interval and how it was measured.
        leak: sentences about leakage, empty where none was found.
        warnings: every other sentence to read before the score.
        twin: the model was trained on generated images only.
        expects: a sentence about the images that the model was made for.
        tta: test-time augmentation, as in a recipe.
        licence: of the weights, as the Hub names it; "unknown" where that of the images is.
    """

    labels: list[str]
    positive: str | None
    threshold: float | None
    temperature: float | None
    image_size: int
    preprocessing: str
    trained_on: str
    headline: str
    leak: list[str]
    warnings: list[str]
    twin: bool
    expects: str
    tta: str
    licence: str


def read_facts(weights: Weights) -> Facts:
    """Return the facts of the weights of a run.

    Raises:
        InputError: the weights are of no run, or the run was not scored.
    """
    run = weights.require_run()
    summary, decision, recipe = run.summary, decision_of(weights), run.recipe
    labels, preprocessing = weights.classes, saved_preprocessing(weights)
    source = source_of(summary["data"])
    return Facts(
        labels=labels,
        positive=summary.get("positive_class") if len(labels) == 2 else None,
        threshold=decision.get("threshold"),
        temperature=decision.get("temperature"),
        image_size=preprocessing.image_size,
        preprocessing=preprocessing.sentence(),
        trained_on=_trained_on(weights, summary, recipe),
        headline=summary["headline"]["sentence"],
        leak=texts_of(summary, *OPTIMISTIC),
        warnings=[*_other_scores(weights, summary), *texts_without(summary, *OPTIMISTIC)],
        twin=source.is_generated,
        expects=BREAKHIS_FRAME if source.has_breakhis_names else OWN_FRAME,
        tta=weights.tta,
        licence="apache-2.0" if source.licence else "unknown",
    )


def decision_of(weights: Weights) -> dict[str, Any]:
    """Return the decision of the run; without threshold and temperature if these weights were not scored as such."""
    run = weights.require_run()
    if weights.is_scored:
        return run.decision
    return {"rule": None, "reason": weights.reason, "threshold": None, "temperature": None}


def _other_scores(weights: Weights, summary: dict[str, Any]) -> list[str]:
    """Return what the scores of the run are of, where they are not those of these weights alone."""
    recipe, texts = weights.require_run().recipe, []
    count = summary["members"]["num_members"] if "members" in summary else 1
    if count > 1 and not weights.members:
        accuracy = summary["members"]["scores"]["accuracy"]
        mean = "" if accuracy["mean"] is None else f" One network has accuracy {accuracy['mean']:.3f} on average."
        texts.append(f"This is one network of an ensemble of {count}. The scores are those of the ensemble.{mean}")
    if weights.tta != recipe.get("tta", "none"):
        own = recipe.get("tta", "none")
        texts.append(f"The scores are with `tta: {own}`. Here the network is used with `tta: {weights.tta}`.")
    return texts


def _trained_on(weights: Weights, summary: dict[str, Any], recipe: dict[str, Any]) -> str:
    data = summary["data"]
    source = source_of(data)
    part = _share(weights, str(recipe.get("carry_over")))
    start = "random weights" if recipe.get("init") == "random" else public_name(str(recipe.get("model_name_or_path")))
    sizes = [f"{data['num_images']:,} {source.what}"]
    if data.get("num_patients"):
        sizes.append(f"of {data['num_patients']} patients{' (slide folders)' if source.has_breakhis_names else ''}")
    known = f"{' '.join(sizes)} {source.where} (source {data['source']})"
    return f"It was trained on {part} {known}, starting from {start}."


def _share(weights: Weights, carry_over: str) -> str:
    """Return "all of", or which part of them the model was trained on."""
    if weights.fold != REFIT:
        if carry_over in ("model", "all") and weights.fold != "0":  # one model that goes on from fold to fold
            return f"the training sets of folds 0 to {weights.fold} of"
        return f"the training set of fold {weights.fold} of"
    counts = parts_of(weights)["part"].value_counts()
    kept = [f"{counts[part]:,} for {part}" for part in ("validation", "reserve") if part in counts]
    return f"all but {sum(counts.drop('train')):,} images ({' and '.join(kept)}) of" if kept else "all of"


def parts_of(weights: Weights) -> pd.DataFrame:
    """Return the rows of folds.csv for the weights of a run, `part` being what an image was to them.

    A refit trains on the train and test sets of the first fold, and leaves its validation part and the reserve.
    """
    folds = weights.require_run().read_folds()
    if weights.fold != REFIT:
        return folds[folds["fold"] == int(weights.fold)]
    rows = folds[folds["fold"] == 0]
    return rows.assign(part=rows["part"].replace("test", "train"))


def public_name(model: str) -> str:
    """Return a Hub id as it is, and of a place on this machine its last part."""
    place = Path(model)
    return place.name if place.is_absolute() or model.startswith("~") or place.exists() else model
