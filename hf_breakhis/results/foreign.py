"""Predictions that another program wrote: which column is what, which image a name is, and what the scores mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from scipy.special import softmax

from hf_breakhis.data.filenames import CLASSES, TUMOR_TYPES, BreakHisName, parse_file_name
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.files import InputError, nearest, nearest_name
from hf_breakhis.tables import foreign_rows

COLUMNS = {
    "name": "file_name filename file image image_name img_name img image_path image_file image_id filepath path name",
    "label": "label true_label true_class y_true true truth target ground_truth actual class",
    "predicted": "predicted prediction pred y_pred predicted_class predicted_label pred_class pred_label",
    "fold": "fold",
    "part": "part",
    "patient_id": "patient_id patient",
    "specimen_id": "specimen_id specimen",
}
PREFIXES = {
    "prob": "probability", "probability": "probability", "p": "probability", "": "auto", "score": "auto",
    "percent": "percent", "votes": "votes", "logit": "logits", "logits": "logits",
}  # fmt: skip
SCORES = ("auto", "probability", "percent", "votes", "logits")
TEST_PARTS = ("test", "testing", "")
TARGETS = {"malignancy": CLASSES, "tumor_type": tuple(TUMOR_TYPES)}
SMALLEST = 5e-5  # stands for a probability of 0, which has no logit; within what `read_predictions` tolerates
ROUNDING = 2e-3  # of a sum of printed probabilities, for each class
ANY_ENDING = re.compile(r"\.(png|jpe?g|tiff?|bmp|npy|webp)$", re.IGNORECASE)


@dataclass(frozen=True)
class Foreign:
    """One file of predictions.

    Attributes:
        path: the file.
        rows: one row for each image: file_name, label, tumor_type, patient_id, specimen_id, magnification, fold (""
            without such a column), predicted, and prob_CLASS and logit_CLASS.
        target: "malignancy" or "tumor_type".
        scores: what the numbers are; "classes" if there are only predicted classes.
        ties: images whose highest score belongs to several classes.
        is_breakhis: every image is one of BreakHis.
    """

    path: Path
    rows: pd.DataFrame
    target: str
    scores: str
    ties: int
    is_breakhis: bool


def read_foreign(path: Path, given: Mapping[str, str], scores: str = "auto") -> Foreign:
    """Read the predictions of another program.

    Args:
        path: CSV, TSV, JSON lines or Parquet.
        given: name -> column, for columns that are not found by their names: keys of `COLUMNS` and class names.
        scores: one of `SCORES`.

    Raises:
        InputError: the file, a column, a name, a label or a number cannot be used.
    """
    columns, cells = foreign_rows(path)
    found, by_class, kind = find_columns(columns, given, path)
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
    rows["label"] = _labels(table, rows, target, path, is_breakhis)
    rows["fold"] = table.get("fold", "")
    if by_class:
        values = np.stack([_numbers(table[f"prob_{name}"], path, kind) for name in by_class], axis=1)
        prob, kind = to_probabilities(values, list(by_class), classes, kind, path)
        predicted = prob.argmax(1)
        ties = int((np.isclose(prob, prob.max(1, keepdims=True), rtol=0, atol=1e-9).sum(1) > 1).sum())
    else:
        predicted, kind, ties = map_classes(table["predicted"], target, path), "classes", 0
        prob = np.eye(len(classes))[predicted]
    logits = np.log(
        np.where(prob > 0, prob, SMALLEST)
    )  # those of the other program up to a constant, which changes nothing
    rows = rows.assign(**{f"logit_{name}": logits[:, k] for k, name in enumerate(classes)})
    rows = rows.assign(**{f"prob_{name}": prob[:, k] for k, name in enumerate(classes)}, predicted=predicted)
    return Foreign(path, rows, target, kind, ties, is_breakhis)


def find_columns(
    columns: Sequence[str], given: Mapping[str, str], path: Path
) -> tuple[dict[str, str], dict[str, str], str]:
    """Return the columns by what they hold, those of the classes by class, and what the numbers are."""
    allowed = [*COLUMNS, *CLASSES, *TUMOR_TYPES]
    for key, name in given.items():
        if key not in allowed:
            raise InputError(f"--columns has `{key}`; allowed are {', '.join(allowed)}.{nearest(key, allowed)}")
        if name not in columns:
            raise InputError(f"{path} has no column {name!r}; it has {_few(columns)}.{nearest(name, list(columns))}")
    plain = {_plain(name): name for name in reversed(columns)}
    found = {
        key: given.get(key) or next((plain[word] for word in words.split() if word in plain), "")
        for key, words in COLUMNS.items()
    }
    found = {key: name for key, name in found.items() if name}
    by_class, kind = {key: given[key] for key in allowed if key in given and key not in COLUMNS}, "auto"
    if not by_class:
        by_class, kind = _class_columns(plain)
    if "name" not in found:
        raise InputError(f"{path} has the columns {_few(columns)}, none with names of images. Give --columns name=...")
    if not by_class and "predicted" not in found:
        raise InputError(
            f"{path} has the columns {_few(columns)}, none with a score or a predicted class. Give --columns "
            'malignant="..." or predicted="...".'
        )
    if len({*by_class} & set(CLASSES)) and len({*by_class} & set(TUMOR_TYPES)):
        raise InputError("--columns has malignancy and tumour types. Give the columns of one of them.")
    missing = set(TUMOR_TYPES) - set(by_class)
    if by_class and not set(by_class) & set(CLASSES) and missing:
        raise InputError(f"{path} has no score for {', '.join(sorted(missing))}. Give one for each tumour type.")
    return found, by_class, kind


def _class_columns(plain: Mapping[str, str]) -> tuple[dict[str, str], str]:
    words: list[dict[str, tuple[str, ...]]] = [{name: (name,) for name in CLASSES}]
    words.append({code: (code.lower(), name.replace(" ", "_")) for code, name in TUMOR_TYPES.items()})
    for prefix, kind in PREFIXES.items():
        for classes in words:
            forms = [(name, f"{prefix}_{form}".strip("_")) for name, forms in classes.items() for form in forms]
            by_class = {name: plain[form] for name, form in forms if form in plain}
            if by_class and (len(by_class) == len(classes) or len(classes) == 2):
                return by_class, kind
    return {}, "auto"


def describe_names(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return file_name, tumor_type, patient_id, specimen_id and magnification of each row."""
    parsed = {name: parse_foreign_name(name) for name in table["name"].unique()}
    known = _known_names()
    unknown = [name for name, one in parsed.items() if one is None or str(one) not in known]
    if len(unknown) == len(parsed) and "patient_id" in table:
        return _other_names(table, path)
    if unknown:
        count = int(table["name"].isin(unknown).sum())
        plain = PurePosixPath(unknown[0].replace("\\", "/")).name
        near = nearest_name(ANY_ENDING.sub("", plain) + ".png", known)
        raise InputError(
            f"{path}: {count:,} of {len(table):,} names ({100 * count / len(table):.1f} %) are no images of BreakHis, "
            f"such as {unknown[0][:100]!r}{f' (nearest: {near})' if near else ''}. Correct them; for other images add "
            "the columns patient_id and label."
        )
    names = [one for one in (parsed[name] for name in table["name"]) if one is not None]
    rows = pd.DataFrame(
        [(str(one), one.tumor_type, one.patient_id, one.specimen_id, one.magnification) for one in names],
        columns=["file_name", "tumor_type", "patient_id", "specimen_id", "magnification"],
    )
    rows.attrs["is_breakhis"] = True
    return rows


