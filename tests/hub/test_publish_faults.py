"""What a user sees of a fault: one line, whichever route of the Hub it comes from, and nothing before the work."""

import shutil

import pytest

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.hub.publish import choose_weights

NAME = "user/breakhis-tiny"
# The client waits before it tries again; a test does not.
IMPATIENT = "import sys, time; time.sleep = lambda seconds: None; from hf_breakhis.cli import main; sys.exit(main())"


def refusal(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("route", "status"),
    [("preupload", 500), ("preupload", 429), ("batch", 503), ("tree", 500), ("commit", 500)],
)
def test_a_fault_of_any_route_is_one_line(hub, trained_run, tmp_path, route, status):
    asked = ("publish", trained_run, "--repo_id", NAME, "--output_dir", tmp_path / "publish")
    hub.refuse[route] = status
    broken = hub.run("-c", IMPATIENT, *asked)
    assert broken.returncode == 2
    assert broken.stderr.startswith("hf-breakhis: ")
    assert str(status) in broken.stderr
    assert broken.stderr.count("\n") == 1, broken.stderr
    assert hub.repos["model", NAME].files == {}


def test_an_upload_cut_off_is_one_line_and_the_next_is_silent(hub, trained_run, tmp_path):
    asked = ("publish", trained_run, "--repo_id", NAME, "--output_dir", tmp_path / "publish")
    hub.cut = 99
    broken = hub.run("-c", IMPATIENT, *asked)
    assert broken.returncode == 2
    assert broken.stderr.count("\n") == 1, broken.stderr
    hub.cut = 1  # an attempt that the client makes up for by itself
    whole = hub.run("-c", IMPATIENT, *asked)
    assert whole.returncode == 0
    assert whole.stderr == ""
    assert "README.md" in hub.repos["model", NAME].files


@pytest.mark.parametrize("command", [("publish", "run", "--repo_id"), ("space", "run", "app", "--push_to_hub")])
def test_a_malformed_name_is_refused_before_anything_heavy_is_imported(hub, command):
    code = (
        "import sys; from hf_breakhis.cli import main; code = main(); "
        "print(sorted({'torch', 'transformers', 'pandas'} & set(sys.modules))); sys.exit(code)"
    )
    done = hub.run("-c", code, *command, "no name", forked=False)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert "is no name of a repository" in done.stderr
    # with a name that may be, the next thing is looked at
    assert "There is no run" in hub.run("-c", code, *command, NAME).stderr


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("fold:9", "has weights of 0, 1 only"),
        ("fold:x", "has to be the number of a fold"),
        ("best", "--weights is 'best'"),
        ("refit", "`train --fold refit` trains one"),
    ],
)
def test_weights_that_are_not_there_are_told(which, message, trained_run):
    assert message in refusal(choose_weights, trained_run, which)


def test_bad_input_is_told_before_any_work(hub, trained_run, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(trained_run, unfinished)
    (unfinished / "finished.json").unlink()
    for arguments, token, message in [
        ((trained_run, "--repo_id", "no name"), "hf_loopback", "is no name of a repository"),
        ((trained_run, "--repo_id", NAME), None, "Not logged in"),
        ((unfinished, "--repo_id", NAME), "hf_loopback", "is not finished"),
    ]:
        done = hub.command("publish", *arguments, token=token)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
    assert hub.repos == {}


@pytest.mark.parametrize("part", ["fold-0", "fold-1/model"])
def test_a_part_of_a_run_is_refused_before_anything_is_written(part, trained_run, tmp_path, capsys):
    run = shutil.copytree(trained_run, tmp_path / "run")
    assert main(["publish", str(run / part), "--repo_id", "user/name", "--dry_run"]) == 2
    expected = f"{run / part} is a part of the run {run}; give that run, with --weights fold:{part[5]}."
    assert expected in capsys.readouterr().err
    assert not list(run.rglob("publish"))
