"""Tables for the terminal: what is read is what was given, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_breakhis.results.formatting import ABSENT
from hf_breakhis.text import MAX_WIDTH, ascii_only, folded, text_table


def test_a_table_is_as_wide_as_its_cells():
    rows = [("0", "benign", "0.5", "1,008"), ("", "malignant", "0.75", ABSENT), (), ("1", "benign", "0.833 ± 0.1")]
    assert text_table(("Fold", "Class", "Recall", "N"), rows, words=(0, 1)) == [
        "Fold  Class            Recall      N",
        "------------------------------------",
        "0     benign              0.5  1,008",
        "      malignant          0.75      -",
        "",
        "1     benign     0.833 +- 0.1",
    ]


def test_markup_and_emoji_codes_are_names_like_others():
    names = ["[bold]a[/bold]", "[/]", "[red", ":smile:", "\\[x]", "Drüse"]
    assert text_table(("",), [(name,) for name in names])[2:] == names


def test_a_long_name_is_broken_and_nothing_of_it_is_lost():
    name, path = "lobular carcinoma " * 12, "x" * 150
    lines = text_table(("Class", "N"), [(name, "12"), (path, "7")])
    assert max(map(len, lines)) <= MAX_WIDTH
    assert sum(line.count("lobular carcinoma") for line in lines) == 12
    assert sum(line.count("x") for line in lines) == 150
    assert [line.split()[-1] for line in lines if line.endswith(("12", "7"))] == ["12", "7"]


def test_long_heads_are_broken_and_leave_room_for_the_names():
    heads = ["magnification of forty times and more", "z" * 50]
    lines = text_table(("Class", *heads), [("benign tissue of the breast", "1,234,567", "7")])
    assert max(map(len, lines)) <= MAX_WIDTH
    assert "".join("".join(lines).split()).count("z") == 50
    assert lines[-1].split() == ["benign", "tissue", "of", "the", "breast", "1,234,567", "7"]


def test_numbers_are_never_cut_and_names_never_vanish():
    numbers = [f"{number:,}" for number in range(1_234_560, 1_234_580)]
    lines = text_table(("Name", *map(str, range(20))), [("lobular carcinoma of the breast", *numbers)])
    assert [word for line in lines[2:] for word in line.split() if word[0].isdigit()] == numbers
    assert " ".join(word for line in lines[2:] for word in line.split() if word[0].isalpha()).startswith("lobular")


@given(st.lists(st.tuples(st.text("ab é[]:", max_size=70), st.integers(-9999, 10**9).map(str)), max_size=5))
def test_every_cell_is_there_and_numbers_end_in_one_column(rows):
    lines = text_table(("Name", "Number"), rows)[2:]
    found = [line for line in lines if line.endswith(tuple("0123456789"))]
    assert [line.split()[-1] for line in found] == [number for _, number in rows]
    assert len({len(line) for line in found}) <= 1
    shown = "".join("".join(line.removesuffix(number).split()) for line, (_, number) in zip(lines, rows, strict=False))
    assert len(lines) > len(rows) or shown == "".join("".join(name.split()) for name, _ in rows)


@pytest.mark.parametrize("setting", ["FORCE_COLOR", "NO_COLOR", "COLUMNS"])
def test_no_setting_of_a_terminal_changes_a_table(setting, monkeypatch):
    rows = [("name " * 15, "1")]
    before = text_table(("A", "B"), rows)
    monkeypatch.setenv(setting, "1")
    assert text_table(("A", "B"), rows) == before


def test_a_sentence_is_folded_between_words():
    path = "/a-long-path/" * 10
    lines = folded(f"Copies were not searched in {path}, which is a cross-validation of others.")
    assert path + "," in [line.strip() for line in lines]
    assert all(line.startswith("  ") for line in lines[1:])
    assert folded("") == []


@pytest.mark.parametrize("width", range(20, 60))
def test_no_line_begins_with_a_percent_sign(width):
    text = "95 % confidence intervals: 73.1 to 93.1 % of 2,105 images, and 100 % of all others"
    lines = folded(text, width)
    assert not [line for line in lines if line.strip().startswith("%")]
    assert " ".join(line.strip() for line in lines) == text


def test_ascii():
    assert ascii_only(f"0.5 ± 0.1 {ABSENT} Drüse") == "0.5 +- 0.1 - Dr?se"
