"""The fields of the JSON files of a run and the columns of its tables, for the checked readers in run.py."""

from pathlib import Path
from typing import TYPE_CHECKING

from hf_breakhis.files import InputError
from hf_breakhis.tables import NUMBER, OPTIONAL_TEXT, Fields, as_floats, as_integers, read_table

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "validation", "test", "reserve", "unused")
COLOR_COLUMNS = ("mean_r", "mean_g", "mean_b", "sd_r", "sd_g", "sd_b")
HISTORY_COLUMNS = "epoch step learning_rate train_loss eval_part eval_loss eval_accuracy eval_roc_auc".split()
PARAMETERS = ("trained_parameters", "parameters")  # numbers in metrics.json and in the protocol, with `lora`
_COUNT = (int, type(None))
DATA: Fields = {
    "source": str, "location": OPTIONAL_TEXT, "manifest_sha256": str, "num_images": int, "num_patients": _COUNT,
    "num_specimens": _COUNT, "counts": dict, "findings": list, "warnings": list,
}  # fmt: skip
SUMMARY: Fields = {
    "name": str, "data": dict, "protocol": dict, "classes": list, "headline": dict, "warnings": list,
}  # fmt: skip
CAUTION: Fields = {"kind": str, "text": str}
DECISION: Fields = {
    "rule": OPTIONAL_TEXT, "reason": OPTIONAL_TEXT, "threshold": (*NUMBER, type(None)),
    "temperature": (*NUMBER, type(None)),
}  # fmt: skip
COST: Fields = {"folds": dict, "total_seconds": NUMBER, "hardware": dict}
FOLD_COST: Fields = {"train_seconds": NUMBER, "predict_seconds": NUMBER, "train_images_per_second": NUMBER}
EXAMPLE: Fields = {"file_name": str, "label": int, "predicted": int, "probability": NUMBER, "kind": str}
EXPLAINED: Fields = {"weights_sha256": str, "methods": list, "images": list, "deletion": dict}
EVALUATION: Fields = {
    "model": dict, "decision": dict, "internal": (dict, type(None)), "training": dict, "classes": dict,
}  # fmt: skip


def read_folds(path: Path, remedy: str) -> "pd.DataFrame":
    """Read folds.csv: one row for each fold and image."""
    table = read_table(path, ("file_name", "patient_id", "specimen_id", "label", "fold", "part"), remedy)
    wrong = ~table["part"].isin(PARTS)
    if wrong.any():
        raise InputError(f"{path}: `part` is {table['part'][wrong].iloc[0]!r}; allowed are {', '.join(PARTS)}.")
    return table.assign(**{name: as_integers(table[name], path) for name in ("label", "fold")})


def read_colors(path: Path, remedy: str) -> "pd.DataFrame":
    """Read colors.csv: mean and standard deviation of the color channels of each image, indexed by file name."""
    import pandas as pd

    table = read_table(path, ("file_name", *COLOR_COLUMNS), remedy).set_index("file_name")
    return pd.DataFrame({name: as_floats(table[name], path) for name in COLOR_COLUMNS}, index=table.index)


def read_history(path: Path, remedy: str) -> "pd.DataFrame":
    """Read history.csv: one row per epoch; a value that was not logged is NaN, a part None."""
    text = read_table(path, HISTORY_COLUMNS, remedy)
    table = text.assign(**{name: as_integers(text[name], path) for name in ("epoch", "step")})
    for name in HISTORY_COLUMNS:
        if name not in ("epoch", "step", "eval_part"):
            absent = text[name] == ""
            table[name] = as_floats(text[name].mask(absent, "0"), path)
            table.loc[absent, name] = float("nan")
    return table.assign(eval_part=text["eval_part"].mask(text["eval_part"] == "", None))
