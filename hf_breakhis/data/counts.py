"""What is there: counts by class, tumour type, magnification and group, and which images to show of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd

from hf_breakhis.data.filenames import TUMOR_TYPES
from hf_breakhis.data.images import Images, placeless, public_findings
from hf_breakhis.data.integrity.findings import Findings
from hf_breakhis.files import InputError
from hf_breakhis.text import MAX_WIDTH, folded, text_table

CANDIDATES = 9
GROUPS = {"patients": "patient_id", "specimens": "specimen_id"}


def columns_of(dataset: datasets.Dataset) -> pd.DataFrame:
    """Return all columns but the images, with `label` as the name of the class; None where a source knows nothing."""
    table = dataset.remove_columns("image").to_pandas()
    names = dataset.features["label"].names
    result: pd.DataFrame = table.assign(label=[names[label] for label in table["label"]])
    return result


def original_bytes(image: dict[str, Any]) -> bytes:
    """Return the bytes of an image's file, as it was published, from a row of `datasets.Image(decode=False)`.

    Raises:
        InputError: the file is gone since it was listed.
    """
    if image["bytes"] is not None:
        result: bytes = image["bytes"]
        return result
    try:
        return Path(image["path"]).read_bytes()
    except OSError as error:
        raise InputError(
            f"Cannot read {image['path']}: {error.strerror}; begin again with all files there."
        ) from error


def magnifications_of(table: pd.DataFrame) -> list[str]:
    """Return the magnifications that occur, from low to high."""
    return sorted(set(table["magnification"].dropna()), key=lambda name: (len(name), name))


def _in_order(types: Iterable[str]) -> list[str]:
    """Sort tumour types: those of BreakHis as in their table, then others by name."""
    known = list(TUMOR_TYPES)
    return sorted(types, key=lambda name: (known.index(name) if name in known else len(known), name))


def count_images(dataset: datasets.Dataset) -> pd.DataFrame:
    """Count images and groups: one row a class, below it its tumour types, and one row of all.

    Returns:
        columns `class` ("all" in the last row), `tumor_type` ("" in the rows of a class and of all), `images`, one
        for each magnification that occurs, and `patients` and `specimens` where their ids are known.
    """
    table = columns_of(dataset)
    groups = {name: column for name, column in GROUPS.items() if table[column].notna().any()}
    magnifications = magnifications_of(table)

    def count(name: str, tumor_type: str, part: pd.DataFrame) -> dict[str, Any]:
        row = {"class": name, "tumor_type": tumor_type, "images": len(part)}
        row |= {one: int((part["magnification"] == one).sum()) for one in magnifications}
        return row | {group: part[column].nunique() for group, column in groups.items()}

    rows = []
    for name in dataset.features["label"].names:
        part = table[table["label"] == name]
        rows.append(count(name, "", part))
        types = _in_order(set(part["tumor_type"].dropna()))
        if types != [name]:  # with the tumour types as classes there is nothing below them
            rows += [count(name, one, part[part["tumor_type"] == one]) for one in types]
    rows.append(count("all", "", table))
    return pd.DataFrame(rows)


def data_info(images: Images) -> str:
    """Return what `data info` prints: where the images are from, warnings, counts, and what the groups mean."""
    table = columns_of(images.dataset)
    heading = f"{images.source}: {len(table):,} images from {images.location}"
    paragraphs = [
        [heading],
        [*images.cautions, *images.findings],
        _count_lines(images.dataset),
        _group_lines(table, images.about.has_breakhis_names),
    ]
    return "\n\n".join("\n".join(map(_fold, lines)) for lines in paragraphs if lines)


def _fold(line: str) -> str:
    """Break a long sentence; a row of the table is never long, and its spaces count."""
    return line if len(line) <= MAX_WIDTH else "\n".join(folded(line))


def _count_lines(dataset: datasets.Dataset) -> list[str]:
    counts = count_images(dataset)
    numbers = list(counts.columns[2:])
    names = [
        f"  {tumor:<2}  {TUMOR_TYPES.get(tumor, '')}".rstrip() if tumor else name
        for name, tumor in zip(counts["class"], counts["tumor_type"], strict=True)
    ]
    rows = [
        (name, *(f"{number:,}" for number in row)) for name, row in zip(names, counts[numbers].to_numpy(), strict=True)
    ]
    return text_table(("", *numbers), rows)


def _group_lines(table: pd.DataFrame, is_breakhis: bool) -> list[str]:
    """Say how images spread over patients, and of BreakHis which specimens have several slide folders."""
    unknown = int(table["patient_id"].isna().sum())
    if unknown:
        return [f"The patient of {unknown:,} of {len(table):,} images is not known: no split by patient is possible."]
    sizes = table.groupby("patient_id").size()
    median = f"{sizes.median():g}"
    lines = [f"Images of a patient: {sizes.min()} to {sizes.max()}, median {median}."]
    if is_breakhis:
        lines.append("A patient is a slide folder, as the authors of BreakHis count; a specimen is its number alone.")
        folders = table.groupby("specimen_id")["patient_id"].nunique()
        several = folders[folders > 1].index.tolist()
        if several:
            lines.append(f"Specimens of more than one slide folder: {', '.join(several)}.")
    return lines


@dataclass(frozen=True)
class Sheet:
    """Which image stands where on a contact sheet.

    Attributes:
        rows: (label, class, tumour type or None) of each row.
        columns: heading of each column, "" where it has none.
        cells: (rows, columns) row numbers of the data set; -1 where there is no such image.
    """

    rows: list[tuple[int, str, str | None]]
    columns: list[str]
    cells: np.ndarray


def choose_sheet(dataset: datasets.Dataset, seed: int = 0, min_columns: int = 4) -> Sheet:
    """Choose images for a contact sheet: a row for each class or tumour type, a column for each magnification.

    Where a source knows fewer than `min_columns` magnifications, each gets several columns. The same seed gives the
    same images; within a cell, images of several patients come before a second one of the same.
    """
    table = columns_of(dataset)
    names = dataset.features["label"].names
    kinds = table[["label", "tumor_type"]].drop_duplicates()
    pairs = [(names.index(name), name, None if pd.isna(tumor) else tumor) for name, tumor in kinds.to_numpy()]
    order = _in_order({tumor for _, _, tumor in pairs if tumor})
    pairs.sort(key=lambda pair: (pair[0], order.index(pair[2]) if pair[2] else -1))
    magnifications = magnifications_of(table)
    repeat = -(-min_columns // max(1, len(magnifications)))
    wanted = [(name, k) for name in magnifications or [""] for k in range(repeat)]
    cells = np.full((len(pairs), len(wanted)), -1)
    rng = np.random.default_rng(seed)
    for i, (_, label, tumor) in enumerate(pairs):
        of_kind = (table["label"] == label) & ((table["tumor_type"] == tumor) | (tumor is None))
        for name in magnifications or [""]:
            there = of_kind & (table["magnification"] == name) if name else of_kind
            chosen = _draw(table, np.flatnonzero(there), repeat, rng)
            at = [j for j, column in enumerate(wanted) if column[0] == name]
            cells[i, at[: len(chosen)]] = chosen
    return Sheet(pairs, [name for name, _ in wanted], cells)


def choose_pair(
    dataset: datasets.Dataset, seed: int = 0, score: Callable[[int], float | None] | None = None
) -> list[int]:
    """Choose one image of each class, of one magnification where all have one: for the paper's Figures 1 and 2.

    Args:
        dataset: has `COLUMNS`.
        seed: another one gives other images.
        score: something about the image of a row, None if it is unknown. Of `CANDIDATES` drawn images, of as many
            patients as possible, the one in the middle is then taken: one frame in ten shows no tumour at all.
    """
    table = columns_of(dataset)
    present = [name for name in dataset.features["label"].names if (table["label"] == name).any()]
    shared = [
        magnification
        for magnification in magnifications_of(table)
        if table[table["magnification"] == magnification]["label"].nunique() == len(present)
    ]
    rng = np.random.default_rng(seed)
    inside = table["magnification"] == shared[len(shared) // 2] if shared else pd.Series(True, index=table.index)
    chosen = []
    for name in present:
        drawn = _draw(table, np.flatnonzero(inside & (table["label"] == name)), CANDIDATES, rng).tolist()
        scores = [(value, row) for row in drawn if score and (value := score(row)) is not None]
        chosen.append(sorted(scores)[len(scores) // 2][1] if scores else drawn[0])
    return chosen


def _draw(table: pd.DataFrame, rows: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw up to `number` rows, of as many patients as possible."""
    rows = rng.permutation(rows)
    patients = table["patient_id"].iloc[rows]
    turn = patients.groupby(patients, dropna=False).cumcount().to_numpy()  # 0 for the first image of a patient, ...
    return rows[np.argsort(turn, kind="stable")][:number]


def describe_data(images: Images, findings: Findings) -> dict[str, Any]:
    """Return the content of `data.json`: source, counts, findings and warnings."""
    table, about = images.dataset.remove_columns("image").to_pandas(), images.about
    names = dict(enumerate(images.dataset.features["label"].names))
    counts = {
        "label": table["label"].map(names).value_counts(),
        "tumor_type": table["tumor_type"].value_counts(),
        "magnification": table["magnification"].value_counts(),
        "patient": table["patient_id"].value_counts(),
    }
    groups = {f"num_{group}s": table[f"{group}_id"].nunique() or None for group in ("patient", "specimen")}
    return {
        "source": about.key,
        "title": about.title,
        "is_generated": about.is_generated,
        "names_are_public": about.names_are_public,
        "location": images.location,
        "revision": images.revision,
        "manifest_sha256": findings.manifest_sha256,
        "num_images": len(table),
        **groups,
        "counts": {name: count.sort_index().to_dict() for name, count in counts.items()},
        "findings": placeless([*public_findings(images), *findings.findings], images.location),
        "warnings": placeless(images.warnings, images.location),
        **({} if images.has_files else {"has_files": False}),
    }
