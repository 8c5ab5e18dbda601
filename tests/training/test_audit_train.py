"""`audit` of a recipe finds what leaks, and with --train it is the study `leakage`."""

import json

import pytest
import yaml

from hf_breakhis.cli import main
from hf_breakhis.results.report import page

pytestmark = pytest.mark.usefixtures("small_reports")


@pytest.fixture
def write(fields, tmp_path):
    """Return a function that writes a tiny recipe."""

    def to_file(**others):
        path = tmp_path / "tiny.yaml"
        values = {**fields, "num_train_epochs": 1, "output_dir": str(tmp_path / "tiny"), **others}
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    return to_file


def test_audit_reads_what_leaks_and_trains_only_when_asked(write, tmp_path, scores_only, capsys, monkeypatch):
    monkeypatch.setattr(page, "write_report", lambda run: run)  # figures of twelve reports take longer than the rest
    monkeypatch.setattr(page, "is_reported", lambda run: True)
    path = write(split_by="image", twin_kwargs={"scale": 0.005, "width": 70, "height": 46})
    assert main(["audit", path]) == 0
    assert "Same specimen" in capsys.readouterr().out
    folder = tmp_path / "tiny-audit"
    assert [entry.name for entry in folder.iterdir()] == ["audit.json"]

    assert main(["audit", path, "--train", "--split_by", "patient"]) == 0
    assert "Split by image the same recipe scores" in capsys.readouterr().out
    found = json.loads((folder / "study.json").read_text())
    assert len(found["rows"]) == 12
    assert not found["missing"]
    rows = {row["name"]: row for row in found["rows"]}
    shares = {name: (row["share_same_specimen"], row["share_seen"]) for name, row in rows.items()}
    assert shares["base"] == (0, 0)
    assert shares["image-fresh"][0] > 0.8
    assert shares["specimen-carried"][1] > 0.3
    assert (rows["image-2x"]["reference"], rows["image-2x"]["num_train_epochs"]) == ("specimen-2x", 2)
    assert "What leaks" in (folder / "study.html").read_text(encoding="utf-8")

    before = (folder / "study.json").read_bytes()
    assert main(["audit", str(folder)]) == 0
    assert (folder / "study.json").read_bytes() == before


def test_audit_of_a_run_is_that_of_its_recipe(write, tmp_path, capsys):
    path = write(split_by="image")
    assert main(["audit", path]) == 0
    leaks = json.loads((tmp_path / "tiny-audit" / "audit.json").read_text())
    assert main(["train", path]) == 0
    capsys.readouterr()
    assert main(["audit", str(tmp_path / "tiny")]) == 0
    assert json.loads((tmp_path / "tiny" / "audit.json").read_text()) == leaks
    assert "Near copy" in (tmp_path / "tiny" / "report.html").read_text(encoding="utf-8")


def test_a_source_without_groups_is_audited_by_half(write, tmp_path, capsys):
    path = write(dataset="rcl7500_twin", split_by="image", num_folds=2)
    assert main(["audit", path]) == 0
    out = capsys.readouterr().out
    assert "the source names no patients" in out
    audit = json.loads((tmp_path / "tiny-audit" / "audit.json").read_text())
    assert audit["shares"]["same_patient"] is None
    assert audit["shares"]["near_copy"] > 0.05, "rotated copies are in both sets"


def test_the_leakage_of_official_folds_is_reported(write, capsys):
    assert main(["audit", write(split_by="official", num_folds=5)]) == 0
    out = capsys.readouterr().out
    assert "Official fold 1: " in out
    assert "slide 14-13412 under two types" in out


def test_copies_of_a_run_whose_images_are_gone_are_not_claimed(write, tmp_path, capsys):
    assert main(["data", "twin", str(tmp_path / "t"), "--scale", "0.001", "--width", "48", "--height", "32"]) == 0
    path = write(dataset="breakhis", data_dir=str(tmp_path / "t"), twin_kwargs=None)
    assert main(["train", path]) == 0
    (tmp_path / "t").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main(["audit", str(tmp_path / "tiny")]) == 0
    assert "Copies were not searched: the images could not be read" in capsys.readouterr().out
    assert main(["audit", str(tmp_path / "tiny"), "--data_dir", str(tmp_path / "elsewhere")]) == 0
    assert "Copies were not searched" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["audit", "nowhere"], "There is no file, folder or recipe nowhere"),
        (["audit", "docs", "--train"], "--train needs a recipe"),
    ],
)
def test_bad_input_ends_in_one_line(argv, message, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
