"""Studies on a tiny network: trained once, resumed after a kill, shared by several processes."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hf_breakhis.cli import main
from hf_breakhis.cli.study import HELD
from hf_breakhis.results.report import page
from hf_breakhis.training.lock import held

pytestmark = pytest.mark.usefixtures("small_reports")


@pytest.fixture
def study(run_fields, tmp_path):
    """Write a study of two rows on a tiny recipe, and return its path."""
    base = {**run_fields, "num_train_epochs": 1, "optimizer_name": "sgd"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    path = tmp_path / "mine.yaml"
    rows = {"focal": {"loss": "focal"}, "long": {"times": {"num_train_epochs": 2}}}
    path.write_text("# Two rows.\n" + yaml.safe_dump({"base": "tiny.yaml", "rows": rows}), encoding="utf-8")
    return path


@pytest.fixture
def no_reports(monkeypatch, scores_only):
    """Leave out the reports of the rows, which take longer than all the rest, and decisions."""
    monkeypatch.setattr(page, "write_report", lambda run: run)
    monkeypatch.setattr(page, "is_reported", lambda run: True)


def ends(folder):
    """When each fold of each row was finished; checksums are written last, and a kill may come just before them."""
    found = sorted(folder.glob("*/fold-*/checksums.json"))
    return {path.parent.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


SMALL = {"together": True, "small": ["figures", "resamples"]}


def command_of(study, folder, *words):
    return ["study", str(study), "--output_dir", str(folder), *words]


def test_a_study_trains_each_row_once_and_compares_it_with_the_base(study, tmp_path, capsys, no_reports):
    folder = tmp_path / "out"
    argv = ["study", str(study), "--output_dir", str(folder)]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "No verdict: a verdict needs 3 repeats, and this study has 1." in out
    found = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["base", "focal", "long"]
    assert rows["base"]["difference"] is None
    for name in ("focal", "long"):
        row = rows[name]
        assert row["verdict"] == "cannot tell"
        gap = row["accuracy"]["value"] - rows["base"]["accuracy"]["value"]
        assert row["difference"]["scores"]["accuracy"]["value"] == pytest.approx(gap)
        assert row["difference"]["num_images"] == row["difference"]["num_tested"]
    tables = [(folder / name / "folds.csv").read_bytes() for name in rows]
    assert len(set(tables)) == 1, "all rows have the same folds"
    text = (folder / "study.html").read_text(encoding="utf-8")
    assert "loss: focal" in text
    assert "not for diagnosis" in text

    before, content = ends(folder), (folder / "study.json").read_bytes()
    assert len(before) == 6
    assert main(argv) == 0
    assert ends(folder) == before, "nothing is trained twice"
    assert main(["study", str(folder)]) == 0
    assert main(["audit", str(folder)]) == 0
    assert (folder / "study.json").read_bytes() == content
    capsys.readouterr()

    for words, message in (
        (["study", str(study), "--learning_rate", "0.01"], "contains a study of another base (learning_rate 0.05 -> "),
        (["study", str(study), "--row", "focall"], "The study has no row focall. Did you mean `focal`?"),
        (["study", str(study), "--augmentation", "flip"], "Row base: Unknown augmentation `flip`"),
        (["study", str(folder), "--row", "focal"], "is a folder. Give the study file to train"),
        (["study", str(tmp_path)], "No study at"),
    ):
        argv = words if words[1] != str(study) else [*words, "--output_dir", str(folder)]
        assert main(argv) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine", encoding="utf-8")
    assert main(["study", str(study), "--output_dir", str(tmp_path / "other")]) == 2
    assert "contains mine.txt and no plan.json" in capsys.readouterr().err


def test_a_row_of_another_process_is_left_to_it(study, tmp_path, capsys, no_reports):
    folder = tmp_path / "out"
    with held(folder / ".locks" / "focal"):
        assert main(["study", str(study), "--output_dir", str(folder)]) == 0
        assert "row focal is being trained by another process." in capsys.readouterr().err
        found = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        assert found["missing"] == ["focal"]
        assert main(["study", str(study), "--output_dir", str(folder), "--row", "focal"]) == HELD
        assert f"{Path('.locks', 'focal')} is being trained by another process." in capsys.readouterr().err
    assert main(["study", str(study), "--output_dir", str(folder), "--row", "focal"]) == 0
    assert main(["study", str(folder)]) == 0
    assert json.loads((folder / "study.json").read_text(encoding="utf-8"))["missing"] == []


def test_with_jobs_a_row_of_another_process_is_no_failure(tmp_path, monkeypatch, capsys):
    command = importlib.import_module("hf_breakhis.cli.study")  # whose name in the package is the function
    codes = {"held": HELD, "broken": 2, "fine": 0}

    def started(study, row, words, jobs):
        log = tmp_path / f"{row}.txt"
        log.write_text("hf-breakhis: The reason.\n")
        process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({codes[row]})"])
        return command._Process(row, process, log)

    monkeypatch.setattr(command, "_started", started)
    assert command._in_processes(None, list(codes), [], 2) == ["row broken failed: The reason."]
    shown = capsys.readouterr().err
    assert "row held is being trained by another process." in shown
    assert "row broken: failed" in shown
    assert "row fine: finished" in shown


def test_a_killed_study_keeps_its_finished_rows_and_two_processes_share_the_rest(study, tmp_path, start_python):
    folder = tmp_path / "out"
    first = start_python("-m", "hf_breakhis", *command_of(study, folder), **SMALL)
    limit = time.monotonic() + 300
    while not (folder / "focal" / "fold-0" / "history.csv").exists():  # the base is finished, the first row is not
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < limit
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    before = ends(folder)
    assert "base/fold-1" in before
    both = [start_python("-m", "hf_breakhis", *command_of(study, folder), **SMALL) for _ in range(2)]
    outputs = [process.communicate(timeout=400)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    after = ends(folder)
    assert len(after) == 6
    assert {name: after[name] for name in before} == before, "finished work is kept"
    text = "".join(outputs)
    for row, epochs in (("focal", 1), ("long", 2)):
        trained = [text.count(f"fold {fold} (of 2), epoch 1 of {epochs}: train loss") for fold in (0, 1)]
        assert max(trained) <= 1, f"{row} was trained twice: {text}"


def test_rows_have_processes_of_their_own_and_a_failure_is_reported(study, tmp_path, run_python):
    """The command starts a Python from nothing for each row; the fewest rows that show it."""
    plan = yaml.safe_load(study.read_text(encoding="utf-8"))
    del plan["rows"]["focal"]
    study.write_text(yaml.safe_dump(plan), encoding="utf-8")
    folder = tmp_path / "out"
    blocked = folder / "long"
    blocked.mkdir(parents=True)
    (blocked / "mine.txt").write_text("mine", encoding="utf-8")
    (folder / "plan.json").write_text(json.dumps({"format": 2, "recipe": {}}), encoding="utf-8")
    words = command_of(study, folder, "--jobs", "2", "--restart", "true")
    done = run_python("-m", "hf_breakhis", *words, timeout=400)
    output = done.stdout + done.stderr
    assert done.returncode == 2
    assert "row long failed: " in output
    assert "mine.txt" in output.splitlines()[-1]
    found = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    assert found["missing"] == ["long"]
    assert "--row base" in (folder / "logs" / "base.txt").read_text(encoding="utf-8")
