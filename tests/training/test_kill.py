"""A run that is killed at any moment and started again ends as one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

KILLS = 20


def test_twenty_kills_change_nothing(tmp_path, fields, same_run):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(fields), encoding="utf-8")
    script = Path(__file__).with_name("kills.py")
    command = [sys.executable, str(script), str(recipe), str(tmp_path / "runs"), str(KILLS), "7"]
    (tmp_path / "runs").mkdir()
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], env=one_thread
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone, *killed = json.loads(done.stdout.splitlines()[-1])
    assert killed
    for run in killed:
        same_run(run, alone)
        one, other = (json.loads(Path(folder, "summary.json").read_text()) for folder in (run, alone))
        assert one.pop("name") != other.pop("name")
        assert one == other
        assert Path(run, "report.html").is_file()
