"""Readers for files that may be damaged: tables of text, and mappings with required fields."""

import contextlib
import csv
import itertools
import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_breakhis.files import InputError, cannot_read, reason_of
from hf_breakhis.yaml_files import read_yaml

if TYPE_CHECKING:
    import pandas as pd

REMEDY = "give another file, or write it again"
Fields = Mapping[str, type | tuple[type, ...]]
NUMBER = (int, float)
OPTIONAL_TEXT = (str, type(None))
MAX_ROWS = 1_000_000  # of a table from elsewhere, so that a wrong file does not fill the memory
MAX_LINE = 1 << 20
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with these a spreadsheet takes text for a formula
_SEPARATOR = re.compile(r"[\s,]*")


def harmless(value: Any) -> Any:
    """Return a cell; text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def harmless_path(path: str) -> str:
    """Return a path that no spreadsheet executes and that still names the same file."""
    return f"./{path}" if path.startswith(FORMULA) else path


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
        raise cannot_read(path, error, remedy) from error
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
        # Rows are selected, compared and counted many times, for which Python's strings are quicker than Arrow's.
        with pd.option_context("mode.string_storage", "python"):
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {remedy}.") from error
    except OSError as error:
        raise cannot_read(path, error, remedy) from error
    except ValueError as error:  # pandas has no narrower error for text that is not a table
        raise InputError(f"{path} is not a CSV ({reason_of(error)}); {remedy}.") from error
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


def foreign_rows(path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """Open a table that another program wrote: CSV, TSV, JSON or Parquet, also as Excel writes them.

    JSON is one object in each line, or an array of objects.

    Returns:
        The names of the columns, and the rows as text, read as they are needed; a missing value is "".

    Raises:
        InputError: the file cannot be read, is empty or has another format, or two columns have the same name; while
            reading also for a row of another length than the header, and after `MAX_ROWS` rows.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        if not start:
            raise InputError(f"{path} is empty; {REMEDY}.")
        if start[:2] == b"PK":
            raise InputError(f"{path} is an Excel workbook or an archive. Save the table as CSV.")
        rows = _parquet_rows(path) if start == b"PAR1" else _text_rows(path, start)
        columns = next(rows)
    except OSError as error:
        raise cannot_read(path, error, REMEDY) from error
    except StopIteration as error:
        raise InputError(f"{path} is empty; {REMEDY}.") from error
    _require_once(columns, path)
    return columns, _counted(rows, path)


def _require_once(columns: Sequence[str], path: Path) -> None:
    twice = next((name for k, name in enumerate(columns) if name and name in columns[:k]), None)
    if twice is not None:
        raise InputError(
            f"{path} has {list(columns).count(twice)} columns named {twice[:60]!r}. Rename or remove all but one."
        )


def _text_rows(path: Path, start: bytes) -> Iterator[list[str]]:
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = _lines(path, encoding)
    first = next((line for line in lines if line.strip()), "")
    whole = itertools.chain([first], lines)
    if first.lstrip()[:1] == "{":
        return _json_rows(_parsed_lines(whole, path), path)
    if first.lstrip()[:1] == "[":
        lines.close()
        return _json_rows(_parsed_array(path, encoding), path)
    return _delimited_rows(whole, path)


def _counted(rows: Iterator[list[str]], path: Path) -> Iterator[list[str]]:
    for number, row in enumerate(rows):
        if number == MAX_ROWS:
            raise InputError(f"{path} has more than {MAX_ROWS:,} rows. Give one row for each image.")
        yield row


def _lines(path: Path, encoding: str) -> Generator[str, None, None]:
    with _decoding(path), path.open(encoding=encoding, newline="") as stream:
        while line := stream.readline(MAX_LINE):
            if len(line) == MAX_LINE and line.lstrip()[:1] != "[":  # a JSON array is often one line
                raise InputError(f"{path} is not a table: a line has more than {MAX_LINE:,} characters.")
            yield line


