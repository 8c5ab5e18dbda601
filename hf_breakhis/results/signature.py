"""The signature: how often the nearest neighbour of an image in feature space shows the same patient or specimen."""

from typing import Any

import numpy as np
import pandas as pd

from hf_breakhis.results.formatting import in_breakhis_order, percent
from hf_breakhis.results.predictions import known
from hf_breakhis.results.scores.intervals import Scores, intervals
from hf_breakhis.text import folded, text_table

ALL = "all"
GROUPS = ("patient", "specimen")
HOW = (
    "Nearest neighbour: the most similar of all other images of the same magnification (cosine similarity of the "
    "vectors, standardised within the magnification). Chance: any other image. In class: any other image of the same "
    "class. An image without another one of its patient or specimen is not counted. Interval: 95 %, over "
    "specimens, as for the scores."
)
EXPLAINS = (
    "Images of one specimen look alike to this network: the nearest neighbour shows the same specimen more often than "
    "a random image of the same class. After a split by image such neighbours are in the training set with their "
    "labels. This is why image-wise splits flatter."
)
ABSENT = (
    "No signature was found: within the interval, the nearest neighbour shows the same specimen no more often than a "
    "random image of the same class."
)

_CHUNK = 512


def signature(vectors: np.ndarray, images: pd.DataFrame, tested: set[str], backbone: str) -> dict[str, Any]:
    """Count, by magnification, the test images whose nearest neighbour shows the same patient, specimen and class.

    Args:
        vectors: (n, d) float32, one row per image.
        images: n rows in the same order: `file_name`, `label`, `patient_id`, `specimen_id`, `magnification` ("" where
            unknown).
        tested: file names of the test images. Neighbours are searched among all n images.
        backbone: what computed the vectors, for people.

    Returns:
        What audit.json has: `rows` by magnification and, if there are several, for all; each with the numbers of
        images and, for patients and specimens, `share`, `chance` and `chance_in_class` with the number of images
        behind them, None where the groups are unknown; `share` of specimens with an interval; and `same_class`, the
        share of nearest neighbours of the same class, among all and among other specimens.
    """
    table = images.reset_index(drop=True)
    found = [
        _neighbours(vectors[rows.index], rows, name)
        for name, rows in table.groupby("magnification", sort=False)
        if len(rows) > 1
    ]
    whole = pd.concat(found) if found else table.iloc[:0]
    whole = whole[whole["file_name"].isin(tested)]
    names = in_breakhis_order(dict.fromkeys(whole["magnification"]))
    rows = [_row(str(name) or ALL, whole[whole["magnification"] == name]) for name in names]
    if len(rows) > 1:
        rows.append(_row(ALL, whole))
    excess = rows[-1]["specimen"]["excess_low"] if rows and rows[-1]["specimen"] else None
    sentence = None if excess is None else EXPLAINS if excess > 0 else ABSENT
    return {
        "backbone": backbone,
        "num_features": int(vectors.shape[1]),
        "how": HOW,
        "rows": rows,
        "sentence": sentence,
    }


def _neighbours(vectors: np.ndarray, rows: pd.DataFrame, name: object) -> pd.DataFrame:
    """Return, for each image of one magnification, what it shares with its neighbour, and what chance would give."""
    units = _units(vectors)
    nearest = np.empty(len(rows), dtype=np.int64)
    elsewhere = np.full(len(rows), -1)
    specimens = rows["specimen_id"].to_numpy()
    for start in range(0, len(rows), _CHUNK):
        own = np.arange(start, min(start + _CHUNK, len(rows)))
        likeness = units[own] @ units.T
        likeness[np.arange(len(own)), own] = -np.inf
        nearest[own] = likeness.argmax(axis=1)
        likeness[specimens[own][:, None] == specimens[None, :]] = -np.inf
        elsewhere[own] = np.where(np.isfinite(likeness.max(axis=1)), likeness.argmax(axis=1), -1)
    label = rows["label"].to_numpy()
    found = pd.DataFrame({"file_name": rows["file_name"].to_numpy(), "magnification": name, "group": specimens})
    found["class"] = label == label[nearest]
    found["class_elsewhere"] = np.where(elsewhere < 0, np.nan, (label == label[elsewhere]).astype(float))
    in_class = rows.groupby("label")["file_name"].transform("size").to_numpy()
    for group in GROUPS:
        column = f"{group}_id"
        if not known(rows, column):
            continue
        value = rows[column].to_numpy()
        others = rows.groupby(column)["file_name"].transform("size").to_numpy() - 1
        beside = rows.groupby([column, "label"])["file_name"].transform("size").to_numpy() - 1
        found[group] = np.where(others > 0, (value == value[nearest]).astype(float), np.nan)
        found[f"{group}_chance"] = others / (len(rows) - 1)
        found[f"{group}_in_class"] = beside / np.maximum(in_class - 1, 1)
    return found


