"""A run that is killed at any moment, or runs out of room, and is started again ends as one that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


@pytest.mark.parametrize(
    "fault",
    # number and seed; or bytes: too few for the table of colours, for a checkpoint, for the report
    [["kills", "20", "7"], ["kills", "4", "8"], ["full", "10000", "60000", "250000"]],
    ids=["twenty kills", "kills with a loading process", "full disks"],
)
def test_faults_change_nothing(fault, tmp_path, fields, same_run, request):
    if fault[0] == "full":  # checkpoints larger than the files before them
        fields = fields | {"model_kwargs": fields["model_kwargs"] | {"embedding_size": 16, "hidden_sizes": [16, 48]}}
    elif "loading" in request.node.callspec.id:  # the pictures of an epoch are turned at random by another process
        fields = fields | {"dataloader_num_workers": 1}
    recipe = tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(fields), encoding="utf-8")
    (tmp_path / "runs").mkdir()
    script = Path(__file__).with_name("kills.py")
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(recipe), str(tmp_path / "runs"), *fault],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=one_thread,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone, *struck = json.loads(done.stdout.splitlines()[-1])
    assert struck
    for run in struck:
        same_run(run, alone)
        one, other = (json.loads(Path(folder, "summary.json").read_text()) for folder in (run, alone))
        assert one.pop("name") != other.pop("name")
        assert one == other
        assert Path(run, "report.html").is_file()
