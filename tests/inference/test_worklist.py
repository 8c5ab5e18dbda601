"""Worklists: one row a patient, sorted by risk, with the zones and thresholds of the run."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.cli import main
from hf_breakhis.inference.predict import predict_images
from hf_breakhis.results.scores.conformal import Zones
from hf_breakhis.results.summary import Choices, summarise
from hf_breakhis.run import Run


@pytest.fixture(scope="module")
def rows(run, twin):
    """Rows of all images."""
    return predict_images(run, [twin])


@pytest.fixture(scope="module")
def refitted(run, tmp_path_factory):
    """The run with a refit, whose weights are those of fold 0."""
    copy = tmp_path_factory.mktemp("refitted") / "run"
    shutil.copytree(run, copy)
    shutil.copytree(run / "fold-0", copy / "refit")
    Run(copy).seal()
    return copy


def worklist(capsys, *words):
    capsys.readouterr()
    code = main(["predict", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def read(text):
    return pd.read_csv(io.StringIO(text), keep_default_na=False)


@pytest.mark.parametrize("unit", ["patient", "specimen"])
@pytest.mark.parametrize("aggregation", ["mean", "maximum", "share"])
def test_scores_are_those_of_pandas_and_sorted(refitted, twin, rows, capsys, unit, aggregation):
    code, out, err = worklist(capsys, refitted, twin, "--by", unit, "--aggregation", aggregation, "--fold", "refit")
    assert code == 0
    table = read(out)
    decision = json.loads((refitted / "decision.json").read_text())
    score = rows["calibrated_malignant"]
    groups = rows.assign(score=score, over=score >= decision["threshold"]).groupby(f"{unit}_id")
    expected = {"mean": groups["score"].mean(), "maximum": groups["score"].max(), "share": groups["over"].mean()}
    found = table.set_index(f"{unit}_id")["score"]
    assert found.to_dict() == pytest.approx(expected[aggregation].to_dict(), abs=1e-6)
    assert table["score"].is_monotonic_decreasing
    assert table["rank"].tolist() == list(range(1, len(table) + 1))
    assert table["num_images"].sum() == len(rows)
    threshold = decision["by_unit"][unit][aggregation]
    assert (table["decision"] == np.where(table["score"] >= threshold, "malignant", "benign")).all()
    zones = Zones(**decision["zones"]["zones"][aggregation])
    assert (table["zone"] == np.array(["low", "uncertain", "high"])[zones.place(table["score"].to_numpy())]).all()
    assert err.splitlines()[0] == "Research software: not for diagnosis."
    assert set(table["use"]) == {"for research, not for diagnosis"}
    assert "zones for an error of at most 10 %" in err


def test_zones_are_those_of_a_refit_only(refitted, twin, capsys):
    """In simulations the model of one fold exceeds the guarantee: benchmarks/zones.py."""
    code, out, err = worklist(capsys, refitted, twin, "--by", "patient")
    assert code == 0
    assert "zone" not in read(out).columns
    assert "decision" in read(out).columns
    assert "no zones: they are those of a refit" in err
    assert "zones for an error of" not in err
    code, out, err = worklist(capsys, refitted / "refit" / "model", twin, "--by", "patient")
    assert "zone" in read(out).columns
    assert "no zones" not in err


def test_files_hold_the_same_list(run, twin, capsys, tmp_path):
    tables = {}
    for ending in ("csv", "jsonl", "parquet"):
        path = tmp_path / f"list.{ending}"
        assert worklist(capsys, run, twin, "--by", "patient", "--output", path)[0] == 0
        readers = {"csv": pd.read_csv, "jsonl": lambda one: pd.read_json(one, lines=True), "parquet": pd.read_parquet}
        tables[ending] = readers[ending](path)
    first = tables["csv"]
    for table in tables.values():
        assert list(table.columns) == list(first.columns)
        assert table["patient_id"].tolist() == first["patient_id"].tolist()
        assert (table["use"] == "for research, not for diagnosis").all()
        assert table["score"].tolist() == pytest.approx(first["score"].tolist())


def test_a_patient_is_seen_if_any_image_is(run, twin, rows, capsys):
    table = read(worklist(capsys, run, twin, "--by", "patient")[1]).set_index("patient_id")
    expected = rows.groupby("patient_id")["seen_in_training"].any()
    assert (table["seen_in_training"].astype(str) == "True").to_dict() == expected.to_dict()
    assert 0 < expected.sum() < len(expected)


@pytest.fixture
def nameless(twin, tmp_path):
    """Four pictures without BreakHis names, and a table of their patients."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, path in enumerate(sorted(twin.rglob("*.png"))[:4]):
        shutil.copy(path, folder / f"{number}.png")
    table = tmp_path / "patients.csv"
    table.write_text("file_name,patient_id\n0.png,a\n1.png,a\n2.png,b\npictures/3.png,b\n")
    return folder, table


