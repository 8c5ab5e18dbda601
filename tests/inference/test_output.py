"""Rows read back as they were, do no harm in a spreadsheet, and add up to the scores of the metrics room."""

import csv
import io
import json

import numpy as np
import pytest

from hf_breakhis.inference.inputs import InputImage
from hf_breakhis.inference.model import Decision
from hf_breakhis.inference.output import Rows, Tally, csv_lines, json_lines
from hf_breakhis.inference.seen import Seen
from hf_breakhis.metrics.functions.recognition_rate import recognition_rate


def test_probabilities_calibration_and_decision_of_a_worked_example():
    """Logits 0 and ln 9: 0.1 and 0.9; at temperature 2 they are 0 and ln 3: 0.25 and 0.75."""
    rows = Rows(["no", "yes"], Decision(2.0, 0.8), None)
    (row,) = rows.make([InputImage("a.png", None, {"labels": ("yes", "DC")})], np.array([[0.0, np.log(9)]]))
    assert row["prob_no"] == pytest.approx(0.1)
    assert row["prob_yes"] == pytest.approx(0.9)
    assert row["calibrated_yes"] == pytest.approx(0.75)
    assert row["predicted"] == "yes"
    assert row["decision"] == "no"  # 0.75 lies below 0.8
    assert row["label"] == "yes"
    assert list(row) == rows.columns


def test_a_score_at_the_threshold_is_positive():
    (row,) = Rows(["no", "yes"], Decision(1.0, 0.5), None).make([InputImage("a")], np.zeros((1, 2)))
    assert row["decision"] == "yes"
    assert row["predicted"] == "no"


def test_three_classes_have_no_decision():
    rows = Rows(["A", "F", "DC"], Decision(1.0, None), None)
    (row,) = rows.make([InputImage("a", None, {"labels": ("malignant", "DC")})], np.array([[0.0, 2.0, 1.0]]))
    assert "decision" not in row
    assert row["predicted"] == "F"
    assert row["label"] == "DC"


NAME = "SOB_M_DC-14-13412-100-001.png"


@pytest.mark.parametrize(
    ("path", "names", "seen"),
    [
        ("/far/away/a.png", {"a.png"}, True),
        ("/far/benign/1.png", {"benign/1.png"}, True),
        ("/far/malignant/1.png", {"benign/1.png"}, None),
        ("/far/test/2.png", {"benign/1.png"}, False),
        ("/far/ba.png", {"a.png"}, None),
        (f"x/{NAME.replace('png', 'JPG')}", {NAME}, True),
        (f"zip\\x\\{NAME.upper()}", {NAME}, True),
        (f"x\\{NAME}", {NAME.replace("-001", "-002")}, False),
        (f"x\\{NAME}", {"a.png"}, None),
    ],
)
def test_images_of_the_training_part_are_known_by_their_names(path, names, seen):
    rows = Rows(["no", "yes"], None, Seen(frozenset(names), frozenset(), frozenset({"test/2.png"})))
    (row,) = rows.make([InputImage(path)], np.zeros((1, 2)))
    assert row["seen_in_training"] is seen


@pytest.mark.parametrize("start", "=+-@\t\r")
def test_no_cell_is_a_formula_and_paths_stay_paths(start, tmp_path, monkeypatch):
    row = {"path": f"{start}cmd.png", "predicted": f"{start}cmd|' /C calc'!A0", "prob_a": -1.5e-7, "label": None}
    (cells,) = csv.reader(io.StringIO(csv_lines([row], []), newline=""))
    assert not any(cell.startswith(tuple("=+@\t\r")) for cell in cells)
    assert cells[0] == f"./{start}cmd.png"
    assert cells[1].startswith(f"'{start}")
    assert float(cells[2]) == -1.5e-7
    assert cells[3] == ""
    monkeypatch.chdir(tmp_path)
    (tmp_path / row["path"]).touch()
    assert (tmp_path / cells[0]).is_file()
    assert json.loads(json_lines([row])) == row


def test_lines_and_commas_in_names_do_not_break_the_table():
    row = {"path": 'a,"b"\nc.png', "prob_a": 0.1 + 0.2}
    header, cells = csv.reader(io.StringIO(csv_lines([row], list(row))))
    assert header == ["path", "prob_a"]
    assert cells[0] == row["path"]
    assert float(cells[1]) == row["prob_a"]
    assert json_lines([row]).count("\n") == 1


def test_the_tally_agrees_with_the_metric():
    rng = np.random.default_rng(0)
    patients = rng.choice(["a", "b", "c", "d"], 50, p=[0.7, 0.1, 0.1, 0.1])
    truth, predicted = rng.integers(0, 2, 50), rng.integers(0, 2, 50)
    tally = Tally()
    for one in zip(truth == predicted, patients, strict=True):
        tally.add(*one)
    expected = recognition_rate(truth, predicted, patients)["recognition_rate"]
    accuracy = (truth == predicted).mean()
    assert abs(expected - accuracy) > 0.01  # so that one cannot stand for the other
    assert tally.sentence() == f"recognition rate {expected:.4f} of 4 patients, accuracy {accuracy:.4f} of 50 images"


def test_a_tally_without_patients_gives_no_recognition_rate():
    tally = Tally()
    tally.add(True, "a")
    tally.add(False, None)
    assert tally.sentence().startswith("accuracy 0.5000 of 2 images (no recognition rate: 1 of them")
