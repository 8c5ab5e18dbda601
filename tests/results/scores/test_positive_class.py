"""The positive class is named where sensitivity or a threshold is reported, and labels of other names are reported."""

import re
from shutil import copytree
from types import SimpleNamespace

import numpy as np
import pytest

from hf_breakhis.cli import main
from hf_breakhis.files import read_json
from hf_breakhis.inference.inputs import InputImage
from hf_breakhis.inference.output import Rows
from hf_breakhis.inference.predict import Prediction
from hf_breakhis.results.formatting import rate_name
from hf_breakhis.results.report.terminal import terminal_table

TABLES = {  # where a row, a column or a panel has the name of a rate
    "README.md": (r"^\|.*$", 5),  # the threshold, pooled (images, patients), per fold, per slice
    "report.html": (r"<(?:t[hd]|text)\b[^>]*>[^<]*", 5),  # averages, the threshold, panels of figures
    "comparison.html": (r"<(?:t[hd]|text)\b[^>]*>[^<]*", 0),
}


@pytest.fixture(scope="module")
def pages(trained_run, tmp_path_factory):
    """The card, the report and a comparison of a run."""
    folder = tmp_path_factory.mktemp("pages")
    given = ["--repo_id", "user/model", "--dry_run", "--output_dir", str(folder / "model")]
    run = copytree(trained_run, folder / "run")  # a comparison writes its summary again
    assert main(["publish", str(run), *given]) == 0
    assert main(["compare", str(run), "--output_dir", str(folder / "comparison")]) == 0
    return [folder / "model" / "README.md", run / "report.html", folder / "comparison" / "comparison.html"]


def test_every_table_with_sensitivity_or_specificity_names_the_class(pages):
    for page in pages:
        pattern, least = TABLES[page.name]
        cells = re.findall(pattern, page.read_text(), re.MULTILINE)
        rates = re.findall(r"(?i)(sensitivity|specificity)(?! \+)([^|<>]*)", "\n".join(cells))
        assert len(rates) >= 2 * least
        for rate, rest in rates:
            named = "(malignant)" if rate.lower() == "sensitivity" else "(benign)"
            assert named in rest, (page.name, rate, rest)


def test_the_scores_that_the_hub_reads_name_the_class(pages):
    head = pages[0].read_text().split("---")[1]
    assert "name: Sensitivity (malignant)" in head
    assert not re.search(r"name: (Sensitivity|Specificity)$", head, re.MULTILINE)


def test_only_the_rates_of_two_classes_are_named():
    assert rate_name("sensitivity", "Sensitivity", ("healthy", "tumour")) == "Sensitivity (tumour)"
    assert rate_name("specificity", "specificity", ("healthy", "tumour")) == "specificity (healthy)"
    assert rate_name("sensitivity", "Sensitivity", "ABC") == "Sensitivity"
    assert rate_name("accuracy", "Accuracy", ("healthy", "tumour")) == "Accuracy"


def test_the_terminal_names_the_class_of_sensitivity_and_threshold(trained_run):
    text = terminal_table(read_json(trained_run / "summary.json"))
    assert "Sensitivity (malignant)" in text
    assert "Specificity (benign)" in text
    flat = " ".join(text.split())
    assert "Threshold: malignant from a calibrated probability of " in flat
    assert "by the rule youden; sensitivity is the share of malignant images found." in flat


def sentences(classes):
    rows = Rows(classes, None, None)
    items = [
        InputImage("a.png", b"", {"labels": ("benign", "A")}),
        InputImage("b.png", b"", {"labels": ("malignant", "DC")}),
    ]
    list(rows.make(items, np.zeros((2, 2))))
    return [text for text in Prediction(SimpleNamespace(), rows, []).summary() if "no accuracy" in text]


def test_labels_that_the_model_does_not_have_are_named():
    (line,) = sentences(["Benign", "LABEL_1"])
    assert "images labelled benign, malignant: the classes of this model are Benign, LABEL_1;" in line
    assert sentences(["benign", "malignant"]) == []
