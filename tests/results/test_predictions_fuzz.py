"""Whatever stands in a predictions.csv: checked rows come out, or one line says what is wrong."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_breakhis.files import InputError
from hf_breakhis.results.predictions import classes_of, probabilities_of, read_predictions

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CELLS = (
    "",
    "nan",
    "inf",
    "-0",
    "1e308",
    "-1e308",
    "9" * 30,
    "\u0661",
    "1_0",
    "True",
    "=1+1",
    "\x1b[31m",
    "a\nb",
    '"',
    "\0",
)


@pytest.fixture(scope="module")
def good(write_run, tmp_path_factory):
    """The first five rows of a fold that are whole, as bytes."""
    path = write_run(tmp_path_factory.mktemp("fuzz") / "run") / "fold-0" / "predictions.csv"
    return b"".join(path.read_bytes().splitlines(keepends=True)[:6])


def read_or_refuse(path, content):
    """Return the table or None; a table has to hold what its reader promises."""
    path.write_bytes(content)
    try:
        table = read_predictions(path)
    except InputError as error:
        message = str(error)
        table = None
    if table is None:
        assert message.isprintable()
        return None
    prob = probabilities_of(table)
    assert np.isfinite(prob).all()
    np.testing.assert_allclose(prob.sum(1), 1, atol=1e-3)
    assert table["label"].between(0, len(classes_of(table)) - 1).all()
    assert table["seen_in_training"].dtype == bool
    return table


def test_the_rows_that_are_damaged_below_are_good(good, tmp_path):
    assert len(read_or_refuse(tmp_path / "p.csv", good)) == 5


@FUZZ
@given(content=st.binary(max_size=300))
def test_any_bytes_are_refused(content, tmp_path):
    assert read_or_refuse(tmp_path / "p.csv", content) is None


@FUZZ
@given(data=st.data())
def test_bytes_changed_anywhere_are_read_or_refused(data, good, tmp_path):
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    read_or_refuse(tmp_path / "p.csv", bytes(content[:cut]))


@FUZZ
@given(data=st.data())
def test_a_strange_cell_is_read_or_refused(data, good, tmp_path):
    table = pd.read_csv(io.BytesIO(good), dtype=str, keep_default_na=False)
    column = data.draw(st.sampled_from(list(table.columns)))
    table.loc[data.draw(st.integers(0, 4)), column] = data.draw(st.sampled_from(CELLS) | st.text(max_size=5))
    text = table.to_csv(index=False).encode("utf-8", "surrogatepass")
    read_or_refuse(tmp_path / "p.csv", text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("\n", ",x\n").replace(",x\n", "\n", 1), "rows are longer than its header"),
        (lambda text: text.replace(",test,", f",{'9' * 30},", 1), "`part` is none of"),
        (lambda text: text.replace("\n0,", f"\n{'9' * 30},", 1).replace("\n1,", f"\n{'9' * 30},", 1), "whole number"),
    ],
)
def test_what_is_wrong_is_told(change, message, good, tmp_path):
    path = tmp_path / "p.csv"
    table = pd.read_csv(io.BytesIO(good), dtype=str)
    text = table[["label", *[name for name in table if name != "label"]]].to_csv(index=False)
    path.write_text(change(text))
    with pytest.raises(InputError, match=message):
        read_predictions(path)


def test_a_folder_in_place_of_the_table_is_told(tmp_path):
    with pytest.raises(InputError, match="is a folder; give a file in it"):
        read_predictions(tmp_path)
