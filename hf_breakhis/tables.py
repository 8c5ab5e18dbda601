"""Readers for files that may be damaged: tables of text, and mappings with required fields."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_breakhis.files import InputError
from hf_breakhis.yaml_files import read_yaml

if TYPE_CHECKING:
    import pandas as pd

REMEDY = "give another file, or write it again"
Fields = Mapping[str, type | tuple[type, ...]]
NUMBER = (int, float)
OPTIONAL_TEXT = (str, type(None))


def read_mapping(path: str | Path, fields: Fields, remedy: str = REMEDY) -> dict[str, Any]:
    """Read a mapping from a JSON file.

    Args:
        path: the file.
        fields: names and types of the fields that it must have.
        remedy: what the user can do about a damaged file, as an imperative.

    Raises:
        InputError: the file is missing, unreadable or not JSON, or a field is missing or of another type.
    """
    return require_fields(path, parse_json(path, remedy), fields, remedy)


def read_yaml_mapping(path: Path, fields: Fields, remedy: str = REMEDY) -> dict[str, Any]:
    """Read a mapping from a YAML file; see `read_mapping`."""
    return require_fields(path, read_yaml(path, remedy), fields, remedy)


def read_mappings(path: str | Path, fields: Fields, remedy: str = REMEDY) -> list[dict[str, Any]]:
    """Read a list of mappings from a JSON file; each must have the fields. See `read_mapping`."""
    rows = parse_json(path, remedy)
    if not isinstance(rows, list):
        raise InputError(f"{path} is damaged: it contains {_kind(rows)} instead of a list; {remedy}.")
    return [require_fields(path, row, fields, remedy) for row in rows]


def parse_json(path: str | Path, remedy: str = REMEDY) -> Any:
    """Return the content of a JSON file, or raise InputError if it is missing or damaged."""
    text = read_text(path, remedy)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # not JSON, or numbers and nesting beyond the limits of Python
        reason = "it is empty" if not text.strip() else f"it is not JSON, {error}"
        raise InputError(f"{path} is damaged ({reason}); {remedy}.") from error


def read_text(path: str | Path, remedy: str = REMEDY) -> str:
    """Return the UTF-8 text of a file, or raise InputError if it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {remedy}.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror or error}); {remedy}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged (it is not text); {remedy}.") from error


def require_fields(path: str | Path, value: Any, fields: Fields, remedy: str = REMEDY) -> dict[str, Any]:
    """Return `value` if it is a mapping that has the fields, or raise InputError."""
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: it contains {_kind(value)} instead of fields; {remedy}.")
    for name, kind in fields.items():
        if name not in value:
            raise InputError(f"{path} has no field `{name}`; {remedy}.")
        if not isinstance(value[name], kind) or (isinstance(value[name], bool) and kind is not bool):
            raise InputError(f"{path}: `{name}` is {_short(value[name])}, which is not valid; {remedy}.")
    return value


def read_table(path: str | Path, columns: Sequence[str], remedy: str = "write it again") -> "pd.DataFrame":
    """Read a CSV as text, without converting values or treating any as missing.

    Raises:
        InputError: no such file, not a CSV, no rows, a short row, or a column is missing.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {remedy}.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror or error}); {remedy}.") from error
    except ValueError as error:  # pandas has no narrower error for text that is not a table
        raise InputError(f"{path} is not a CSV ({' '.join(str(error).split())}); {remedy}.") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas uses surplus first columns as names of rows
        raise InputError(f"{path} is not a CSV (its rows are longer than its header); {remedy}.")
    require_columns(table, path, columns)
    if table.empty:
        raise InputError(f"{path} has a header and no rows; {remedy}.")
    short = _short_row(path, table.shape[1])
    if short is not None:
        raise InputError(f"{path}, row {short} is shorter than the header; {remedy}.")
    return table


def _short_row(path: str | Path, length: int) -> int | None:
    # pandas fills short rows up, so it would accept a truncated file
    with Path(path).open(encoding="utf-8", newline="") as stream:
        rows = (row for row in csv.reader(stream) if row)
        return next((number for number, row in enumerate(rows) if len(row) < length), None)


def require_columns(table: "pd.DataFrame", path: str | Path, columns: Sequence[str]) -> None:
    """Raise InputError naming the columns that are missing."""
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; it needs {', '.join(columns)}.")


def as_floats(column: "pd.Series[str]", path: str | Path) -> np.ndarray:
    """Convert a column of text to finite numbers, or raise InputError for the first value that is not one."""
    try:
        # Python converts every value exactly; the fast conversion of pandas may change the last bit.
        values = column.to_numpy(dtype=object).astype(np.float64)
    except ValueError as error:
        raise InputError(f"{path}, column {column.name}: {error}; write it again.") from error
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise InputError(f"{path}, row {row + 1}, column {column.name}: {column.iloc[row]} is not a finite number.")
    return values


def as_integers(column: "pd.Series[str]", path: str | Path) -> np.ndarray:
    """Convert a column of text to whole numbers, or raise InputError for the first value that is not one."""
    wrong = ~column.str.fullmatch(r"-?[0-9]{1,18}")  # longer ones do not fit into 64 bits
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{path}, row {row + 1}, column {column.name}: {column.iloc[row]!r} is not a whole number.")
    return column.astype(int).to_numpy()


def as_bools(column: "pd.Series[str]", path: str | Path) -> np.ndarray:
    """Convert a column of True and False, or raise InputError for the first other value."""
    wrong = ~column.isin(["True", "False"])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{path}, row {row + 1}, column {column.name}: {column.iloc[row]!r} is neither True nor False."
        )
    return (column == "True").to_numpy()


def _kind(value: Any) -> str:
    return {list: "a list", dict: "fields", type(None): "nothing"}.get(type(value), _short(value))


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."
