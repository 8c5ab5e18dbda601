"""A study trains one recipe under every protocol, and what is trained already is used."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.results.summary import summarise
from hf_breakhis.training import protocols as module
from hf_breakhis.training.protocols import protocols


def test_protocols_differ_in_split_carrying_and_length_alone(recipe, tmp_path):
    own = recipe(tmp_path / "c", split_by="image", scheduler_name="step", scheduler_kwargs={"step_size": 3})
    found = protocols(own, tmp_path / "c-audit")
    assert list(found) == [
        f"{level}-{way}" for level in ("image", "patient", "specimen") for way in ("fresh", "carried", "2x", "3x")
    ]
    found_fields = {
        name: (one.data.split_by, one.model.carry_over, one.training.num_train_epochs) for name, one in found.items()
    }
    assert found_fields["image-fresh"] == ("image", "none", 2)
    assert found_fields["patient-carried"] == ("patient", "all", 2)
    assert found_fields["specimen-3x"] == ("specimen", "none", 6)
    folders = {name: Path(one.training.output_dir) for name, one in found.items()}
    assert folders["image-fresh"] == tmp_path / "c", "the recipe's own run is shared"
    assert folders["image-2x"] == tmp_path / "c-audit" / "image-2x"
    assert len(set(folders.values())) == len(folders)


def test_every_protocol_of_an_unstratified_recipe_is_stratified(recipe, tmp_path):
    own = recipe(tmp_path / "c", split_by="image", stratify=False)
    found = protocols(own, tmp_path / "c-audit")
    assert {one.data.stratify for one in found.values()} == {True}
    assert str(tmp_path / "c") not in {one.training.output_dir for one in found.values()}, (
        "its own run is not like them"
    )


def test_a_schedule_that_ends_with_its_fold_carries_the_weights_alone(recipe, tmp_path):
    own = recipe(tmp_path / "c", scheduler_name="cosine")
    assert protocols(own, tmp_path / "s")["image-carried"].model.carry_over == "model"


def test_a_hold_out_carries_nothing(recipe, tmp_path):
    assert "image-carried" not in protocols(recipe(tmp_path / "c", num_folds=1), tmp_path / "s")


@pytest.mark.parametrize(
    ("fields", "message"), [({"fold": "1"}, "needs all folds"), ({"repeats": 3}, "set repeats to 1")]
)
def test_a_part_of_a_run_or_repeats_are_refused(recipe, tmp_path, fields, message):
    with pytest.raises(InputError, match=message):
        protocols(recipe(tmp_path / "c", **fields), tmp_path / "s")


@pytest.fixture
def write(fields, tmp_path):
    """Return a function that writes a tiny recipe."""

    def to_file(**others):
        path = tmp_path / "tiny.yaml"
        values = {**fields, "num_train_epochs": 1, "output_dir": str(tmp_path / "tiny"), **others}
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    return to_file


def test_audit_reads_what_leaks_and_trains_only_when_asked(write, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "LENGTHS", ())
    monkeypatch.setattr(
        sys.modules["hf_breakhis.cli.audit"], "_report", summarise
    )  # six reports with figures take as long as all the rest
    path = write(split_by="image")
    assert main(["audit", path]) == 0
    assert "Same specimen" in capsys.readouterr().out
    folder = tmp_path / "tiny-audit"
    assert [entry.name for entry in folder.iterdir()] == ["audit.json"]
    leaks = json.loads((folder / "audit.json").read_text())

    assert main(["train", path]) == 0
    own = (tmp_path / "tiny" / "fold-0" / "metrics.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["audit", str(tmp_path / "tiny")]) == 0
    assert json.loads((tmp_path / "tiny" / "audit.json").read_text()) == leaks, "a run's audit is its recipe's"
    assert "Near copy" in (tmp_path / "tiny" / "report.html").read_text(encoding="utf-8")

    assert main(["audit", path, "--train"]) == 0
    out = capsys.readouterr().out
    assert "Split by image the same recipe scores" in out
    found = json.loads((folder / "study.json").read_text())
    assert len(found["rows"]) == 6
    assert not found["missing"]
    shares = {row["name"]: (row["share_same_specimen"], row["share_seen"]) for row in found["rows"]}
    assert shares["specimen-fresh"] == (0, 0)
    assert shares["image-fresh"][0] > 0.9
    assert shares["specimen-carried"][1] > 0.3
    assert (tmp_path / "tiny" / "fold-0" / "metrics.json").stat().st_mtime_ns == own, "trained once"

    before = (folder / "study.json").read_bytes()
    assert main(["audit", str(folder)]) == 0
    assert (folder / "study.json").read_bytes() == before


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
    [(["audit", "nowhere"], "No recipe at nowhere"), (["audit", "docs", "--train"], "--train needs a recipe")],
)
def test_bad_input_ends_in_one_line(argv, message, capsys):
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
