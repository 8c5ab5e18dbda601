"""The positive class is named where sensitivity or a threshold is reported, and labels of other names are reported."""

from types import SimpleNamespace

import numpy as np

from hf_breakhis.files import read_json
from hf_breakhis.inference.inputs import Item
from hf_breakhis.inference.output import Rows
from hf_breakhis.inference.predict import Prediction
from hf_breakhis.results.report.terminal import terminal_table


def test_the_terminal_names_the_class_of_sensitivity_and_threshold(trained_run):
    text = terminal_table(read_json(trained_run / "summary.json"))
    assert "Sensitivity (malignant)" in text
    assert "Specificity (benign)" in text
    flat = " ".join(text.split())
    assert "Threshold: malignant from a calibrated probability of " in flat
    assert "by the rule youden; sensitivity is the share of malignant images found." in flat


def sentences(classes):
    rows = Rows(classes, None, None)
    items = [Item("a.png", b"", {"labels": ("benign", "A")}), Item("b.png", b"", {"labels": ("malignant", "DC")})]
    list(rows.make(items, np.zeros((2, 2))))
    return [text for text in Prediction(SimpleNamespace(), rows, []).summary() if "no accuracy" in text]


def test_labels_that_the_model_does_not_have_are_named():
    (line,) = sentences(["Benign", "LABEL_1"])
    assert "images labelled benign, malignant: the classes of this model are Benign, LABEL_1;" in line
    assert sentences(["benign", "malignant"]) == []
