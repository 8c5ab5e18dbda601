"""The generated data set: its names, its settings, and a tree that is whole or not there."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hf_breakhis.data.inventory import INVENTORY, expected_file_names
from hf_breakhis.data.twin import twin
from hf_breakhis.data.twin.tissue import draw_picture
from hf_breakhis.data.twin.twin import TwinSettings, is_twin, read_settings, twin_file_names, write_twin
from hf_breakhis.files import InputError

TINY = TwinSettings(scale=0.001, width=36, height=32)


@pytest.fixture
def three_folders(monkeypatch):
    """A twin of three slide folders, so 12 pictures at the smallest scale."""
    monkeypatch.setattr(twin, "INVENTORY", INVENTORY[:3])


def pictures(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_full_scale_holds_every_real_name():
    assert twin_file_names(TwinSettings()) == expected_file_names()


@pytest.mark.parametrize("scale", [0.001, 0.1, 0.5])
def test_scale_keeps_the_first_numbers_of_every_folder_and_magnification(scale):
    names = set(twin_file_names(TwinSettings(scale=scale)))
    for folder in INVENTORY:
        for magnification in ("40X", "100X", "200X", "400X"):
            real = [str(name) for name in folder.names() if name.magnification == magnification]
            kept = [name for name in real if name in names]
            assert kept == real[: len(kept)]
            assert len(kept) >= 1
            assert 0 <= len(kept) - scale * len(real) < 1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"hight": 460}, "Unknown twin setting `hight`; did you mean `height`?"),
        ({"zzz": 1}, "Unknown twin setting `zzz`; choose from seed, scale, "),
        ({"scale": 0}, "Twin setting `scale` is 0; give a number from 0.001 to 1.0."),
        ({"scale": float("nan")}, "Twin setting `scale` is nan; give a number"),
        ({"width": 175.5}, "Twin setting `width` is 175.5; give a whole number from 32 to 2800."),
        ({"seed": True}, "Twin setting `seed` is True; give a whole number"),
        ({"noise": "much"}, "Twin setting `noise` is 'much'; give a number from 0.0 to 3.0."),
        ({"class_signal": -1}, "Twin setting `class_signal` is -1; give a number from 0.0 to 3.0."),
    ],
)
def test_settings_that_cannot_be_used_are_refused_in_one_line(kwargs, message):
    with pytest.raises(InputError) as error:
        TwinSettings.from_kwargs(kwargs)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_kwargs_are_the_defaults():
    assert TwinSettings.from_kwargs(None) == TwinSettings.from_kwargs({}) == TwinSettings()
    assert repr(TwinSettings.from_kwargs({"noise": 1})) == repr(TwinSettings(noise=1.0)), "a whole number is the float"


@pytest.mark.usefixtures("three_folders")
def test_the_tree_is_the_official_one(tmp_path):
    folder = write_twin(tmp_path / "twin", TINY, num_proc=1)
    assert folder == tmp_path / "twin"
    written = pictures(folder)
    assert len(written) == 12
    start = "BreaKHis_v1/histology_slides/breast/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-"
    assert any(path.startswith(start) for path in written)
    assert json.loads((folder / "twin.json").read_text())["settings"]["width"] == 36
    assert [path.name for path in tmp_path.iterdir()] == ["twin"]


@pytest.mark.usefixtures("three_folders")
def test_the_number_of_processes_changes_no_byte(tmp_path):
    alone, together = (pictures(write_twin(tmp_path / str(n), TINY, num_proc=n)) for n in (1, 2))
    assert alone == together
    path, content = next(iter(alone.items()))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), draw_picture(path.rpartition("/")[2], TINY))


def test_a_script_is_not_run_again_by_each_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
print("once")
from hf_breakhis.data.twin import twin
twin.INVENTORY = twin.INVENTORY[:3]
twin.write_twin({str(tmp_path / "twin")!r}, twin.TwinSettings(scale=0.001, width=36, height=32), num_proc=2)
""")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.stdout, len(pictures(tmp_path / "twin"))) == ("once\n", 12), done.stderr


