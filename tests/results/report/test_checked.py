"""The command: what it prints and writes, and how it ends."""

import json
from pathlib import Path

import pytest

from hf_breakhis.cli import main
from hf_breakhis.yaml_files import packed_files

NAME = "pixels-to-prognosis"
DOCS = Path(__file__).parents[3] / "docs/check.md"


def test_the_paper_by_name(tmp_path, capsys):
    """The page in docs shows what the command prints."""
    folder = tmp_path / "out"
    assert main(["check", NAME, "--output_dir", str(folder)]) == 0
    printed = capsys.readouterr().out
    text, _, last = printed.strip().rpartition("\n")
    assert last == f"check: {folder / 'check.html'}"
    assert text in DOCS.read_text(encoding="utf-8")
    assert all(len(line) <= 100 for line in text.splitlines())
    check = json.loads((folder / "check.json").read_text())
    assert check["fits"]
    assert [len(table["folds"]) for table in check["tables"]] == [1, 3, 3]
    page = (folder / "check.html").read_text(encoding="utf-8")
    assert "RCL-7500, 15% set aside" in page
    assert "<script" not in page


def test_a_changed_digit_ends_with_code_1_and_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "changed.yaml"
    text = packed_files("papers")[NAME].read_text(encoding="utf-8")
    path.write_text(text.replace("precision: 0.73", "precision: 0.37"), encoding="utf-8")
    assert main(["check", str(path)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 7 rows does not fit" in printed
    assert "Fold 1: the numbers contradict each other. They fit if one is left out: malignant precision" in printed
    assert "malignant precision (printed 0.37; the others allow 0.7" in printed
    assert "Averages: not compared, since a fold does not fit." in printed
    assert (tmp_path / "outputs/check/changed/check.html").is_file()
    assert "false" not in printed.lower()


def test_names_from_a_file_are_harmless_on_the_page(tmp_path):
    path = tmp_path / "t.yaml"
    row = "{recall: 0.90, support: 10}"
    path.write_text(
        f"title: <script>x</script>\ntables: {{'<b>t</b>': {{folds: {{'<i>': {{'<u>': {row}, b: {row}}}}}}}}}"
    )
    assert main(["check", str(path), "--output_dir", str(tmp_path)]) == 0
    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert not any(tag in page for tag in ("<script>x", "<b>t", "<i>", "<u>"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No table at {path}. Give a YAML file, or a table of this package: pixels-to-prognosis."),
        ("tables: {t: {folds: {1: {a: {recall: 2}, b: {}}}}}", "recall of a is 2, but has to be from 0 to 1."),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, capsys, text, message):
    path = tmp_path / "t.yaml"
    if text:
        path.write_text(text)
    assert main(["check", str(path)]) == 2
    error = capsys.readouterr().err
    assert message.format(path=path) in error
    assert error.count("\n") == 1


ROW = """unit: UNIT
tables:
  t:
    folds:
      1: {benign: {recall: WRONG, support: 740}, malignant: {recall: A, support: 1639}, accuracy: B}
      2: {benign: {recall: A, support: 740}, malignant: {recall: A, support: 1639}, accuracy: A}
"""


@pytest.mark.parametrize(
    ("unit", "numbers", "allowed", "error"),
    [("share", ("0.901", "0.880", "0.886"), "0.8973 to 0.9000", "0.007"),
     ("percent", ("90.1", "88.0", "88.6"), "89.73 to 90.00", "0.7")],
)  # fmt: skip
def test_ranges_have_the_unit_of_the_table(tmp_path, capsys, unit, numbers, allowed, error):
    text = ROW.replace("UNIT", unit)
    for letter, number in zip(("WRONG", "A", "B"), numbers, strict=True):
        text = text.replace(letter, number)
    (tmp_path / "t.yaml").write_text(text)
    assert main(["check", str(tmp_path / "t.yaml"), "--output_dir", str(tmp_path)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert f"benign recall (printed {numbers[0]}; the others allow {allowed})" in printed
    assert f"accuracies {numbers[2]}, {numbers[1]} vary" in printed
    check = json.loads((tmp_path / "check.json").read_text())
    scale = {"share": 1, "percent": 100}[unit]
    assert float(error) == pytest.approx(scale * check["tables"][0]["spread"]["sampling_error"], abs=0.05 * scale / 10)


def only_accuracies(folder, *rows):
    folds = "".join(f"      {k}: {{accuracy: {a}, images: {n}}}\n" for k, (a, n) in enumerate(rows))
    path = folder / "t.yaml"
    path.write_text(f"tables:\n  t:\n    folds:\n{folds}    averages: {{accuracy: 0.90}}\n")
    return path


def test_accuracies_alone_are_checked_for_whole_images_spread_and_order(tmp_path, capsys):
    path = only_accuracies(tmp_path, (0.79, 2125), (0.93, 2125), (0.97, 2125))
    assert main(["check", str(path), "--output_dir", str(tmp_path)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "All 3 rows can come from whole numbers of images." in printed
    assert "vary more than the sampling of test images allows" in printed
    assert "In random order, folds climb in 1 of 6 cases." in printed
    assert "2,125" in (tmp_path / "check.html").read_text(encoding="utf-8")
    assert main(["check", str(only_accuracies(tmp_path, (0.905, 9), (0.889, 9))), "--output_dir", str(tmp_path)]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "Fold 0: no whole number of 9 images has this accuracy." in printed
    assert "Fold 1" not in printed


@pytest.mark.parametrize(
    ("accuracies", "text"),
    [(["0.50"], "The row can come from"), (["0.50", "0.50"], "All 2 rows can come from"),
     (["0.51"], "The row does not fit: no whole numbers"), (["0.51", "0.50"], "1 of 2 rows does not fit"),
     (["0.51", "0.51"], "2 of 2 rows do not fit")],
)  # fmt: skip
def test_the_answer_counts_rows(tmp_path, capsys, accuracies, text):
    path = only_accuracies(tmp_path, *((accuracy, 10) for accuracy in accuracies))
    path.write_text(path.read_text().partition("    averages")[0])
    main(["check", str(path), "--output_dir", str(tmp_path)])
    assert text in capsys.readouterr().out
