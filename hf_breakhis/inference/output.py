"""Scores as lines of CSV or JSON, and what they add up to where the classes are known."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from hf_breakhis.files import counted
from hf_breakhis.inference.inputs import InputImage
from hf_breakhis.inference.model import Decision
from hf_breakhis.inference.seen import Seen
from hf_breakhis.tables import harmless, harmless_path

DESCRIPTION = ("patient_id", "specimen_id", "magnification", "label")
MAX_FOREIGN = 4


class Rows:
    """Turns logits into rows.

    Args:
        classes: names in the order of their numbers.
        decision: adds the columns calibrated_CLASS and, with a threshold, `decision`.
        seen: adds the column `seen_in_training`.
    """

    def __init__(self, classes: Sequence[str], decision: Decision | None, seen: Seen | None) -> None:
        self.classes, self.decision, self.seen = list(classes), decision, seen
        self.decides = decision is not None and decision.threshold is not None and len(self.classes) == 2
        self.foreign: set[str] = set()  # labels of images that are no classes of the model, the first few
        self.columns = ["path", *(f"prob_{name}" for name in classes), "predicted"]
        if decision is not None:
            self.columns += [f"calibrated_{name}" for name in classes]
        if self.decides:
            self.columns.append("decision")
        self.columns += [*DESCRIPTION, *(["seen_in_training"] if seen is not None else [])]

    def schema(self) -> pa.Schema:
        """Return the types of the columns in a Parquet file."""

        def type_of(name: str) -> pa.DataType:
            if name.startswith(("prob_", "calibrated_")):
                return pa.float64()
            return pa.bool_() if name == "seen_in_training" else pa.string()

        return pa.schema([(name, type_of(name)) for name in self.columns])

    def make(self, items: Sequence[InputImage], logits: np.ndarray) -> Iterator[dict[str, Any]]:
        """Yield a row for each of n images and logits (n, num_classes); None is what nobody knows."""
        plain = softmax(logits, axis=1)
        calibrated = softmax(logits / self.decision.temperature, axis=1) if self.decision else plain
        for item, prob, other in zip(items, plain, calibrated, strict=True):
            row: dict[str, Any] = {"path": item.path, "predicted": self.classes[int(prob.argmax())]}
            row |= {f"prob_{name}": float(value) for name, value in zip(self.classes, prob, strict=True)}
            if self.decision is not None:
                row |= {f"calibrated_{name}": float(value) for name, value in zip(self.classes, other, strict=True)}
            if self.decides:
                row["decision"] = self.classes[int(other[1] >= self.decision.threshold)]  # type: ignore[union-attr]
            row |= {name: item.about.get(name) for name in DESCRIPTION[:3]}
            labels = item.about.get("labels", ())
            row["label"] = next((name for name in labels if name in self.classes), None)
            if labels and row["label"] is None and len(self.foreign) < MAX_FOREIGN:
                self.foreign.add(labels[0])
            if self.seen is not None:
                row["seen_in_training"] = self.seen.holds(
                    item.path, item.path if item.content is None else item.content
                )
            yield {name: row[name] for name in self.columns}


def csv_lines(rows: Sequence[dict[str, Any]], header: Sequence[str] = ()) -> str:
    """Return lines of CSV; no cell starts in a way that a spreadsheet would execute, and floats read back equal."""
    lines = [_csv_line(map(harmless, header))] if header else []
    for row in rows:
        lines.append(
            _csv_line(harmless_path(value) if name == "path" else harmless(value) for name, value in row.items())
        )
    return "".join(lines)


def _csv_line(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    # Python quotes what holds a letter of the line's end; a name may hold either.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def json_lines(rows: Sequence[dict[str, Any]]) -> str:
    """Return one JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


class Tally:
    """Counts right answers by patient; it grows with the patients, not with the images.

    The recognition rate is the mean over patients of the share of their images that are right.
    """

    def __init__(self) -> None:
        self.num_images = self.num_right = self.num_without_patient = 0
        self.patients: dict[str, list[int]] = {}

    def add(self, right: bool, patient_id: str | None) -> None:
        """Count one image."""
        self.num_images += 1
        self.num_right += right
        if not patient_id:
            self.num_without_patient += 1
            return
        counts = self.patients.setdefault(patient_id, [0, 0])
        counts[0] += right
        counts[1] += 1

    def sentence(self) -> str:
        """Return "recognition rate 0.8750 of 2 patients, accuracy 0.8000 of 5 images"."""
        accuracy = f"accuracy {self.num_right / self.num_images:.4f} of {counted(self.num_images, 'image')}"
        if self.num_without_patient:
            return f"{accuracy} (no recognition rate: {self.num_without_patient:,} of them have no patient)"
        rate = sum(right / number for right, number in self.patients.values()) / len(self.patients)
        return f"recognition rate {rate:.4f} of {counted(len(self.patients), 'patient')}, {accuracy}"
