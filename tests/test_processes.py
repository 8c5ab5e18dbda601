"""A process that is forked from one with the libraries behaves as one that is started from nothing."""

import ast
import os
import subprocess
import sys

import pytest

LOOK = """
import os, sys, threading
from datasets import config
from huggingface_hub import constants, hf_hub_url
print([sys.argv[1:], os.getcwd(), dict(os.environ), str(config.HF_DATASETS_CACHE), constants.HF_HUB_CACHE,
       hf_hub_url("a/b", "c"), threading.active_count(), __name__])
print("error", file=sys.stderr)
sys.exit(7)
"""


def test_it_has_arguments_environment_folder_output_and_code_of_its_own(run_python, tmp_path):
    environment = os.environ | {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9", "ONE": "1"}
    del environment["HF_DATASETS_CACHE"]
    forked = run_python("-c", LOOK, "a b", environment=environment, cwd=tmp_path)
    command = [sys.executable, "-c", LOOK, "a b"]
    started = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert ast.literal_eval(forked.stdout) == ast.literal_eval(started.stdout)
    assert (forked.returncode, forked.stderr) == (started.returncode, started.stderr) == (7, "error\n")
    assert str(tmp_path / "hub") in forked.stdout


def test_it_can_be_killed(start_python):
    process = start_python("-c", "import time; print('here', flush=True); time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.kill(process.pid, 9)
    assert process.wait(60) == process.returncode == -9


def test_an_exception_has_a_traceback_and_a_code(run_python):
    done = run_python("-c", "1 / 0", together=True)
    assert done.returncode == 1
    assert done.stdout.rstrip().endswith("ZeroDivisionError: division by zero")
    assert done.stderr is None
