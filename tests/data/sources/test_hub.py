"""A data set on the Hub is read at one commit, without code of its own, or refused in one line."""

import importlib.util
import io
import json
from pathlib import Path

import pandas as pd
import pytest

from hf_breakhis.data.filenames import parse_file_name
from hf_breakhis.data.inventory import INVENTORY

_spec = importlib.util.spec_from_file_location("loopback", Path(__file__).parents[2] / "hub/loopback.py")
loopback = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(loopback)

# Another process, since the client reads the Hub's address when it is imported.
READ = """
import json, sys
from hf_breakhis.arguments import DataArguments
from hf_breakhis.data.sources.table import load_images
from hf_breakhis.files import InputError

for wanted in json.loads(sys.argv[1]):
    try:
        images = load_images(DataArguments(**wanted))
        result = {"names": list(images.dataset["file_name"]), "labels": list(images.dataset["label"])}
        result |= {"source": images.source, "location": images.location, "revision": images.revision}
        result |= {"warnings": images.warnings, "findings": images.findings, "stamp": images.stamp}
    except InputError as error:
        result = {"refused": str(error)}
    print(json.dumps(result))
"""
CARD = """---
configs:
- {config_name: all, default: true, data_files: data/*.parquet}
- {config_name: 40X, data_files: data/40X-*.parquet}
- {config_name: 100X, data_files: data/100X-*.parquet}
- {config_name: 200X, data_files: data/200X-*.parquet}
- {config_name: 400X, data_files: data/400X-*.parquet}
---
"""


@pytest.fixture
def hub(tmp_path, run_python):
    server = loopback.LoopbackHub(tmp_path / "hub-home", run_python)
    yield server
    server.close()


@pytest.fixture
def table(draw_png, tmp_path):
    """Return Parquet of small pictures with these names."""

    def build(names, **columns):
        pictures = [{"bytes": draw_png(tmp_path / name).read_bytes(), "path": name} for name in names]
        labels = [int("_M_" in name) for name in names]
        stream = io.BytesIO()
        known = {"image": pictures, "label": labels, "file_name": names} | columns
        pd.DataFrame({name: values for name, values in known.items() if values is not None}).to_parquet(stream)
        return stream.getvalue()

    return build


def read(hub, *wanted, forked=True):
    run = hub.run("-c", READ, json.dumps(wanted), forked=forked)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def names_at(magnification):
    folders = (INVENTORY[0], INVENTORY[-1])
    return [next(str(name) for name in folder.names() if name.magnification == magnification) for folder in folders]


def test_breakhis_and_rcl_are_read_at_a_commit(hub, table):
    repo = hub.repos["dataset", "user/breakhis"] = loopback.Repo()
    shards = {f"data/{one}-0.parquet": table(names_at(one)) for one in ("40X", "100X", "200X", "400X")}
    first = repo.commit({"README.md": CARD.encode()} | shards)
    second = repo.commit({"README.md": CARD.encode()} | shards | {"data/40X-0.parquet": table(names_at("40X")[:1])})
    repo = hub.repos["dataset", "LuminaAI/RCL-Breast-Cancer-Biopsy-7500"] = loopback.Repo()
    third = repo.commit({"data/train-0.parquet": table(["_B_0.png", "_M_1.png"], file_name=None)})
    here = {"dataset": "user/breakhis"}
    wanted = [here, here | {"dataset_revision": first}, here | {"magnifications": ["200X"]}]
    wanted.append({"dataset": "rcl7500", "dataset_revision": third})
    newest, pinned, some, rcl = found = read(hub, *wanted, forked=False)
    assert read(hub, *reversed(wanted)) == list(reversed(found))  # from memory, in another process
    assert (newest["revision"], pinned["revision"]) == (second, first)
    assert (len(newest["names"]), len(pinned["names"])) == (7, 8)
    assert newest["stamp"] != pinned["stamp"]
    assert [parse_file_name(name).label for name in pinned["names"]] == pinned["labels"]
    assert (pinned["source"], pinned["location"], pinned["findings"]) == ("breakhis", "user/breakhis", [])
    start = "`dataset_revision` was not given: user/breakhis was read at its newest"
    assert any(text.startswith(start) and second in text for text in newest["warnings"])
    assert not any("dataset_revision" in sentence for sentence in pinned["warnings"])
    assert some["names"] == names_at("200X")
    assert (rcl["source"], rcl["revision"], rcl["labels"]) == ("rcl7500", third, [0, 1])
    assert rcl["names"] == ["row-00000", "row-00001"]


def test_what_cannot_be_read_is_refused_in_one_line(hub, table):
    def commit(name, files):
        repo = hub.repos["dataset", f"user/{name}"] = loopback.Repo()
        repo.commit(files)

    text = io.BytesIO()
    pd.DataFrame({"text": ["a"], "label": [0]}).to_parquet(text)
    commit("text", {"a.parquet": text.getvalue()})
    commit("code", {"code.py": b"raise SystemExit('was run')", "b.txt": b"x"})
    commit("empty", {"README.md": b"nothing"})
    commit("damaged", {"a.parquet": table(names_at("40X"))[:-30]})
    commit("parts", {"train.parquet": table(["a.png"]), "test.parquet": table(["b_M_.png"])})
    wanted = [{"dataset": f"user/{name}"} for name in ("text", "code", "empty", "damaged", "absent", "parts")]
    wanted += [{"dataset": "user/parts", "dataset_revision": "0" * 40}, {"dataset": "user/parts", "data_dir": "here"}]
    text, code, empty, damaged, absent, parts, revision, place = read(hub, *wanted)
    assert "user/text lacks the columns image, file_name; it has text, label" in text["refused"]
    assert "needs code of its own to be read, which is never run" in code["refused"]
    assert "holds no data files" in empty["refused"]
    assert "user/damaged" in damaged["refused"]
    assert "which the Hub does not have or does not show you; check the spelling" in absent["refused"]
    assert f"at revision {'0' * 40}, which the Hub does not have" in revision["refused"]
    assert "`data_dir` does not go with the Hub data set" in place["refused"]
    assert (parts["names"], parts["labels"], parts["source"]) == (["a.png", "b_M_.png"], [0, 1], "user/parts")
    assert "The parts test, train of user/parts were put together" in parts["warnings"][0]
    assert all(
        "\n" not in answer.get("refused", "") for answer in (text, code, empty, damaged, absent, revision, place)
    )


def test_without_a_network_one_line_says_what_to_do(hub, monkeypatch):
    environment = hub.environment() | {"HF_HUB_OFFLINE": "1"}
    monkeypatch.setattr(hub, "environment", lambda _token: environment)
    rcl, other = read(hub, {"dataset": "rcl7500"}, {"dataset": "user/breakhis"})
    assert "The Hub cannot be reached for LuminaAI/RCL-Breast-Cancer-Biopsy-7500" in rcl["refused"]
    assert "--local-dir DIR` and give --dataset rcl7500 --data_dir DIR." in rcl["refused"]
    assert "for LuminaAI/RCL-Breast-Cancer-Biopsy-7500: " in rcl["refused"]
    assert "give --dataset breakhis --data_dir DIR." in other["refused"]