def parse_foreign_name(name: str) -> BreakHisName | None:
    """Read a BreakHis name given as a path of any system, with or without an ending; None if it is none."""
    plain = ANY_ENDING.sub("", name.replace("\\", "/").rpartition("/")[2].strip())
    try:
        return parse_file_name(f"{plain}.png")
    except InputError:
        return None


@cache
def _known_names() -> frozenset[str]:
    return frozenset(expected_file_names())


def _other_names(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    empty = (table["name"] == "") | (table["patient_id"] == "")
    if empty.any():
        raise InputError(f"{path}: {int(empty.sum()):,} rows have no name or no patient_id. Fill them in.")
    patients = table["patient_id"].map(harmless)
    specimens = table["specimen_id"].map(harmless) if "specimen_id" in table else patients
    rows = pd.DataFrame({"file_name": table["name"].map(harmless), "tumor_type": "", "patient_id": patients})
    rows = rows.assign(specimen_id=specimens, magnification="")
    rows.attrs["is_breakhis"] = False
    return rows


def harmless(text: str) -> str:
    """Return `text` so that a spreadsheet does not take it for a formula."""
    return f"./{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def _labels(table: pd.DataFrame, rows: pd.DataFrame, target: str, path: Path, is_breakhis: bool) -> np.ndarray:
    """Return the classes that the names say, or a column; both have to agree."""
    column = map_classes(table["label"], target, path) if "label" in table else None
    if not is_breakhis:
        if column is None:
            raise InputError(f"{path} has no column with the true class. Give --columns label=...")
        return column
    own = list(TUMOR_TYPES)
    of_name = rows["tumor_type"].map(own.index if target == "tumor_type" else _malignancy).to_numpy(dtype=int)
    if column is not None and (wrong := column != of_name).any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{path}: the true class of {int(wrong.sum()):,} of {len(rows):,} rows contradicts the name, such as "
            f"{rows['file_name'].iloc[row]} with {table['label'].iloc[row]!r}. Correct them, or remove the column."
        )
    return of_name


