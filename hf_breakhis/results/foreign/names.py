"""Which image a name is that another program wrote."""

import re
from functools import cache
from pathlib import Path, PurePosixPath

import pandas as pd

from hf_breakhis.data.filenames import BreakHisName, parse_file_name
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.files import InputError, counted, nearest_name
from hf_breakhis.tables import harmless_path

ANY_ENDING = re.compile(r"\.(png|jpe?g|tiff?|bmp|npy|webp)$", re.IGNORECASE)


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
            f"{path}: {count:,} of {len(table):,} names ({100 * count / len(table):.1f} %) are not names of "
            f"BreakHis images, such as {unknown[0][:100]!r}{f' (nearest: {near})' if near else ''}. Correct them; for "
            "other images add the columns patient_id and label."
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
        raise InputError(f"{path}: no name or no patient_id in {counted(int(empty.sum()), 'row')}. Fill them in.")
    patients = table["patient_id"].map(harmless_path)
    specimens = table["specimen_id"].map(harmless_path) if "specimen_id" in table else patients
    rows = pd.DataFrame({"file_name": table["name"].map(harmless_path), "tumor_type": "", "patient_id": patients})
    rows = rows.assign(specimen_id=specimens, magnification="")
    rows.attrs["is_breakhis"] = False
    return rows
