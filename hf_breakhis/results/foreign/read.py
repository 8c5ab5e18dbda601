"""Predictions that another program wrote: which column is what, which image a name is, and what the scores mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hf_breakhis.data.filenames import TUMOR_TYPES
from hf_breakhis.files import InputError
from hf_breakhis.results.foreign.columns import (
    COLUMNS,
    ONLY_CLASSES,
    by_plain_name,
    few_names,
    find_columns,
    first_column,
)
from hf_breakhis.results.foreign.names import describe_names, parse_foreign_name
from hf_breakhis.results.foreign.own_classes import Difference, compare_classes
from hf_breakhis.results.foreign.values import (
    TARGETS,
    is_malignant,
    map_classes,
    numbers,
    to_probabilities,
    tumor_types_of,
)
from hf_breakhis.tables import foreign_rows

TEST_PARTS = ("test", "testing", "")
SMALLEST = 5e-5  # stands for a probability of 0, which has no logit; within what `read_predictions` tolerates


@dataclass(frozen=True)
class Foreign:
    """One file of predictions.

    Attributes:
        path: the file.
        rows: one row for each image: file_name, label, tumor_type, patient_id, specimen_id, magnification, fold (""
            without such a column), predicted, and prob_CLASS and logit_CLASS.
        columns: what -> name of the column that was used.
        target: "malignancy" or "tumor_type".
        scores: what the numbers are; "classes" if there are only predicted classes.
        ties: images whose highest score belongs to several classes.
        is_breakhis: every image is one of BreakHis.
        seen: images that the file itself calls training images of the model, as a table of `predict` does.
        has_types: the predicted classes are tumour types, and were mapped to benign and malignant.
        votes: the smallest and the largest sum of the votes of a row; None if the scores are no votes.
        difference: how predicted classes of the file differ from the classes with the highest score; None if they do
            not, or if there are none.
    """

    path: Path
    rows: pd.DataFrame
    columns: dict[str, str]
    target: str
    scores: str
    ties: int
    is_breakhis: bool
    seen: int = 0
    has_types: bool = False
    votes: tuple[float, float] | None = None
    difference: Difference | None = None


def read_foreign(path: Path, given: Mapping[str, str], scores: str = "auto") -> Foreign:
    """Read the predictions of another program.

    Args:
        path: CSV, TSV, JSON or Parquet.
        given: key -> column, for columns that are not found by their names: keys of `COLUMNS` and class names. "" says
            that a column is not used.
        scores: one of `SCORES`.

    Raises:
        InputError: the file, a column, a name, a label or a number cannot be used, or predicted classes contradict
            the scores.
    """
    columns, cells = foreign_rows(path)
    found, by_class, kind = find_columns(columns, given, path, scores == ONLY_CLASSES)
    kind = kind if scores == "auto" else scores
    chosen = found | {f"prob_{key}": name for key, name in by_class.items()}
    wanted = {key: columns.index(name) for key, name in chosen.items()}
    table = pd.DataFrame([[row[i] for i in wanted.values()] for row in cells], columns=list(wanted), dtype=str)
    if "part" in table:
        table = table[table["part"].str.lower().isin(TEST_PARTS)].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{path} has no rows of test images. Give one row for each test image.")
    target = "tumor_type" if by_class and set(by_class) <= set(TUMOR_TYPES) else "malignancy"
    classes = TARGETS[target]
    rows = describe_names(table, path)
    is_breakhis = bool(rows.attrs["is_breakhis"])
    rows["label"] = _labels(table, rows, target, path, is_breakhis, optional=True)
    rows["fold"] = table.get("fold", "")
    own, has_types = _predicted_classes(table, target, path, is_breakhis, has_scores=bool(by_class))
    seen = int(table["seen"].str.lower().isin(("true", "1", "yes")).sum()) if "seen" in table else 0
    votes, difference = None, None
    if by_class:
        values = np.stack([numbers(table[f"prob_{name}"], path, kind) for name in by_class], axis=1)
        prob, kind = to_probabilities(values, list(by_class), classes, kind, path)
        if kind == "votes":
            votes = float(values.sum(1).min()), float(values.sum(1).max())
        ties = int((np.isclose(prob, prob.max(1, keepdims=True), rtol=0, atol=1e-9).sum(1) > 1).sum())
        predicted = prob.argmax(1)
        if own is not None:
            predicted, difference = compare_classes(prob, own, rows, table["predicted"], classes, path)
    elif own is not None:
        predicted, kind, ties = own, ONLY_CLASSES, 0
        prob = np.eye(len(classes))[predicted]
    # Equal to the logits of the other program up to a constant, which changes no probability.
    logits = np.log(np.where(prob > 0, prob, SMALLEST))
    rows = rows.assign(**{f"logit_{name}": logits[:, k] for k, name in enumerate(classes)})
    rows = rows.assign(**{f"prob_{name}": prob[:, k] for k, name in enumerate(classes)}, predicted=predicted)
    return Foreign(path, rows, found | by_class, target, kind, ties, is_breakhis, seen, has_types, votes, difference)


def _predicted_classes(
    table: pd.DataFrame, target: str, path: Path, is_breakhis: bool, has_scores: bool
) -> tuple[np.ndarray | None, bool]:
    """Return the predicted classes of the file, (n,) or None, and whether they were mapped from tumour types."""
    if "predicted" not in table:
        return None, False
    types = tumor_types_of(table["predicted"]) if target == "malignancy" and is_breakhis else None
    if types is not None:
        return is_malignant(types), True
    return map_classes(table["predicted"], target, path, optional=has_scores), False


def _labels(
    table: pd.DataFrame, rows: pd.DataFrame, target: str, path: Path, is_breakhis: bool, optional: bool = False
) -> np.ndarray:
    """Return the classes that the names say, or a column; both have to agree. An `optional` one can be left out."""
    if not is_breakhis:
        if "label" not in table:
            raise InputError(f"{path} has no column with the true class. Give --columns label=...")
        return map_classes(table["label"], target, path)
    types = rows["tumor_type"].map(list(TUMOR_TYPES).index).to_numpy(dtype=int)
    of_name = types if target == "tumor_type" else is_malignant(types)
    if "label" in table:
        named = tumor_types_of(table["label"])
        same = map_classes(table["label"], target, path, optional) == of_name if named is None else named == types
        wrong = ~same
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"{path}: the true class of {int(wrong.sum()):,} of {len(rows):,} rows contradicts the name, such as "
                f"{rows['file_name'].iloc[row]} with {table['label'].iloc[row]!r}. Correct them, or remove the column."
            )
    return of_name


def find_names(path: Path, target: str, is_breakhis: bool) -> pd.DataFrame:
    """Read the images of a training list: a table with their names, or one name in each line.

    Returns:
        Columns file_name, patient_id, specimen_id and label; fold as text if the table has it.
    """
    columns, cells = foreign_rows(path)
    rows = list(cells)
    if len(columns) == 1 and (parse_foreign_name(columns[0]) or not rows):
        rows, columns = [columns, *rows], ["file_name"]
    plain = by_plain_name(columns)
    named = {
        key: first_column(words.split(), plain, key, path, "Rename or remove one of them.")
        for key, words in COLUMNS.items()
    }
    used = {key: columns.index(name) for key, name in named.items() if name}
    if "name" not in used:
        raise InputError(
            f"{path} has the columns {few_names(columns)}, none with names of images. Name one file_name."
        )
    table = pd.DataFrame([[row[k] for k in used.values()] for row in rows], columns=list(used), dtype=str)
    if "part" in table:
        table = table[table["part"].str.lower().isin(("train", "training"))].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{path} has no training images. Give the name of each.")
    found = describe_names(table, path)
    if bool(found.attrs["is_breakhis"]) != is_breakhis:
        raise InputError(f"{path} has images of another data set than the predictions. Give their training list.")
    labels = _labels(table, found, target, path, is_breakhis) if is_breakhis or "label" in table else 0
    found = found.assign(label=labels)[["file_name", "patient_id", "specimen_id", "label"]]
    return found.assign(fold=table["fold"]) if "fold" in table else found
