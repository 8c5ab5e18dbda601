"""Scores by patient or specimen, sorted by risk, with the zones of the run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from hf_breakhis.data.walk import normal_path
from hf_breakhis.files import InputError
from hf_breakhis.inference.inputs import InputImage, Unreadable
from hf_breakhis.inference.model import Weights
from hf_breakhis.inference.output import csv_lines, json_lines
from hf_breakhis.results.scores.conformal import ZONES, zones_of
from hf_breakhis.results.scores.decisions import AGGREGATIONS, UNITS
from hf_breakhis.run import DECISION, REFIT
from hf_breakhis.tables import read_mapping, read_table

NO_BENEFIT = "nobody has shown that this order or these zones help a patient"
REFIT_ONLY = (
    "they are those of a refit, a model trained on all images of the run. The model of one fold may exceed the "
    "guarantee. Run `hf-breakhis train RECIPE --fold refit` and `predict --fold refit`"
)
USE = "for research, not for diagnosis"  # in each row, because a list is passed on without the terminal
TYPES = {"rank": pa.int64(), "num_images": pa.int64(), "score": pa.float64(), "seen_in_training": pa.bool_()}


def read_groups(path: Path, unit: str) -> dict[str, dict[str, str]]:
    """Read a table with `file_name` and `patient_id` or `specimen_id` (or both): file name -> these columns.

    Raises:
        InputError: a column is missing, or a file name has two patients.
    """
    table = read_table(path, ("file_name", f"{unit}_id"), "give a CSV file with these columns")
    columns = [f"{name}_id" for name in UNITS if f"{name}_id" in table.columns]
    known = table.drop_duplicates(["file_name", *columns])
    twice = known["file_name"][known["file_name"].duplicated()]
    if len(twice):
        raise InputError(f"{path} has {twice.iloc[0]} with several {unit}s. Give each file name once.")
    return {
        normal_path(str(row["file_name"])): {name: str(row[name]) for name in columns} for _, row in known.iterrows()
    }


def with_groups(
    found: Iterable[InputImage | Unreadable], unit: str, groups: Mapping[str, Mapping[str, str]] | None
) -> Iterator[InputImage | Unreadable]:
    """Yield the images with their patient or specimen.

    Args:
        found: images.
        unit: "patient" or "specimen".
        groups: of a table, by file name: the whole path, or the end of it.

    Raises:
        InputError: the patient or specimen of an image is unknown.
    """
    for one in found:
        if isinstance(one, Unreadable):
            yield one
            continue
        item = one if groups is None else replace(one, about={**one.about, **_of_table(one.path, groups)})
        if not item.about.get(f"{unit}_id"):
            raise InputError(
                f"The {unit} of {one.path} is unknown, so there is no list by {unit}. Give --metadata FILE.csv with "
                f"the columns file_name and {unit}_id, or leave out --by: scores by image can still be reported."
            )
        yield item


def _of_table(path: str, groups: Mapping[str, Mapping[str, str]]) -> Mapping[str, str]:
    parts = PurePosixPath(normal_path(path)).parts
    ends = ("/".join(parts[i:]) for i in range(len(parts)))
    return next((groups[end] for end in ends if end in groups), {})


class Worklist:
    """Adds up the rows of images to one row a patient or specimen.

    Args:
        weights: of the model.
        classes: names of its two classes.
        unit: "patient" or "specimen".
        aggregation: key of AGGREGATIONS.

    Attributes:
        notes: sentences about what the list lacks, and why.

    Raises:
        InputError: the model has other than two classes, or the rule needs a threshold that the model lacks.
    """

    def __init__(self, weights: Weights, classes: Sequence[str], unit: str, aggregation: str) -> None:
        if len(classes) != 2:
            raise InputError(f"--by {unit} needs a model of two classes; this one has {len(classes)}. Leave it out.")
        self.classes, self.unit, self.aggregation = list(classes), unit, aggregation
        decision = weights.decision
        self.image_threshold = None if decision is None else decision.threshold
        self.score_column = f"{'prob' if decision is None else 'calibrated'}_{classes[1]}"
        if aggregation == "share" and self.image_threshold is None:
            raise InputError("--aggregation share needs the threshold of images, which this model lacks. Give mean.")
        locked = _read_locked(weights)
        by_unit = (locked.get("by_unit") or {}).get(unit) or {}
        self.threshold, self.zones = by_unit.get(aggregation), zones_of(locked, aggregation)
        is_refit = weights.records is not None and weights.records[1] == REFIT
        self.notes = [NO_BENEFIT]
        if self.threshold is None:
            self.notes.append(f"no decision by {unit}: the model has no threshold of {unit}s")
        if self.zones is not None and not is_refit:
            self.zones = None
            self.notes.append(f"no zones: {REFIT_ONLY}")
        elif self.zones is None:
            reason = (locked.get("zones") or {}).get("reason") or "the model has none"
            self.notes.append(f"no zones: {reason}")
        else:
            self.notes.append(f"zones for an error of at most {100 * locked['zones']['error']:g} %: "
                              f"{locked['zones']['guarantee']}")  # fmt: skip
        self.ids: list[str] = []
        self.scores: list[float] = []
        self.seen: list[bool | None] = []
        self.labels: list[str | None] = []

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        optional = {"decision": self.threshold is not None, "zone": self.zones is not None}
        chosen = [name for name, there in optional.items() if there]
        return ["rank", f"{self.unit}_id", "num_images", "score", *chosen, "label", "seen_in_training", "use"]

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows of images."""
        for row in rows:
            self.ids.append(str(row[f"{self.unit}_id"]))
            self.scores.append(float(row[self.score_column]))
            self.seen.append(row.get("seen_in_training"))
            self.labels.append(row["label"])

    def rows(self) -> list[dict[str, Any]]:
        """Return one row a patient or specimen, highest score first; equal scores by name."""
        if not self.ids:
            return []
        names, case = np.unique(np.array(self.ids, dtype=str), return_inverse=True)
        score = np.array(self.scores)
        positive = score >= (2.0 if self.image_threshold is None else self.image_threshold)
        scores = AGGREGATIONS[self.aggregation](score, positive, case)
        places = None if self.zones is None else self.zones.place(scores)
        order = sorted(range(len(names)), key=lambda k: (-scores[k], names[k]))
        positions: list[list[int]] = [[] for _ in names]
        for position, own in enumerate(case):
            positions[own].append(position)
        found = []
        for rank, k in enumerate(order, start=1):
            labels = {self.labels[position] for position in positions[k]}
            row: dict[str, Any] = {"rank": rank, f"{self.unit}_id": str(names[k]), "num_images": len(positions[k])}
            row["score"] = float(scores[k])
            if self.threshold is not None:
                row["decision"] = self.classes[int(scores[k] >= self.threshold)]
            if places is not None:
                row["zone"] = ZONES[int(places[k])]
            row["label"] = labels.pop() if len(labels) == 1 else None
            row["seen_in_training"] = _any([self.seen[position] for position in positions[k]])
            row["use"] = USE
            found.append(row)
        return found

    def text(self, as_json: bool) -> str:
        """Return the list as CSV with a header, or as one JSON object a line."""
        rows = self.rows()
        return json_lines(rows) if as_json else csv_lines(rows, self.columns)

    def parquet(self) -> pa.Table:
        """Return the list as a table for a Parquet file."""
        schema = pa.schema([(name, TYPES.get(name, pa.string())) for name in self.columns])
        return pa.Table.from_pylist(self.rows(), schema)


def _any(seen: Sequence[bool | None]) -> bool | None:
    """Return whether any image was trained on; None if none is known to be, and some are unknown."""
    if any(seen):
        return True
    return None if None in seen else False


def _read_locked(weights: Weights) -> Mapping[str, Any]:
    """Return decision.json; empty where it is not about these weights, such as other members of an ensemble."""
    if weights.decision is None:
        return {}
    path = (weights.folder if weights.run is None else weights.run.folder) / DECISION
    return read_mapping(path, {}, "write it again, or delete it") if path.exists() else {}