def test_a_table_names_the_patients(run, nameless, capsys):
    folder, table = nameless
    code, out, _ = worklist(capsys, run, folder, "--by", "patient", "--metadata", table)
    assert code == 0
    assert sorted(read(out)["patient_id"]) == ["a", "b"]
    assert read(out)["num_images"].tolist() == [2, 2]


def test_unknown_patients_end_in_one_line_and_write_nothing(run, nameless, capsys, tmp_path):
    folder, table = nameless
    table.write_text("file_name,patient_id\n0.png,a\n1.png,a\n2.png,\n3.png,b\n")
    for words in ([], ["--metadata", table]):
        code, out, err = worklist(capsys, run, folder, "--by", "patient", "--output", tmp_path / "list.csv", *words)
        assert (code, out) == (2, "")
        line = err.strip().splitlines()[-1]
        assert ("2.png" if words else "0.png") in line
        assert "is unknown, so there is no list by patient. Give --metadata FILE.csv" in line
        assert "scores by image can still be reported" in line
        assert not (tmp_path / "list.csv").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file_name,specimen_id\n0.png,a\n", "patient_id"),
        ("file_name,patient_id\n0.png,a\n0.png,b\n", "has 0.png with several patients"),
        ("file_name,patient_id\n", "no rows"),
    ],
)
def test_tables_that_name_no_patients_are_refused(run, nameless, capsys, content, words):
    folder, table = nameless
    table.write_text(content)
    code, _, err = worklist(capsys, run, folder, "--by", "patient", "--metadata", table)
    assert code == 2
    assert words in err


def test_options_of_a_worklist_need_it(run, twin, capsys):
    assert worklist(capsys, run, twin, "--aggregation", "share")[0] == 2
    code, _, err = worklist(capsys, run, twin, "--metadata", "x.csv")
    assert code == 2
    assert "need --by patient or --by specimen" in err


def test_a_model_without_a_decision_sorts_by_its_probability(write_model, twin, capsys):
    model = write_model()
    code, out, err = worklist(capsys, model, twin, "--by", "patient")
    assert code == 0
    columns = ["rank", "patient_id", "num_images", "score", "label", "seen_in_training", "use"]
    assert list(read(out).columns) == columns
    assert "no zones: the model has none" in err
    assert "no decision by patient" in err
    code, _, err = worklist(capsys, model, twin, "--by", "patient", "--aggregation", "share")
    assert code == 2
    assert "needs the threshold of images" in err


def test_zones_of_other_scores_are_not_used(run, write_model, twin, capsys):
    """A decision.json without a temperature, as for other members of an ensemble than those that were scored."""
    model = write_model()
    decision = json.loads((run / "decision.json").read_text()) | {
        "temperature": None,
        "threshold": None,
        "reason": "x",
    }
    (model / "decision.json").write_text(json.dumps(decision))
    code, out, _ = worklist(capsys, model, twin, "--by", "patient")
    assert code == 0
    assert {"zone", "decision"}.isdisjoint(read(out).columns)


def test_other_numbers_of_classes_are_refused(write_model, twin, capsys):
    code, _, err = worklist(capsys, write_model(("a", "b", "c")), twin, "--by", "patient")
    assert code == 2
    assert "needs a model of two classes; this one has 3" in err


def test_refused_zones_give_their_reason(refitted, twin, capsys, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(refitted, copy)
    decision = json.loads((copy / "decision.json").read_text())
    decision["zones"] |= {"zones": {}, "reason": "A guarantee of 1 % needs 99 specimens of each class."}
    (copy / "decision.json").write_text(json.dumps(decision))
    Run(copy).seal()
    code, out, err = worklist(capsys, copy, twin, "--by", "patient", "--fold", "refit")
    assert code == 0
    assert "zone" not in read(out).columns
    assert "no zones: A guarantee of 1 % needs 99 specimens of each class." in err
    summarise(copy, Choices(error=0.5))
    code, out, err = worklist(capsys, copy, twin, "--by", "patient", "--fold", "refit")
    assert "at most 50 %" in err