@contextlib.contextmanager
def _decoding(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        if error.encoding == "utf-8" and b"\0" not in error.object:
            raise InputError(
                f"{path} is not in UTF-8: byte 0x{error.object[error.start]:02x} is probably a letter in Windows-1252 "
                'or Latin-1. Save it as "CSV UTF-8" in Excel, or convert it: iconv -f CP1252 -t UTF-8 FILE > NEW.'
            ) from error
        raise InputError(f"{path} is not a text file. Save the table as CSV in UTF-8.") from error
    except UnicodeError as error:
        raise InputError(f"{path} is not a text file. Save the table as CSV in UTF-8.") from error


def _delimited_rows(lines: Iterator[str], path: Path) -> Iterator[list[str]]:
    first = next((line for line in lines if line.strip()), "")
    separator = max(",;\t|", key=first.count)
    if first.lower().startswith("sep="):  # Excel writes and reads such a line
        separator, first = first.strip()[4:5] or ",", next(lines, "")
    if not first.strip():
        return
    length = None
    try:
        for row in csv.reader(itertools.chain([first], lines), delimiter=separator, skipinitialspace=True):
            if not any(cell.strip() for cell in row):  # Excel leaves empty rows below a table
                continue
            length = length or len(row)
            if len(row) != length:
                raise InputError(f"{path} has a row of {len(row)} cells ({row[0][:60]!r}), but {length} columns.")
            yield [cell.strip() for cell in row]
    except csv.Error as error:
        raise InputError(f"{path} is not a table ({error}); {REMEDY}.") from error


def _json_rows(objects: Iterator[tuple[str, Any]], path: Path) -> Iterator[list[str]]:
    columns: list[str] | None = None
    for place, pairs in objects:
        if not isinstance(pairs, _Pairs):
            raise InputError(f"{path}, {place} is no object. Give one object for each image.")
        names = [name for name, _ in pairs]
        if columns is None:
            columns = names
            yield columns
        if len(names) != len(columns) or set(names) != set(columns):
            raise InputError(f"{path}, {place} has other fields than the first. Give the same fields for each image.")
        nested = next((name for name, value in pairs if isinstance(value, list)), None)
        if nested is not None:
            raise InputError(
                f"{path}, {place}: {nested[:60]!r} is a list or an object. Give text or a number in each field, "
                'as pandas writes it with to_json(FILE, orient="records").'
            )
        values = dict(pairs)
        yield [_text(values[name]) for name in columns]


class _Pairs(list[tuple[str, Any]]):
    """The fields of a JSON object, with repeated names."""


def _decode(text: str, start: int = 0) -> tuple[Any, int]:
    decoder = json.JSONDecoder(parse_float=str, parse_int=str, object_pairs_hook=_Pairs)
    return decoder.raw_decode(text, start)


def _parsed_lines(lines: Iterator[str], path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate((line.strip() for line in lines if line.strip()), start=1):
        try:
            value, end = _decode(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is not JSON. Give one object in each line.") from error
        if end != len(line):
            raise InputError(f"{path}, line {number} has more than one object. Give one object in each line.")
        yield f"line {number}", value


def _parsed_array(path: Path, encoding: str) -> Iterator[tuple[str, Any]]:
    """Yield the elements of an array, reading the file in parts."""
    with _decoding(path), path.open(encoding=encoding) as stream:
        text, number = stream.read(MAX_LINE), 1
        at = text.index("[") + 1
        while True:
            at = at if (separator := _SEPARATOR.match(text, at)) is None else separator.end()
            if text[at : at + 1] == "]":
                return
            try:
                value, end = _decode(text, at)
                is_whole = end < len(text)  # a number at the end may go on in the next part
            except (ValueError, RecursionError):
                is_whole = False
            if is_whole:
                yield f"object {number}", value
                at, number = end, number + 1
                continue
            more = stream.read(MAX_LINE) if len(text) - at < MAX_LINE else ""
            if not more:
                raise InputError(f"{path}, object {number} of the array is not JSON; {REMEDY}.")
            text, at = text[at:] + more, 0


def _parquet_rows(path: Path) -> Iterator[list[str]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
            yield columns
            for batch in file.iter_batches(batch_size=10_000):
                values = batch.to_pydict()
                yield from (list(map(_text, row)) for row in zip(*(values[name] for name in columns), strict=True))
    except pa.ArrowException as error:
        raise InputError(f"{path} is a damaged Parquet file; {REMEDY}.") from error


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _kind(value: Any) -> str:
    return {list: "a list", dict: "fields", type(None): "nothing"}.get(type(value), _short(value))


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."
