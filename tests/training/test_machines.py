"""Two machines train as two processes do; when one is lost the other ends with the reason, and both continue."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCHER = ["-m", "accelerate.commands.launch", "--config_file", "recipes/accelerate/two_cpus.yaml"]


@pytest.fixture
def launch(tmp_path, fields, start_python):
    """Start one launcher a machine, both on loopback, and return them: `launch("run")`."""
    recipe = tmp_path / "small.yaml"

    def start(name, **changes):
        recipe.write_text(yaml.safe_dump({**fields, **changes, "use_cpu": False}), encoding="utf-8")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        launched = []
        for rank in "01":
            machine = ["--num_machines", "2", "--num_processes", "2", "--machine_rank", rank]
            machine += ["--main_process_ip", "127.0.0.1", "--main_process_port", port]
            command = [*LAUNCHER, *machine, "scripts/train.py", str(recipe), "--output_dir", str(tmp_path / name)]
            launched.append(start_python(*command, environment=environment, together=True))
        return launched

    return start


def trainer_of(machine):
    """The process that a launcher started."""
    found = Path(f"/proc/{machine.pid}/task/{machine.pid}/children").read_text().split()
    return int(found[0])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to find the launcher's child")
def test_a_lost_machine_ends_the_other_and_both_continue(launch, run_two, tmp_path, same_run):
    """Launchers start the processes that are interrupted; those that follow are forked, with what launchers set."""
    fold = {"num_folds": 1, "num_train_epochs": 15}
    machines = launch("lost", **fold)
    until = time.monotonic() + 120
    while not list((tmp_path / "lost").glob("fold-0/checkpoints/*/checksums.json")):
        assert time.monotonic() < until, "no checkpoint after two minutes"
        assert machines[0].poll() is None, machines[0].communicate()[0]
        time.sleep(0.05)
    os.kill(trainer_of(machines[1]), signal.SIGKILL)
    out, _ = machines[0].communicate(timeout=60)
    machines[1].wait(timeout=60)
    assert machines[0].returncode
    assert machines[1].returncode
    assert not (tmp_path / "lost" / "fold-0" / "metrics.json").exists()
    assert "hf-breakhis: Another process of this run has exited. Run the same command again to resume." in out

    train = (ROOT / "scripts/train.py", tmp_path / "small.yaml", "--output_dir")
    run_two(*train, tmp_path / "lost", machines=2, small=["figures", "resamples"])
    run_two(*train, tmp_path / "uninterrupted", small=["figures", "resamples"])
    same_run(tmp_path / "lost", tmp_path / "uninterrupted")
