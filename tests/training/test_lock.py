"""Two runs never train one fold at the same time."""

import subprocess
import sys

import pytest
from filelock import FileLock

from hf_breakhis.files import InputError
from hf_breakhis.training.crossval import cross_validate
from hf_breakhis.training.lock import NAME, held, require_free


def test_a_second_run_on_one_folder_is_refused_and_the_first_keeps_its_files(tmp_path, recipe):
    run = tmp_path / "run"
    (run / "fold-0").mkdir(parents=True)
    code = (
        "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(run / "fold-0" / NAME)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(InputError, match=r"fold-0 is being trained by another process. Wait"),
            held(run / "fold-0"),
        ):
            pass
        with pytest.raises(InputError, match="being trained by another process"):
            cross_validate(recipe(run, restart=True))
        assert (run / "fold-0" / NAME).is_file()
        with held(run / "fold-1"):  # a job array trains folds side by side
            pass
    finally:
        other.communicate()
    require_free(run)  # the lock ended with its process


def test_a_lock_leaves_nothing_behind(tmp_path):
    with held(tmp_path / "fold-0"):
        assert FileLock(tmp_path / "fold-0" / NAME) is not None
    assert list((tmp_path / "fold-0").iterdir()) == []
