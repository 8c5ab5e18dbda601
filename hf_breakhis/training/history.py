"""The learning curve of a fold: one row per epoch."""

import numpy as np
import pandas as pd

from hf_breakhis.run import HISTORY_COLUMNS


def history(log: list[dict[str, float]], watched: str) -> pd.DataFrame:
    """Turn the log of the Trainer into one row per epoch.

    Args:
        log: `trainer.state.log_history`.
        watched: the part that was evaluated, "test" or "validation".

    Returns:
        `HISTORY_COLUMNS`; the training loss is the mean over the updates of the epoch.
    """
    table = pd.DataFrame(log)
    table["epoch"] = np.ceil(table["epoch"] - 1e-6).astype(int)
    trained = table.dropna(subset=["loss"]) if "loss" in table else table.iloc[:0]
    # Each loss is the mean since the previous one; an epoch that was stopped and resumed has several.
    steps = trained["step"].diff().fillna(trained["step"])
    rows = pd.DataFrame({"step": table.groupby("epoch")["step"].max()})
    if len(trained):
        total = (trained["loss"] * steps).groupby(trained["epoch"]).sum() / steps.groupby(trained["epoch"]).sum()
        # a single loss is kept as it was logged, without rounding
        whole = trained.groupby("epoch")["loss"].agg(["last", "size"])
        rows["train_loss"] = whole["last"].where(whole["size"] == 1, total)
        rows["learning_rate"] = trained.groupby("epoch")["learning_rate"].last()
    if "eval_loss" in table:
        evaluated = table.dropna(subset=["eval_loss"]).groupby("epoch").last()
        names = [name for name in HISTORY_COLUMNS if name in evaluated and name.startswith("eval_")]
        rows = rows.join(evaluated[names])
        rows["eval_part"] = rows["eval_loss"].notna().map({True: watched, False: None})
    return rows.reset_index().reindex(columns=HISTORY_COLUMNS)
