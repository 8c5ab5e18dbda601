"""What every command relies on: output that any terminal and any file can take, names, and a home directory."""

import contextlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hf_breakhis.cli import main, start
from hf_breakhis.files import MAX_NAME, InputError, cannot_write, checksum, expand_home, nearest_name, write_text
from hf_breakhis.recipe import KNOWN, build_recipe
from hf_breakhis.yaml_files import read_yaml

NAME = "Łódź, żółć"


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Terminal, rb"\u0141\xf3d\u017a, \u017c\xf3\u0142\u0107"), (io.TextIOWrapper, NAME.encode())],
)
def test_a_terminal_gets_escapes_and_a_file_utf8(kind, expected, monkeypatch):
    stream = kind(io.BytesIO(), encoding="cp1252")
    with pytest.raises(UnicodeEncodeError):  # the control: without it, the first name ends the command
        stream.write(NAME)
    monkeypatch.setattr(sys, "stdout", stream)
    start.state_encoding()
    sys.stdout.write(NAME)
    sys.stdout.flush()
    assert stream.buffer.getvalue().replace(b"\xf3", rb"\xf3") == expected


def test_every_text_file_is_utf8_even_with_names_that_are_not(tmp_path):
    assert write_text(tmp_path / "a", f"{NAME}\udce9").read_bytes() == NAME.encode() + rb"\udce9"


def command(*words, before="", **environment):
    """Run `python -m hf_breakhis` in a shell, with what a shell can do to its streams."""
    line = f'{before}"{sys.executable}" -m hf_breakhis {" ".join(words)}'
    env = {**os.environ, **environment}
    return subprocess.run(["bash", "-c", line], capture_output=True, env=env, timeout=120, check=False)


def test_names_of_any_alphabet_reach_a_file_and_a_pipe():
    done = command("recipes", "copy", f"'{NAME}'", "mine.yaml", PYTHONIOENCODING="cp1252")
    assert done.returncode == 2
    assert NAME in done.stderr.decode("utf-8")
    assert b"Traceback" not in done.stderr


def test_a_locale_without_utf8_is_refused_with_what_to_set():
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command("recipes", "copy", f"'{NAME}'", "mine.yaml", **ascii_only)
    assert done.returncode == 2
    assert b"Set PYTHONUTF8=1, or LC_ALL=C.UTF-8." in done.stderr
    assert done.stderr.count(b"\n") == 1
    done = command("recipes", "copy", f"'{NAME}'", "mine.yaml", LC_ALL="C")
    assert NAME in done.stderr.decode("utf-8")


def test_a_python_without_docstrings_is_refused():
    done = command("recipes", PYTHONOPTIMIZE="2")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"hf-breakhis: Python runs without docstrings (-OO, or PYTHONOPTIMIZE=2)")
    assert done.stderr.count(b"\n") == 1
    assert command("recipes", PYTHONOPTIMIZE="1").returncode == 0


def test_a_current_folder_that_was_deleted_is_one_line(tmp_path):
    """Libraries fail there one after the other, MKL without an exception."""
    gone = tmp_path / "gone"
    gone.mkdir()
    done = command("doctor", before=f"cd {gone} && rmdir {gone} && ")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b"hf-breakhis: The current folder was deleted. Change to one that exists, for example cd ~.\n"
    )


def test_a_closed_output_is_an_error_in_one_line():
    done = command("recipes", ">&-")
    assert done.returncode == 2
    assert done.stderr == b"hf-breakhis: Standard output is closed. Redirect it to a file, or to /dev/null.\n"
    assert command("recipes", "--help", "2>&-").returncode == 0


def test_a_reader_that_has_seen_enough_is_no_fault():
    done = command("--help", "| true; exit ${PIPESTATUS[0]}")
    assert done.returncode in (0, 141)  # 0 if all was written before the reader ended
    assert done.stderr == b""


