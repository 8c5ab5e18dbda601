"""A run on a share of the specimens trains on fewer images, keeps its test sets, and is resumed with them."""

import json

import pandas as pd
import pytest
import yaml

from hf_breakhis.cli import main
from hf_breakhis.results.report import page

pytestmark = pytest.mark.usefixtures("small_reports")


def test_a_learning_curve_of_two_shares(run_fields, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(page, "write_report", lambda run: run)  # reports take longer than the rest
    monkeypatch.setattr(page, "is_reported", lambda run: True)
    base = {**run_fields, "num_train_epochs": 1, "validation_size": 0.2}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    study = {"base": "tiny.yaml", "rows": {"half": {"train_share": 0.5}}}
    (tmp_path / "curve.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    argv = ["study", str(tmp_path / "curve.yaml"), "--output_dir", str(tmp_path / "out")]
    assert main(argv) == 0
    assert "Test specimens for a half-width" in capsys.readouterr().out
    whole, half = (pd.read_csv(tmp_path / "out" / name / "folds.csv") for name in ("base", "half"))
    assert set(half["part"]) == {"train", "validation", "test", "unused"}
    same = half["part"].where(half["part"] != "unused", "train")
    assert same.equals(whole["part"]), "only training images are left out"
    found = json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in found["rows"]}
    trained = half[half["part"] == "train"].groupby("fold")["specimen_id"].nunique().mean()
    assert rows["half"]["train_specimens"] == trained < rows["base"]["train_specimens"]
    low, high = rows["base"]["accuracy"]["low"], rows["base"]["accuracy"]["high"]
    needed = {row["half_width"]: row["num_specimens"] for row in found["needed"]}
    assert abs(needed[0.05] - 70 * ((high - low) / 2 / 0.05) ** 2) <= 1
    assert "Learning curve" in (tmp_path / "out" / "study.html").read_text(encoding="utf-8")
    assert main(argv) == 0