def _malignancy(tumor_type: str) -> int:
    return int(list(TUMOR_TYPES).index(tumor_type) >= len(TUMOR_TYPES) // 2)


def map_classes(column: "pd.Series[str]", target: str, path: Path) -> np.ndarray:
    """Return the numbers of classes given as numbers, names or letters, (n,)."""
    forms = {str(k): k for k in range(len(TARGETS[target]))} | {f"{k}.0": k for k in range(len(TARGETS[target]))}
    for k, name in enumerate(TARGETS[target]):
        forms |= {name.lower(): k, TUMOR_TYPES.get(name, name[0]).lower().replace(" ", "_"): k}
    plain = column.str.lower().str.replace(r"[\s-]+", "_", regex=True)
    wrong = ~plain.isin(list(forms))
    if wrong.any():
        values = sorted(set(column[wrong]))
        raise InputError(
            f"{path}: {_few(values)} in the column of classes {'is' if len(values) == 1 else 'are'} unknown; allowed "
            f"are {', '.join(forms)}. Correct the column."
        )
    return plain.map(forms).to_numpy(dtype=int)


def _numbers(column: "pd.Series[str]", path: Path, kind: str) -> np.ndarray:
    """Return the numbers of a column, (n,); a percent sign divides by 100, a comma is a decimal point."""
    what = str(column.name).removeprefix("prob_")
    percent = column.str.endswith("%")
    text = column.str.rstrip("%").str.strip().str.replace(r"^(-?\d*),(\d+(?:[eE][-+]?\d+)?)$", r"\1.\2", regex=True)
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=float, copy=True)
    good = np.isfinite(values)
    values[good] = [float(value) for value in text[good]]  # pandas may change the last bit
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"{path}: {int((~good).sum()):,} of {len(column):,} rows have no number in the column of {what}, such "
            f"as row {row + 1} with {column.iloc[row]!r}. Remove or correct these rows."
        )
    if percent.any() and not percent.all():
        raise InputError(f"{path}: only some numbers of {what} have a percent sign. Write all with it.")
    return values / 100 if percent.any() and kind in ("auto", "percent", "probability") else values


def to_probabilities(
    values: np.ndarray, given: Sequence[str], classes: Sequence[str], kind: str, path: Path
) -> tuple[np.ndarray, str]:
    """Return probabilities (n, num_classes) of scores (n, num_given), and what the scores were.

    "auto" takes numbers of 0 to 1 as probabilities. Numbers of all classes with the same sum above 1 in every row are
    shares of it (percent, votes), and so are whole numbers.
    """
    order = [given.index(name) for name in classes if name in given]
    values = values[:, order]
    if kind == "logits":
        if values.shape[1] == 1:  # of one class, as before a sigmoid
            values = np.concatenate([np.zeros_like(values), values], axis=1)
            values = values if given[0] == classes[1] else values[:, ::-1]
        return softmax(values, axis=1), kind
    if values.shape[1] == 1:
        largest = 100 if kind == "percent" and values.max() > 1 else 1
        if kind == "votes":
            raise InputError(f"{path}: votes of {given[0]} alone have no sum. Give the votes of both classes.")
        own = _within(values / largest, path, kind)
        return np.concatenate([own, 1 - own] if given[0] == classes[0] else [1 - own, own], axis=1), "probability"
    sums = values.sum(1)
    whole = bool((values == np.round(values)).all() and (values >= 0).all() and (sums > 1).all())
    equal = bool((values >= 0).all() and np.ptp(sums) <= ROUNDING * sums.max() * len(classes) and sums.min() > 1.5)
    if kind == "votes" or kind == "percent" or (kind == "auto" and (whole or equal)):
        if (values < 0).any() or (sums <= 0).any():
            raise InputError(f"{path}: votes are negative, or a row has none. Correct these rows.")
        return values / sums[:, None], "percent" if np.allclose(sums, 100, atol=0.5) else "votes"
    values = _within(values, path, kind)
    wrong = np.abs(sums - 1) > ROUNDING * len(classes)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{path}: the probabilities of {int(wrong.sum()):,} of {len(values):,} rows do not sum to 1, such as row "
            f"{row + 1} with {sums[row]:.4g}. Correct them, or give --scores logits or votes."
        )
    exact = np.abs(sums - 1) <= 1e-6
    return np.where(exact[:, None], values, values / sums[:, None]), "probability"


def _within(values: np.ndarray, path: Path, kind: str) -> np.ndarray:
    outside = ((values < 0) | (values > 1)).any(1)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(
            f"{path}: {int(outside.sum()):,} of {len(values):,} rows have a probability outside 0 to 1, such as row "
            f"{row + 1} with {', '.join(f'{v:g}' for v in values[row])}. Correct them, or give --scores logits, "
            "percent or votes."
        )
    return values


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def find_names(path: Path, target: str, is_breakhis: bool) -> pd.DataFrame:
    """Read the images of a training list: a table with their names, or one name in each line.

    Returns:
        Columns file_name, patient_id, specimen_id and label; fold as text if the table has it.
    """
    columns, cells = foreign_rows(path)
    rows = list(cells)
    if len(columns) == 1 and (parse_foreign_name(columns[0]) or not rows):
        rows, columns = [columns, *rows], ["file_name"]
    plain = {_plain(name): k for k, name in reversed(list(enumerate(columns)))}
    places = {key: next((plain[w] for w in words.split() if w in plain), None) for key, words in COLUMNS.items()}
    used = {key: place for key, place in places.items() if place is not None}
    if "name" not in used:
        raise InputError(f"{path} has the columns {_few(columns)}, none with names of images. Name one file_name.")
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