def test_a_reader_of_many_lines_may_stop_too(start_python, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start_python("-m", "hf_breakhis", "train", "--help", pipe=pipe)
    pipe.open().close()
    assert process.communicate(120) == (None, "")
    assert process.returncode in (0, 141)


def test_a_broken_pipe_that_is_not_the_output_is_told(monkeypatch, capsys):
    def fail(**_given):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("hf_breakhis.cli.app", fail)
    monkeypatch.setattr("hf_breakhis.cli.reader_is_gone", lambda: False)
    assert main(["doctor"]) == 1
    assert "a pipe to another process broke" in capsys.readouterr().err


@pytest.fixture
def locked(tmp_path):
    """A folder that may not be read, and what starts a command that has to respect it: nothing, or `setpriv`."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0)
    before = "setpriv --bounding-set=-dac_override,-dac_read_search " if os.geteuid() == 0 else ""
    shown = subprocess.run(["bash", "-c", f"{before}ls {folder}"], capture_output=True, text=True, check=False)
    if "Permission denied" not in shown.stderr:
        pytest.skip("this user may read every folder")
    yield folder, before
    folder.chmod(0o700)


def test_a_folder_that_may_not_be_read_is_one_line(locked):
    folder, before = locked
    done = command("report", str(folder / "run"), before=before)
    assert done.returncode == 2
    assert done.stderr.decode() == (
        f"hf-breakhis: A file or folder cannot be used: [Errno 13] Permission denied: '{folder / 'run'}'. "
        "Check its name and permissions, or give another one.\n"
    )


def test_a_file_that_may_not_be_read_is_not_to_be_trained_again(tmp_path, monkeypatch):
    def fail(*_given):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(InputError, match=r"\(Permission denied\); check its permissions\.$"):
        checksum(tmp_path / "folds.csv")


def test_a_home_directory_is_written_out_on_the_command_line_and_in_recipes(monkeypatch, tmp_path, run_fields):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert start.prepare_command(["train", "~/r.yaml", "--output_dir=~/x", "a~/b", "~"]) == [
        "train", f"{tmp_path}/r.yaml", f"--output_dir={tmp_path}/x", "a~/b", str(tmp_path),
    ]  # fmt: skip
    recipe = build_recipe({**run_fields, "output_dir": "~/runs/a", "data_dir": "~/data"}, {})
    assert recipe.training.output_dir == f"{tmp_path}/runs/a"
    assert recipe.data.data_dir == f"{tmp_path}/data"


def test_dashes_in_a_flag_are_as_good_as_underscores():
    assert start.prepare_command(["predict", "a-b", "--batch-size=1-2", "--by-x", "-h", "--", "--a-b", "--c"]) == [
        "predict", "a-b", "--batch_size=1-2", "--by_x", "-h", "--", "--a-b", "--c",
    ]  # fmt: skip
    for flag in ("--help", "--help_all", "--help-all", "--version"):
        assert start.prepare_command([flag]) == [flag]


@pytest.mark.parametrize(
    "words", ["compare none --output-dir x", "score none.csv --output-dir x", "train none --learning-rate 1"]
)
def test_each_of_three_parsers_takes_dashes(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert "none" in capsys.readouterr().err, "the flag was accepted, the place was not"


@pytest.mark.parametrize("words", [[], ["report"], ["data", "verify"], ["train"], ["score"], ["study"]])
def test_the_short_form_of_help(words, capsys):
    shown = []
    for flag in ("-h", "--help"):
        with contextlib.suppress(SystemExit):
            main([*words, flag])
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "sage: hf-breakhis" in shown[0]


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """No HOME, and a user whom the password database does not know, as in many containers."""
    import pwd

    def unknown(_number):
        raise KeyError

    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    assert os.path.expanduser("~") == "~"
    return tmp_path


def test_without_a_home_directory_no_folder_of_that_name_appears(homeless, monkeypatch, capsys):
    assert main(["data", "info"]) == 2
    assert "Set HOME, or HF_HOME to a folder for caches." in capsys.readouterr().err
    monkeypatch.setenv("HF_HOME", str(homeless / "cache"))
    assert main(["data", "info", "--data_dir", "~/x"]) == 2
    assert "~/x is in the home directory, but HOME is not set" in capsys.readouterr().err
    assert main(["data", "info", "--data_dir", "x"]) == 2  # the control: it gets as far as the folder
    assert "`data_dir` is x" in capsys.readouterr().err
    assert list(homeless.iterdir()) == []


def test_a_home_directory_that_cannot_be_written_is_told_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(start.os, "access", lambda _place, _mode: False)
    assert main(["data", "info"]) == 2
    assert capsys.readouterr().err == (
        f"hf-breakhis: {tmp_path} is not writable, so nothing can be cached. Set HF_HOME to a folder for caches.\n"
    )


def test_what_to_do_about_a_cache_is_another_advice_than_for_a_run(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    error = OSError(30, "Read-only file system")
    assert "set HF_HOME to another folder" in str(cannot_write(tmp_path / "datasets" / "x", error))
    assert "Check the permissions and the free space, or give another place." in str(
        cannot_write(tmp_path.parent / "run", error)
    )


def test_a_path_without_a_home_in_it_is_left_as_it_is():
    assert [expand_home(text) for text in ("a/~", "~user/x", "", "~.png")] == ["a/~", "~user/x", "", "~.png"]


def test_a_long_or_a_wide_recipe_takes_no_time(tmp_path):
    wide = tmp_path / "wide.yaml"
    wide.write_text("\n".join(f"key_{i}: 1" for i in range(20_000)))
    begin = time.process_time()
    read_yaml(wide, "a recipe", type("Loader", (yaml.SafeLoader,), {}))
    plain = time.process_time() - begin
    begin = time.process_time()
    read_yaml(wide, "a recipe")
    assert time.process_time() - begin < 3 * plain + 0.5
    assert nearest_name("learning_rat", KNOWN) == "learning_rate"
    assert nearest_name("learning_rate" + "e" * MAX_NAME, KNOWN) is None


def test_the_nearest_name_does_not_depend_on_the_case_of_letters():
    slides = ["SOB_B_A-14-22549AB-40-001.png", "SOB_B_A-14-29960CD-40-001.png", "SOB_M_DC-14-2523-40-001.png"]
    for name in slides:
        assert nearest_name(name.lower(), slides) == name
        assert nearest_name(name.upper(), slides) == name


def test_a_report_of_a_read_only_run_goes_to_a_copy(trained_run, tmp_path, few_figures, capsys):
    assert main(["report", str(trained_run), "--output_dir", str(tmp_path / "run")]) == 0
    assert f"report: {tmp_path / 'run' / 'report.html'}" in capsys.readouterr().out
    before = (trained_run / "summary.json").read_bytes()
    assert (tmp_path / "run" / "summary.json").read_bytes() == before
    assert main(["report", str(trained_run), "--output_dir", str(tmp_path / "run")]) == 0
    for words in ([str(trained_run), "--output_dir", str(trained_run / "x")], [str(tmp_path), "--output_dir", "x"]):
        assert main(["report", *words]) == 2
    (tmp_path / "run" / "notes.txt").write_text("keep")
    assert main(["report", str(trained_run), "--output_dir", str(tmp_path / "run")]) == 2
    assert (tmp_path / "run" / "notes.txt").is_file()


def test_a_module_starts_the_same_commands():
    done = command("recipes", "copy", "no-such-recipe", "mine.yaml")
    assert done.returncode == 2
    assert b"There is no recipe no-such-recipe" in done.stderr
