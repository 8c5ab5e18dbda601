"""What earlier checks of a place found, as Arrow files in the datasets cache: of each file, and of all together."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

from hf_breakhis.data.integrity.check_image import COLORS, Checked
from hf_breakhis.data.integrity.findings import Finding, Findings
from hf_breakhis.files import InputError, write_whole

FORMAT = 1  # raised whenever the same table would give other findings; see also that of `checked`
NOTHING = -1
_ABOUT = b"hf_breakhis"
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


def recall(path: Path) -> pa.Table:
    """Return what is remembered, mapped and not read; a file from elsewhere counts as nothing."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid):
        return SCHEMA.empty_table()
    return table if table.schema.equals(SCHEMA) else SCHEMA.empty_table()


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


def recall_findings(path: Path, name: str) -> Findings | None:
    """Return what was found in all images that have this name, mapped and not read; None if it is not known.

    Args:
        path: where `remember_findings` wrote.
        name: names the images and their files as they are, see `arranged_name`.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        about = json.loads(table.schema.metadata[_ABOUT])
        if (about["format"], about["name"]) != (FORMAT, name):
            return None
        oddities = [Finding(**oddity) for oddity in about["oddities"]]
        found = Findings(oddities, about["unusable"], table.replace_schema_metadata(None), about["manifest_sha256"])
    except (OSError, LookupError, TypeError, ValueError, pa.ArrowException):  # not there, or not ours
        return None
    return found


def remember_findings(path: Path, name: str, findings: Findings) -> None:
    """Write what was found, whole or not at all; a cache without room costs time alone."""
    about = {
        "format": FORMAT,
        "name": name,
        "oddities": [vars(oddity) for oddity in findings.oddities],
        "unusable": findings.unusable,
        "manifest_sha256": findings.manifest_sha256,
    }
    table = findings.table.replace_schema_metadata({_ABOUT: json.dumps(about).encode()})

    def write(beside: Path) -> None:
        with pa.ipc.new_file(str(beside), table.schema) as file:
            file.write_table(table.combine_chunks(), max_chunksize=10_000)

    with suppress(InputError):
        write_whole(path, write)