@pytest.mark.usefixtures("three_folders")
def test_every_picture_says_that_it_is_a_twin(tmp_path):
    folder = write_twin(tmp_path / "twin", TINY, num_proc=1)
    for path in folder.rglob("*.png"):
        assert is_twin(path)
        assert is_twin(str(path))
        assert is_twin(path.read_bytes())
        with Image.open(path) as image:
            assert is_twin(image)
            assert (image.mode, image.size) == ("RGB", (36, 32))
            assert image.info["Software"] == f"hf_breakhis twin {twin.FORMAT}"


def test_other_pictures_are_no_twins():
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    assert not is_twin(stream.getvalue())
    assert not is_twin(Image.new("RGB", (4, 4)))


@pytest.mark.usefixtures("three_folders")
def test_the_same_twin_is_not_drawn_again(tmp_path, monkeypatch):
    write_twin(tmp_path / "twin", TINY, num_proc=1)
    monkeypatch.setattr(twin, "_write_pictures", lambda *_: pytest.fail("drawn again"))
    assert write_twin(tmp_path / "twin", TINY) == tmp_path / "twin"


@pytest.mark.usefixtures("three_folders")
def test_another_twin_in_the_folder_is_refused(tmp_path):
    write_twin(tmp_path / "twin", TINY, num_proc=1)
    with pytest.raises(InputError, match=r"holds another twin .*give another folder or delete it"):
        write_twin(tmp_path / "twin", TwinSettings(seed=1, scale=0.001, width=36, height=32))


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    for place in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(InputError, match=r"no twin; give a new or an empty folder"):
            write_twin(place, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.usefixtures("three_folders")
def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    assert len(pictures(write_twin(tmp_path / "empty", TINY, num_proc=1))) == 12


@pytest.mark.usefixtures("three_folders")
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_twin_is_whole_or_not_there(tmp_path, monkeypatch, failure):
    count = 0

    def encode(file_name, settings):
        nonlocal count
        count += 1
        if count == 5:
            raise failure
        return b""

    monkeypatch.setattr(twin, "encode", encode)
    with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else InputError):
        write_twin(tmp_path / "twin", TINY, num_proc=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("three_folders")
def test_the_bar_is_silent_where_nobody_looks(tmp_path, capsys):
    write_twin(tmp_path / "twin", TINY, num_proc=1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("three_folders")
def test_processes_that_die_end_in_one_line_and_leave_nothing(tmp_path, monkeypatch):
    def die(_chunk):
        os._exit(9)

    monkeypatch.setattr(twin, "_write_chunk", die)
    with pytest.raises(InputError, match=r"A process that draws the twin ended early.*Free memory and try again\."):
        write_twin(tmp_path / "twin", TINY, num_proc=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "scale"),
    [
        ("twin.json", '{"settings": {"scale": 0.5}}', 0.5),
        ("export.json", '{"settings": {"scale": 0.5}}', 0.5),
        ("export.json", '{"settings": null}', None),
        ("other.json", "{}", None),
    ],
)
def test_settings_are_read_where_they_are_told(tmp_path, name, content, scale):
    (tmp_path / name).write_text(content)
    settings = read_settings(tmp_path)
    assert scale == (settings and settings.scale)


@pytest.mark.parametrize("content", ["{}", "[]", "7", '{"settings": 1}', '{"settings": {"scale": 9}}', "{"])
def test_settings_of_another_form_are_refused(tmp_path, content):
    (tmp_path / "twin.json").write_text(content)
    with pytest.raises(InputError, match=r"twin\.json (holds|is not JSON)"):
        read_settings(tmp_path)


def test_another_stain_changes_colours_and_not_the_tissue():
    name = "SOB_M_DC-14-2523-100-001.png"
    usual, other = (
        draw_picture(name, TwinSettings(width=140, height=92, stain=stain)).astype(float) for stain in (0, 1)
    )
    assert np.abs(usual.mean((0, 1)) - other.mean((0, 1))).max() > 10
    assert np.corrcoef(usual.mean(2).ravel(), other.mean(2).ravel())[0, 1] > 0.9
    assert "stain" not in TwinSettings().to_dict(), "twins that were written before are found again"
    assert TwinSettings.from_kwargs(TwinSettings(stain=0.5).to_dict()).stain == 0.5
