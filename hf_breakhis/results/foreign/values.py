"""What the cells of a table mean: classes, and scores as probabilities."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from hf_breakhis.data.filenames import CLASSES, MALIGNANT_TYPES, TUMOR_TYPES
from hf_breakhis.files import InputError
from hf_breakhis.results.foreign.columns import ONLY_CLASSES, few_names, name_forms

SCORES = ("auto", "probability", "percent", "votes", "logits", ONLY_CLASSES)
TARGETS = {"malignancy": CLASSES, "tumor_type": tuple(TUMOR_TYPES)}
ROUNDING = 2e-3  # of a sum of printed probabilities, for each class
WHOLE = 0.5  # of a percentage printed as a whole number


def map_classes(column: "pd.Series[str]", target: str, path: Path, optional: bool = False) -> np.ndarray:
    """Return the numbers of classes given as numbers, names or letters, (n,); `optional` columns can be left out."""
    forms = _forms_of(target)
    plain = _plain_cells(column)
    wrong = ~plain.isin(list(forms))
    if wrong.any():
        found = sorted(set(column[wrong]))
        what = "the true class" if column.name == "label" else "the predicted class"
        advice = f"Correct the column{f', or leave it out with --columns {column.name}=' if optional else ''}."
        if column.name == "predicted" and pd.to_numeric(column[wrong], errors="coerce").between(0, 1).all():
            advice = "If these are scores, give their column with --columns malignant=..."
        raise InputError(
            f"{path}: {few_names(found)} in the column of {what} {'is' if len(found) == 1 else 'are'} unknown; "
            f"allowed are {', '.join(forms)}, or for BreakHis a tumour type in every row. {advice}"
        )
    return plain.map(forms).to_numpy(dtype=int)


def malignancy_of(column: "pd.Series[str]") -> np.ndarray | None:
    """Return benign (0) or malignant (1) of each cell, (n,), also of tumour types; None if a cell is another word."""
    types = tumor_types_of(column)
    if types is not None:
        return is_malignant(types)
    forms, plain = _forms_of("malignancy"), _plain_cells(column)
    return plain.map(forms).to_numpy(dtype=int) if plain.isin(list(forms)).all() else None


def tumor_types_of(column: "pd.Series[str]") -> np.ndarray | None:
    """Return the numbers of tumour types in the order of `TUMOR_TYPES`, (n,); None if a cell is another word."""
    forms, plain = _forms_of_types(), _plain_cells(column)
    return plain.map(forms).to_numpy(dtype=int) if plain.isin(list(forms)).all() else None


def is_malignant(types: np.ndarray) -> np.ndarray:
    """Return the class of tumour types: 0 = benign, 1 = malignant."""
    malignant: np.ndarray = np.array([code in MALIGNANT_TYPES for code in TUMOR_TYPES], dtype=int)
    return np.take(malignant, types)


def _forms_of(target: str) -> dict[str, int]:
    """Return how cells write a class -> its number."""
    count = len(TARGETS[target])
    forms = {str(k): k for k in range(count)} | {f"{k}.0": k for k in range(count)}
    if target == "malignancy":
        return forms | {form: k for k, name in enumerate(CLASSES) for form in (name, name[0])}
    return forms | _forms_of_types()


def _forms_of_types() -> dict[str, int]:
    return {
        form: k for k, (code, name) in enumerate(TUMOR_TYPES.items()) for form in (code.lower(), *name_forms(name))
    }


def _plain_cells(column: "pd.Series[str]") -> "pd.Series[str]":
    return column.str.lower().str.replace(r"[\s-]+", "_", regex=True)


def numbers(column: "pd.Series[str]", path: Path, kind: str) -> np.ndarray:
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
    shares of it (percent, votes). "votes" are shares of the sum of their own row.

    Raises:
        InputError: the numbers are not what `kind` says, or "auto" cannot say what they are.
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
    if kind in ("votes", "percent") or (kind == "auto" and _are_shares(values, path)):
        return _shares(values, kind, path)
    values = _within(values, path, kind)
    sums = values.sum(1)
    _require_sum(np.abs(sums - 1) <= ROUNDING * len(classes), sums, "probabilities", "1", path)
    exact = np.abs(sums - 1) <= 1e-6
    return np.where(exact[:, None], values, values / sums[:, None]), "probability"


def _are_shares(values: np.ndarray, path: Path) -> bool:
    """Say whether the numbers of all classes are percent or votes: their sums are equal, and more than 1."""
    sums = values.sum(1)
    if (values < 0).any() or sums.min() <= 1.5:
        return False
    whole = bool((values == np.round(values)).all())
    if _are_percent(values, sums) or np.ptp(sums) <= (0 if whole else ROUNDING * sums.max() * values.shape[1]):
        return True
    if whole:
        common = float(pd.Series(sums).mode()[0])
        row = int(np.argmax(sums != common))
        raise InputError(
            f"{path}: the numbers of {int((sums != common).sum()):,} of {len(sums):,} rows do not sum to {common:g}, "
            f"as most rows do, such as row {row + 1} with {sums[row]:g}. Correct them, or give --scores votes to "
            "divide each row by its own sum, or --scores logits."
        )
    return False


def _are_percent(values: np.ndarray, sums: np.ndarray) -> bool:
    """Say whether sums are 100 within the rounding of each number, which is finer for numbers with decimals."""
    whole = bool((values == np.round(values)).all())
    return bool((np.abs(sums - 100) <= (WHOLE if whole else 100 * ROUNDING) * values.shape[1] + 1e-6).all())


def _shares(values: np.ndarray, kind: str, path: Path) -> tuple[np.ndarray, str]:
    sums = values.sum(1)
    if (values < 0).any() or (sums <= 0).any():
        row = int(np.argmax((values < 0).any(1) | (sums <= 0)))
        raise InputError(f"{path}: votes or percent of row {row + 1} are negative or all 0. Correct these rows.")
    if kind == "percent":
        total = 1 if sums.max() <= 1.5 else 100  # numbers with a percent sign have been divided by 100
        _require_sum(np.abs(sums - total) <= WHOLE * total / 100 * values.shape[1] + 1e-6, sums, kind, total, path)
    return values / sums[:, None], "percent" if kind == "percent" or _are_percent(values, sums) else "votes"


def _require_sum(good: np.ndarray, sums: np.ndarray, what: str, total: object, path: Path) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"{path}: the {what} of {int((~good).sum()):,} of {len(good):,} rows do not sum to {total}, such as row "
            f"{row + 1} with {sums[row]:.4g}. Correct them, or give --scores logits or votes."
        )


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
