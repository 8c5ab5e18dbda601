"""Tables that other programs write: JSON in lines or as an array, encodings, and double columns."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_breakhis.files import InputError
from hf_breakhis.tables import foreign_rows

ROWS = [{"file_name": f"a{k}.png", "note": 'x"]},{', "p": k / 7} for k in range(5)]
LINES = "\n".join(map(json.dumps, ROWS))


def read(folder, content, name="a.txt"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    columns, rows = foreign_rows(path)
    return columns, list(rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", [LINES, json.dumps(ROWS), json.dumps(ROWS, indent=2), f"\n {json.dumps(ROWS)}\n"],
                         ids=["lines", "array", "indented", "blank"])  # fmt: skip
def test_json_is_read_in_lines_and_as_an_array_with_and_without_a_mark(tmp_path, encoding, text):
    columns, rows = read(tmp_path, text.encode(encoding))
    assert columns == ["file_name", "note", "p"]
    assert rows == [[row["file_name"], row["note"], str(row["p"])] for row in ROWS]


cells = st.dictionaries(st.sampled_from("abc"), st.none() | st.text(max_size=4) | st.integers() | st.booleans(),
                        min_size=3, max_size=3)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(cells, min_size=1, max_size=6), st.integers(0, 4))
def test_an_array_has_the_rows_of_its_lines(tmp_path_factory, objects, indent):
    folder = tmp_path_factory.mktemp("json")
    array = read(folder, json.dumps(objects, indent=indent or None), "array")
    assert array == read(folder, "\n".join(map(json.dumps, objects)), "lines")


def test_parts_of_an_array_are_read_as_they_are_needed(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_breakhis.tables.MAX_LINE", 64)
    objects = [{"file_name": f"{k}.png", "p": 12345678901 + k} for k in range(500)]
    assert read(tmp_path, json.dumps(objects))[1] == [[f"{k}.png", str(12345678901 + k)] for k in range(500)]
    monkeypatch.undo()
    path = tmp_path / "large.json"
    path.write_text(json.dumps([{"file_name": f"{k}.png", "text": "x" * 1000} for k in range(30_000)]))
    tracemalloc.start()
    assert sum(1 for _ in foreign_rows(path)[1]) == 30_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 3


ERRORS = {
    "cut off": (json.dumps(ROWS)[:-20], "object 5 of the array is not JSON"),
    "no objects": ("[1, 2]", "object 1 is no object. Give one object for each image."),
    "other fields": ('[{"a": 1}, {"b": 1}]', "object 2 has other fields than the first"),
    "empty array": ("[]", "is empty"),
    "columns": (json.dumps({"file_name": {"0": "a.png"}}), "'file_name' is a list or an object.*orient"),
    "two in a line": ('{"a": 1} {"a": 2}', "line 1 has more than one object"),
    "broken line": (LINES + "\n{oops", "line 6 is not JSON"),
    "field twice": ('{"a": 1, "a": 2}', "2 columns named 'a'"),
    "column twice": ("file_name,p,p\na,1,2\n", "2 columns named 'p'. Rename or remove all but one."),
    "Latin-1": ("file_name;Bemerkung\na;größer\n".encode("cp1252"), "byte 0xf6 .*Windows-1252.*CSV UTF-8.*iconv"),
    "noise": (bytes(range(256)) * 8, "is not a text file"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_read_ends_with_one_line(tmp_path, case):
    content, words = ERRORS[case]
    with pytest.raises(InputError, match=words) as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)


def test_columns_without_a_name_may_be_many(tmp_path):
    assert read(tmp_path, "file_name,p,,\na,1,,\n") == (["file_name", "p", "", ""], [["a", "1", "", ""]])
