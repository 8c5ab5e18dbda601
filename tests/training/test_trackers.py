"""Each fold is one run of an experiment tracker, and what TensorBoard wrote stays in the run folder."""

import json
import os
import sqlite3
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_breakhis.files import InputError
from hf_breakhis.training import progress
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training_arguments import TRACKERS, BreakHisTrainingArguments


def scalars(folder):
    """The number of values of each scalar in the event files of a folder."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(folder)).Reload()
    return {tag: len(events.Scalars(tag)) for tag in events.Tags()["scalars"]}


def in_trackio(folder, name):
    """The values of each scalar in the database of trackio."""
    with sqlite3.connect(folder / "huggingface.db") as database:
        rows = database.execute("select metrics from metrics where run_name = ?", [name]).fetchall()
    database.close()
    return collected(json.loads(row[0]) for row in rows)


def in_wandb(folder, name):
    """The values of each scalar in the files that wandb wrote offline."""
    from wandb.proto.wandb_internal_pb2 import Record

    for path in folder.glob("wandb/offline-run-*/*.wandb"):
        records = [Record.FromString(content) for content in log_records(path.read_bytes())]
        if any(record.run.display_name == name for record in records):
            rows = [record.history.item for record in records if record.HasField("history")]
            return collected(
                {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row} for row in rows
            )
    raise AssertionError(f"wandb has no run {name}")


def log_records(content, block=2**15):
    """Yield the records of a file in the log format of LevelDB, which wandb begins with seven bytes of its own."""
    at, record = 7, b""
    while at + 7 <= len(content):
        if block - at % block < 7:  # no room for a header at the end of a block
            at += block - at % block
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def collected(rows):
    values = {}
    for row in rows:
        for key, value in row.items():
            values.setdefault(key, []).append(value)
    return values


LOGGED = {"trackio": in_trackio, "wandb": in_wandb}


def test_event_files_stay_in_the_folder_of_their_fold_until_restart(recipe, tmp_path):
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    assert cross_validate(recipe(run, report_to="tensorboard"))
    for fold in ("fold-0", "fold-1"):
        found = scalars(run / fold / "tensorboard")
        assert found["train/loss"] == found["eval/loss"] == 2, "one for each epoch"
        assert found["test/accuracy"] == found["test/roc_auc"] == 1, "of the finished fold"
    files = set(run.rglob("*tfevents*"))
    assert {path.parent.name for path in files} == {"tensorboard"}
    assert not cross_validate(recipe(run)), "a finished run, whatever it reports to"
    assert cross_validate(recipe(run, restart=True, num_train_epochs=1))
    assert not any(path.exists() for path in files)


def test_an_unsupported_tracker_is_refused_with_the_supported_ones():
    for given in ("comet_ml", ["tensorboard", "comet_ml"], "all"):
        with pytest.raises(InputError, match=r"which is not supported. Choose from none, tensorboard, trackio"):
            BreakHisTrainingArguments(use_cpu=True, report_to=given)
    for given in ("none", None, [], ["none"]):
        assert BreakHisTrainingArguments(use_cpu=True, report_to=given).report_to == []


@pytest.mark.parametrize(
    ("run", "run_name", "expected"),
    [
        ("outputs/c3", None, "c3-fold-1"),
        ("outputs/c3", "mine", "mine-fold-1"),
        ("outputs/c3/repeat-0", None, "c3-repeat-0-fold-1"),
        ("outputs/c3/repeat-0", "mine", "mine-repeat-0-fold-1"),
    ],
)
def test_a_fold_is_named_after_its_run(run, run_name, expected):
    assert progress.name_in_trackers(Path(run), run_name, "fold-1") == expected


def test_every_tracker_of_the_list_is_one_of_transformers():
    for name in TRACKERS:
        assert progress.get_reporting_integration_callbacks([name])


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_each_fold_is_one_run_of_a_tracker(name, recipe, tmp_path, monkeypatch):
    for variable in ("TRACKIO_DIR", "WANDB_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    module = pytest.importorskip(name)
    init, finish, calls = module.init, module.finish, []

    def begin(**given):
        calls.append((given["name"], os.environ.get("WANDB_RUN_GROUP") if name == "wandb" else None))
        return init(**given)

    monkeypatch.setattr(module, "init", begin)
    monkeypatch.setattr(module, "finish", lambda: calls.append("finish") or finish())
    assert cross_validate(recipe(tmp_path / "c3", report_to=name, num_train_epochs=1))
    group = "c3" if name == "wandb" else None
    assert calls == [("c3-fold-0", group), "finish", ("c3-fold-1", group), "finish"]
    for fold in ("fold-0", "fold-1"):
        logged = LOGGED[name](tmp_path, f"c3-{fold}")
        own = json.loads((tmp_path / "c3" / fold / "metrics.json").read_text())["test"]
        assert logged["test/accuracy"] == [pytest.approx(own["accuracy"])]
        assert logged["test/roc_auc"] == [pytest.approx(own["roc_auc"])]
        assert len(logged["train/loss"]) == 1


def test_each_fold_is_one_run_of_mlflow(recipe, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    assert cross_validate(recipe(tmp_path / "c3", report_to="mlflow", num_train_epochs=1))
    runs = mlflow.MlflowClient().search_runs(["0"])
    assert sorted((run.info.run_name, run.info.status) for run in runs) == [
        ("c3-fold-0", "FINISHED"), ("c3-fold-1", "FINISHED")
    ]  # fmt: skip
    for run in runs:
        fold = run.info.run_name.removeprefix("c3-")
        own = json.loads((tmp_path / "c3" / fold / "metrics.json").read_text())["test"]
        assert run.data.metrics["test_accuracy"] == pytest.approx(own["accuracy"])
        assert run.data.tags["group"] == "c3"


def test_a_group_of_the_user_is_kept_and_an_own_one_follows_the_run(monkeypatch):
    monkeypatch.setattr(progress, "_provided", {})
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    monkeypatch.setenv("MLFLOW_TAGS", '{"team": "a"}')
    for group in ("c1", "c2"):  # two runs of one process
        trainer = SimpleNamespace(
            args=SimpleNamespace(report_to=["wandb", "mlflow"]), callback_handler=SimpleNamespace(callbacks=[])
        )
        progress.place_trackers(trainer, Path("run"), group)
        assert os.environ["WANDB_RUN_GROUP"] == group
        assert os.environ["MLFLOW_TAGS"] == '{"team": "a"}'
    monkeypatch.setenv("WANDB_RUN_GROUP", "study")
    progress.place_trackers(trainer, Path("run"), "c3")
    assert os.environ["WANDB_RUN_GROUP"] == "study"
