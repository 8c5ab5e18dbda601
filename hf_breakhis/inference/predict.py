"""Score images with a trained model, as a stream: what is in memory does not grow with their number."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from hf_breakhis.arguments import require
from hf_breakhis.files import InputError, counted, require_kind
from hf_breakhis.hardware import count_cores
from hf_breakhis.inference.classifier import Classifier, default_batch_size, open_classifier
from hf_breakhis.inference.decode import decode_all
from hf_breakhis.inference.inputs import InputImage, Unreadable, Unused, find_images
from hf_breakhis.inference.model import find_model
from hf_breakhis.inference.output import Rows, Tally, csv_lines, json_lines
from hf_breakhis.inference.seen import Seen
from hf_breakhis.settings import restored_settings

MAX_NAMED = 1000
ROW_GROUP = 10_000
FEW_NAMED = 3


@restored_settings()
def predict_images(
    model: str | os.PathLike[str],
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    fold: str | int | None = None,
    batch_size: int | None = None,
    members: str | None = None,
    tta: str | None = None,
) -> pd.DataFrame:
    """Score images and return one row an image, with the columns that `hf-breakhis predict` writes.

    Args:
        model: a run, a model folder, or OWNER/NAME on the Hub.
        paths: images, folders, patterns, archives or Parquet files, or one of these.
        fold: the fold of a run whose weights are used, a number or "refit"; by default 0.
        batch_size: images in the network at a time; by default it depends on the hardware.
        members: of an ensemble: "all", as by default, or the number of one network.
        tta: test-time augmentation: "none" or "dihedral"; by default that of the run.

    Raises:
        InputError: the model or a path cannot be used, or an image cannot be read.
    """
    takes = "predict_images takes a run, a model folder or OWNER/NAME"
    require_kind(model, (str, os.PathLike), takes, "for example 'outputs/c3'")
    require(batch_size is None or batch_size >= 1, f"`batch_size` is {batch_size}, but has to be at least 1.")
    weights = find_model(os.fspath(model), None if fold is None else str(fold), members=members, tta=tta)
    found = find_images(_each(paths))
    classifier = open_classifier(weights)
    rows = Rows(classifier.classes, weights.decision, weights.seen)
    prediction = Prediction(classifier, rows, found, batch_size or default_batch_size())
    table = pd.DataFrame([row for batch in prediction.batches() for row in batch], columns=rows.columns)
    if prediction.unreadable:
        first = prediction.unreadable[0]
        raise InputError(f"{counted(prediction.num_unreadable, 'image')} cannot be read. {first.path}: {first.reason}")
    return table


def _each(paths: Any) -> list[str]:
    takes, remedy = "predict_images takes paths of images", "for example images.location"
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    require_kind(given, Iterable, takes, remedy)
    listed = list(given)
    for path in listed:
        require_kind(path, (str, os.PathLike), takes, remedy)
    return [os.fspath(path) for path in listed]


def score_images(
    classifier: Classifier, found: Iterable[InputImage | Unreadable], batch_size: int
) -> Iterator[tuple[list[InputImage], np.ndarray] | Unreadable]:
    """Yield each batch of images with its logits (n, num_classes), and what cannot be read, in the order found.

    Threads decode the next batch in the meantime.

    Args:
        classifier: the model.
        found: images.
        batch_size: images that the network takes at a time.
    """
    threads = count_cores()
    decoded = decode_all(found, classifier.prepare, threads, max(2 * batch_size, 2 * threads))
    items: list[InputImage] = []
    images: list[Any] = []
    with tqdm(desc="Scoring", unit=" images", disable=None, file=sys.stderr) as bar:
        for one in chain(decoded, [None]):
            if isinstance(one, Unreadable):
                yield one
            elif one is not None:
                items.append(one[0])
                images.append(one[1])
            if items and (one is None or len(items) == batch_size):
                yield items, classifier.logits(images)
                bar.update(len(items))
                items, images = [], []


class Prediction:
    """The scores of a stream of images, to be written once.

    Args:
        classifier: the model.
        rows: makes its rows.
        found: images, as `find_images` gives them.
        batch_size: images that the network takes at a time.

    Attributes:
        unreadable: what could not be scored, the first `MAX_NAMED`.
        num_unreadable: how many these are in all.
        num_scored: how many images have a row.
        unused: the first files that are no images; `num_unused` says how many these are.
    """

    def __init__(
        self, classifier: Classifier, rows: Rows, found: Iterable[InputImage | Unreadable], batch_size: int = 32
    ) -> None:
        self.classifier, self.rows, self.found, self.batch_size = classifier, rows, found, batch_size
        self.unreadable: list[Unreadable] = []
        self.unused: list[str] = []
        self.num_unused = self.num_unlabelled = self.num_unknown = 0
        self.num_unreadable = self.num_scored = self.num_repeated = self.num_kin = 0
        self.digests: set[bytes] = set()  # of the images that count in a rate
        self.tallies: dict[tuple[bool | None, str], Tally] = {}

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """Yield the rows of each batch, in the order of the images; threads decode the next one meanwhile."""
        for one in score_images(self.classifier, self.found, self.batch_size):
            if isinstance(one, Unreadable):
                self._note(one)
                continue
            items, logits = one
            rows = list(self.rows.make(items, logits))
            for item, row in zip(items, rows, strict=True):
                self._count(row, item.digest)
            yield rows

    def write(self, write: Callable[[str], Any], as_json: bool) -> None:
        """Score everything and hand the lines to `write`, one batch at a time."""
        if not as_json:
            write(csv_lines([], self.rows.columns))
        for rows in self.batches():
            write(json_lines(rows) if as_json else csv_lines(rows))

    def write_parquet(self, path: Path) -> None:
        """Score everything and write a Parquet file, some thousand rows at a time."""
        schema = self.rows.schema()
        waiting: list[dict[str, Any]] = []
        with pq.ParquetWriter(path, schema) as writer:
            for rows in self.batches():
                waiting += rows
                if len(waiting) >= ROW_GROUP:
                    writer.write_table(pa.Table.from_pylist(waiting, schema))
                    waiting = []
            if waiting:
                writer.write_table(pa.Table.from_pylist(waiting, schema))

    def summary(self) -> Iterator[str]:
        """Yield sentences: how many, and how many of those whose class is known are right."""
        yield f"{counted(self.num_scored, 'image')} scored"
        own = "" if self.rows.seen is None else ", which was fitted on test images of this run"
        by = {"predicted": "most probable class", "decision": f"locked threshold{own}"}
        where_seen = {True: "; on images the model was TRAINED on: no test", False: "", None: ""}
        if self.rows.seen is not None:
            where_seen[None] = "; whether the model was trained on these images is unknown"
        for (seen, column), tally in sorted(self.tallies.items(), key=lambda one: (str(one[0][0]), one[0][1])):
            where = where_seen[seen]
            yield f"{tally.sentence()} ({by[column]}{where})"
        if self.rows.foreign:
            yield (
                f"no accuracy for images labelled {', '.join(sorted(self.rows.foreign))}: the classes of this model "
                f"are {', '.join(self.rows.classes)}; rename its classes (id2label in config.json) to compare them"
            )
        if self.num_repeated:
            copies = counted(self.num_repeated, "copy", "copies")
            once = ": each image counts once in these rates" if self.tallies else ""
            yield f"{copies} of images given before (equal files){once}"
        if self.tallies and self.num_unlabelled:
            yield f"the class of {counted(self.num_unlabelled, 'image')} is unknown: these numbers are without them"
        if self.num_unknown and self.rows.seen is not None:
            reason = "the run lists no image of that name"
            if self.rows.seen.is_generated:
                reason = "the run has generated images; these have other names, or no mark of a generated image"
            yield f"whether the model was trained on {counted(self.num_unknown, 'image')} is unknown: {reason}"
        if self.num_unused:
            more = f" and {self.num_unused - len(self.unused):,} more" * (self.num_unused > len(self.unused))
            yield f"not used, since no images: {counted(self.num_unused, 'file')} ({', '.join(self.unused)}{more})"
        if self.num_kin:
            yield (
                f"not in the training set, but of specimens in it: {counted(self.num_kin, 'image')}; "
                "these are too easy to be a test"
            )
        if self.tallies and self.rows.seen is None:
            yield "what this model was trained on is not known here: if these images were among it, this is no test"

    def _note(self, one: Unreadable) -> None:
        if isinstance(one, Unused):
            self.num_unused += 1
            if len(self.unused) < FEW_NAMED:
                self.unused.append(one.path)
            return
        self.num_unreadable += 1
        if len(self.unreadable) < MAX_NAMED:
            self.unreadable.append(one)

    def _count(self, row: dict[str, Any], digest: bytes) -> None:
        self.num_scored += 1
        seen = row.get("seen_in_training")
        known: Seen | None = self.rows.seen
        self.num_unlabelled += row["label"] is None
        self.num_unknown += known is not None and seen is None
        if known is None and row["label"] is None:
            return  # it counts nowhere, so it need not be remembered
        if digest in self.digests:
            self.num_repeated += 1
            return
        self.digests.add(digest)
        self.num_kin += known is not None and seen is False and row["specimen_id"] in known.specimens
        if row["label"] is None:
            return
        for column in ("predicted", *(["decision"] if self.rows.decides else [])):
            tally = self.tallies.setdefault((seen, column), Tally())
            tally.add(row[column] == row["label"], row["patient_id"])
