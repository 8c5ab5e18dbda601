"""What earlier checks of a place found in each file, as an Arrow file in the datasets cache."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from hf_breakhis.data.integrity.check_image import COLORS, Checked
from hf_breakhis.files import write_whole

NOTHING = -1
_TEXT, _SIDE = pa.string(), pa.int32()
SCHEMA = pa.schema(
    {
        "key": pa.uint64(), "content_sha256": _TEXT, "problem": _TEXT, "width": _SIDE, "height": _SIDE, "mode": _TEXT,
        "bits": _SIDE, "form": _TEXT, "generated": pa.bool_(), "pixels_sha256": _TEXT, "shape": _TEXT,
    }
    | dict.fromkeys(COLORS, pa.float64())
)  # fmt: skip


def as_table(checked: Sequence[Checked]) -> pa.Table:
    """Pack what images showed."""
    return pa.table({name: [getattr(one, name) for one in checked] for name in SCHEMA.names}, schema=SCHEMA)


def remember(path: Path, table: pa.Table) -> None:
    """Write what is to be remembered, whole or not at all."""

    def write(beside: Path) -> None:
        with pa.ipc.new_file(str(beside), SCHEMA) as file:
            file.write_table(table)

    write_whole(path, write)


def positions(known: pa.Table, keys: np.ndarray) -> np.ndarray:
    """Return (n,) int64: the row of `known` for each of `keys` (n,) uint64, `NOTHING` where it is not there."""
    there = known["key"].to_numpy()
    if not len(there):
        return np.full(len(keys), NOTHING)
    order = np.argsort(there, kind="stable")
    at = np.minimum(np.searchsorted(there, keys, sorter=order), len(there) - 1)
    rows = order[at]
    return np.where(there[rows] == keys, rows, NOTHING)
