"""Files are whole or not there."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_breakhis.files import (
    InputError,
    read_json,
    reason_of,
    require_writable,
    write_csv,
    write_json,
    write_text,
    write_whole,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def fail(part):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"Cannot write .*a\.txt: No space left on device.*free space"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_instead_of_the_folder_is_refused(tmp_path):
    (tmp_path / "x").write_text("a file")
    for refuse in (require_writable, lambda path: write_text(path, "text")):
        with pytest.raises(InputError, match=r"Cannot write .*y\.txt: .*/x is a file, not a folder\."):
            refuse(tmp_path / "x" / "y.txt")


def test_a_folder_instead_of_the_file_is_refused(tmp_path):
    for refuse in (require_writable, lambda path: write_text(path, "text")):
        with pytest.raises(InputError, match=r"Cannot write .*, which is a folder\. Give the name of a file\.$"):
            refuse(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", [False, True])
def test_a_place_that_can_be_written_is_left_as_it_is(folder, tmp_path):
    require_writable(tmp_path / "a" / "b" / "c.txt", folder)
    require_writable(tmp_path / "c.txt", folder)
    require_writable(tmp_path, folder=True)
    assert not list(tmp_path.iterdir())


def test_a_place_where_the_system_lets_nobody_write_is_refused():
    with pytest.raises(InputError, match=r"^Cannot write /proc/a/b: .*\. Check the permissions and the free space"):
        require_writable("/proc/a/b")


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_floats_read_back_equal(values, tmp_path_factory):
    path = write_csv(tmp_path_factory.mktemp("csv") / "t.csv", pd.DataFrame({"x": values}))
    assert pd.read_csv(path)["x"].astype(float).tolist() == values


def test_json_has_numpy_and_no_nan(tmp_path):
    path = write_json(tmp_path / "a.json", {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), 4: (np.inf,)})
    assert read_json(path) == {"a": 0.5, "b": [0, 1], "c": None, "4": [None]}


def test_broken_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json is not JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match=r"No file .*b\.json"):
        read_json(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("One line.\n  Another."), "One line. Another"),
        (MemoryError(), "MemoryError"),
        (OSError(" "), "OSError"),
        (ValueError("word " * 50), f"{' '.join(['word'] * 40)} [...]"),
        (ValueError(f"Too long: {'x' * 300}"), "Too long: [...]"),
        (ValueError("x" * 300), "[...]"),
    ],
)
def test_the_reason_of_an_error_is_one_line_of_whole_words(error, expected):
    assert reason_of(error) == expected


@pytest.mark.parametrize(
    ("error", "expected"), [(ValueError("\nNo room.\nTry this."), "No room"), (OSError(), "OSError")]
)
def test_the_advice_of_a_library_is_left_out(error, expected):
    assert reason_of(error, first_line=True) == expected