def _units(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1 after each number was standardised; a number that does not vary becomes 0."""
    values = vectors.astype(np.float64)
    sd = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(
        sd > 1e-7 * np.maximum(1, np.abs(values).max(axis=0)), sd, np.inf
    )
    length = np.linalg.norm(values, axis=1, keepdims=True)
    units: np.ndarray = values / np.where(length > 0, length, 1)
    return units


def _row(name: str, found: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {"magnification": name, "test_images": len(found)}
    for group in GROUPS:
        counted = found.dropna(subset=[group]) if group in found else found.iloc[:0]
        row[group] = None
        if len(counted):
            row[group] = {
                "counted": len(counted),
                "same": int(counted[group].sum()),
                "share": float(counted[group].mean()),
                "chance": float(counted[f"{group}_chance"].mean()),
                "chance_in_class": float(counted[f"{group}_in_class"].mean()),
            } | (_interval(counted, group) if group == "specimen" else {})
    elsewhere = found["class_elsewhere"].mean()
    row["same_class"] = {
        "nearest": float(found["class"].mean()),
        "other_specimens": None if np.isnan(elsewhere) or row["specimen"] is None else float(elsewhere),
    }
    return row


def _interval(counted: pd.DataFrame, group: str) -> dict[str, float | int | None]:
    """Return the interval of the share, and the lower end of its excess over chance in the class."""
    excess = counted[group] - counted[f"{group}_in_class"]
    sums = pd.DataFrame({"n": 1, "share": counted[group], "excess": excess}).groupby(counted["group"]).sum()
    total = sums["n"].to_numpy(dtype=np.float64)

    def scores(name: str) -> Scores:
        values = sums[name].to_numpy(dtype=np.float64)
        return lambda weights: {name: weights @ values / (weights @ total)}

    share = intervals(scores("share"), len(sums))["share"]
    found = intervals(scores("excess"), len(sums), shares=False)["excess"]
    return {"num_specimens": len(sums), "low": share["low"], "high": share["high"], "excess_low": found["low"]}


def signature_table(found: dict[str, Any]) -> str:
    """Return a signature as plain text of at most 100 columns."""
    head = ("Nearest neighbour", "Tested", "Same patient", "Chance", "Same specimen", "Interval", "Chance", "In class")
    rows = []
    for row in found["rows"]:
        patient, specimen = (row[group] or {} for group in GROUPS)
        low, high = specimen.get("low"), specimen.get("high")
        bounds = "-" if low is None or high is None else f"{100 * low:.0f} to {100 * high:.0f} %"
        shares = (patient.get("share"), patient.get("chance"), specimen.get("share"))
        chances = (specimen.get("chance"), specimen.get("chance_in_class"))
        cells = (*map(_cell, shares), bounds, *map(_cell, chances))
        rows.append((row["magnification"], f"{row['test_images']:,}", *cells))
    lines = text_table(head, rows)
    lines += folded(f"Vectors: {found['num_features']:,} numbers of {found['backbone']}. {found['how']}")
    lines += folded(class_sentence(found["rows"]))
    lines += folded(found["sentence"] or "Whether images of one specimen look alike is not known here.")
    return "\n".join(lines)


def class_sentence(rows: list[dict[str, Any]]) -> str:
    """Return how often the nearest neighbour has the right class, with and without the own specimen."""
    if not rows:
        return "No magnification has two images, so no image has a neighbour."
    found = rows[-1]["same_class"]
    text = f"The nearest neighbour has the same class for {percent(found['nearest'])} of the test images"
    if found["other_specimens"] is None:
        return f"{text}."
    return f"{text}, and for {percent(found['other_specimens'])} if images of the same specimen are left out."


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
