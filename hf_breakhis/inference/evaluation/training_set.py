"""What a model was trained on, and which images of another data set are among it or are copies of it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from hf_breakhis.data.images import Images
from hf_breakhis.data.integrity.check_images import COLORS, Findings
from hf_breakhis.data.integrity.described import check_and_describe
from hf_breakhis.data.integrity.duplicates import KINDS_OF, OVERLAP, copies_between
from hf_breakhis.data.sources.about import Source, source_of
from hf_breakhis.data.twin.twin import read_settings
from hf_breakhis.files import InputError
from hf_breakhis.inference.fold_images import images_of_recipe
from hf_breakhis.inference.model import Weights
from hf_breakhis.inference.seen import training_rows
from hf_breakhis.results.scores.leakage import UNKNOWN_TRAINING
from hf_breakhis.run import COLORS as COLORS_FILE
from hf_breakhis.run import DATA, Run

PREFIX = "training set: "
EXCLUDED_COLUMNS = ("file_name", "kind", "training_image")


@dataclass(frozen=True)
class TrainingSet:
    """The training set of a model, compared with the images that it is evaluated on.

    Attributes:
        rows: file_name, patient_id, specimen_id and label (number of the model's class) of each training image; None
            if they are unknown.
        excluded: columns `EXCLUDED_COLUMNS`: images to evaluate that are in the training set or are copies of it.
        num_overlapping: images that show a part of what a training image shows.
        how: how the two sets were compared, in sentences.
        is_same_data: the images to evaluate are those of the run, training and test sets together.
        colors: colour statistics of the training images by their file name; None if they are unknown.
        source: what the training images are; None if they are unknown.
    """

    rows: pd.DataFrame | None
    excluded: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(EXCLUDED_COLUMNS)))
    num_overlapping: int = 0
    how: str = UNKNOWN_TRAINING
    is_same_data: bool = False
    colors: pd.DataFrame | None = None
    source: Source | None = None


def find_training_set(weights: Weights, images: Images, findings: Findings) -> TrainingSet:
    """Find what the model was trained on, and which of the images it has seen.

    Images of BreakHis are compared by name. All images are compared by content with the training images if these are
    where the run found them, else with the colour statistics that the run keeps, which find exact copies only.

    Args:
        weights: of the model.
        images: to be evaluated.
        findings: of the check of these images.
    """
    if weights.records is None:
        return TrainingSet(None)
    run, fold = weights.records
    data = run.data if (run.folder / DATA).is_file() else run.summary["data"]
    used = training_rows(run, fold).drop_duplicates("file_name")
    used = used[["file_name", "patient_id", "specimen_id", "label"]].reset_index(drop=True)
    theirs, own = source_of(data), images.about
    parts, how, overlapping = [], [], 0
    is_breakhis = all(one.has_breakhis_names and not one.is_generated for one in (theirs, own))
    if is_breakhis:
        both = sorted(set(used["file_name"]) & set(images.dataset["file_name"]))
        parts.append(pd.DataFrame({"file_name": both, "kind": "same name", "training_image": both}))
        how.append("by name")
    trained, reason = _training_images(run, data)
    colors = run.read_colors() if (run.folder / COLORS_FILE).is_file() and data.get("has_files", True) else None
    if trained is not None:
        known = {name for part in parts for name in part["file_name"]}
        found, overlapping = _copies(images, findings, *trained, used, known)
        parts.append(found)
        how.append("by content, with a search for changed copies")
    elif colors is not None:
        parts.append(_same_colors(findings, colors, used))
        how.append("by the colour statistics that the run keeps, which find exact copies only")
    excluded = pd.concat([TrainingSet(None).excluded, *parts]).drop_duplicates("file_name").sort_values("file_name")
    sentence = f"Compared with the training images {' and '.join(how)}." if how else "The images were not compared."
    if not is_breakhis and not _are_same_people(run, data, images, findings, excluded, used):
        used = used.assign(**{name: _prefixed(used[name]) for name in ("file_name", "patient_id", "specimen_id")})
        colors = None if colors is None else colors.rename(lambda name: f"{PREFIX}{name}")
    return TrainingSet(
        used,
        excluded.reset_index(drop=True),
        overlapping,
        f"{sentence} {reason}".strip(),
        findings.manifest_sha256 == data["manifest_sha256"],
        None if colors is None else colors.loc[colors.index.isin(used["file_name"])],
        theirs,
    )


def _prefixed(column: "pd.Series[str]") -> "pd.Series[str]":
    """Mark names that mean something else than equal names of the evaluated images; "" is still unknown."""
    return column.where(column == "", PREFIX + column)


def _training_images(run: Run, data: dict[str, Any]) -> tuple[tuple[Images, Findings] | None, str]:
    """Return the images of the run with their findings, or why they are not available."""
    location = data.get("location")
    if not location or not Path(location).exists():
        return None, "The training images are not on this machine, so changed copies were not searched."
    try:
        images = images_of_recipe(run.recipe)
        findings = check_and_describe(images)
    except InputError as error:
        return None, f"Changed copies were not searched, because the training images cannot be read: {error}"
    if findings.manifest_sha256 != data["manifest_sha256"]:
        return None, "Changed copies were not searched, because the training images have changed since the training."
    return (images, findings), ""


def _copies(
    images: Images, findings: Findings, trained: Images, checked: Findings, used: pd.DataFrame, known: set[str]
) -> tuple[pd.DataFrame, int]:
    """Return images that are copies of training images, and the number of those that only overlap with one."""
    seen = set(used["file_name"])
    files = checked.files
    files = files[files["file_name"].isin(seen)]
    found = []
    for column, kind in KINDS_OF.items():
        first = files[files[column] != ""].drop_duplicates(column).set_index(column)["file_name"]
        own = findings.files.assign(training_image=findings.files[column].map(first), kind=kind)
        found.append(own.dropna(subset="training_image")[list(EXCLUDED_COLUMNS)])
    exact = pd.concat(found).drop_duplicates("file_name")
    names = list(images.dataset["file_name"])
    rest = [row for row, name in enumerate(names) if name not in known | set(exact["file_name"])]
    if not rest:
        return exact, 0
    rows = [row for row, name in enumerate(trained.dataset["file_name"]) if name in seen]
    pairs = copies_between(
        replace(images, dataset=images.dataset.select(rest, keep_in_memory=True)), findings.files,
        replace(trained, dataset=trained.dataset.select(rows, keep_in_memory=True)), files,
    )  # fmt: skip
    near = pairs[pairs["kind"] != OVERLAP].rename(columns={"own": "file_name", "other": "training_image"})
    near = near.drop_duplicates("file_name")[list(EXCLUDED_COLUMNS)]
    overlapping = set(pairs.loc[pairs["kind"] == OVERLAP, "own"]) - set(near["file_name"])
    return pd.concat([exact, near]), len(overlapping)


def _same_colors(findings: Findings, colors: pd.DataFrame, used: pd.DataFrame) -> pd.DataFrame:
    """Return the images whose colour statistics are those of a training image, to all digits."""
    theirs = colors.loc[colors.index.isin(used["file_name"])].rename_axis("training_image").reset_index()
    theirs = theirs[theirs[list(COLORS[3:])].sum(axis=1) > 0]  # frames of one colour look alike
    both = findings.colors.merge(theirs.drop_duplicates(list(COLORS)), on=list(COLORS))
    return both.assign(kind="same colours")[list(EXCLUDED_COLUMNS)]


def _are_same_people(
    run: Run, data: dict[str, Any], images: Images, findings: Findings, excluded: pd.DataFrame, used: pd.DataFrame
) -> bool:
    """Say whether equal names of patients are the same patients in both sets.

    They are in one data set, in twins of one seed, and where a copied image has the same patient in both.
    """
    if findings.manifest_sha256 == data["manifest_sha256"]:
        return True
    if source_of(data).is_generated and images.about.is_generated:
        seeds = [_seed(str(data.get("location") or "")), _seed(images.location)]
        if None not in seeds:
            return seeds[0] == seeds[1]
    own = dict(zip(images.dataset["file_name"], images.dataset["patient_id"], strict=True))
    theirs = dict(zip(used["file_name"], used["patient_id"], strict=True))
    pairs = zip(excluded["file_name"], excluded["training_image"], strict=True)
    return any(own[name] and own[name] == theirs[other] for name, other in pairs)


def _seed(location: str) -> int | None:
    settings = read_settings(Path(location)) if location else None
    return None if settings is None else settings.seed
