"""The app as it is written runs by itself, answers as the pipeline does, and is polite about wrong files."""

import importlib.metadata
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import SpaceCard, constants
from huggingface_hub.utils import close_session
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from PIL import Image
from transformers import pipeline

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.hub.space import FILES, GRADIO, MODEL_FILES, NEEDED, claim_space, push_space, write_space
from hf_breakhis.inference.model import find_model

# What gradio 6.31.0 bounds of the packages that this project's machines have as well.
OF_GRADIO = ("pillow<13.0,>=8.0", "numpy<3.0,>=1.0", "huggingface-hub<3.0,>=1.16.0", "pandas<4.0,>=1.0",
             "pyyaml<7.0,>=5.0", "jinja2<4.0", "httpx<1.0,>=0.24.1", "typer<1.0,>=0.12")  # fmt: skip

_spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
browser = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(browser)


@pytest.fixture(scope="module")
def app(trained_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("space") / "app"
    assert main(["space", str(trained_run), str(folder)]) == 0
    return folder


def test_the_folder_holds_what_the_app_needs_and_nothing_personal(app, trained_run):
    names = {path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file()}
    assert names == (FILES - {".gitattributes"}) | {f"model/{name}" for name in MODEL_FILES}
    for path in app.rglob("*.*"):
        if path.suffix in (".json", ".md", ".py", ".txt"):
            assert str(trained_run.parent) not in path.read_text()
    assert "hf_breakhis" not in (app / "app.py").read_text()
    assert "hf_breakhis" not in (app / "heatmap.py").read_text()


def test_the_card_is_a_spaces_card_and_warns(app):
    card = SpaceCard.load(app / "README.md")
    assert card.data.sdk == "gradio"
    assert yaml.safe_load((app / "README.md").read_text().split("---")[1])["app_file"] == "app.py"
    assert "not for diagnosis" in card.text
    assert "generated images only" in card.text
    # of Markdown, as the app shows it too
    assert "Use `--repeats` to measure" in card.text
    assert "Use `--repeats` to measure" in str(json.loads((app / "facts.json").read_text())["warnings"])


def contradictions(lines, bounds):
    """Return the pins outside what gradio takes."""
    ranges = {one.name.lower(): one.specifier for one in map(Requirement, bounds)}
    pins = dict(line.split("==") for line in lines)
    return [name for name, pin in pins.items() if name in ranges and pin not in ranges[name]]


def test_the_pins_can_be_installed_beside_gradio(app):
    lines = (app / "requirements.txt").read_text().splitlines()
    assert contradictions(lines, OF_GRADIO) == []
    assert contradictions([*lines, "pillow==13.0.0"], OF_GRADIO) == ["pillow"]
    # what gradio bounds is left to it, so that no version of this machine can stand against it
    assert not {line.split("==")[0] for line in lines} & {Requirement(one).name for one in OF_GRADIO}


def test_the_bounds_are_those_of_the_gradio_named():
    code = (
        "import json; from importlib.metadata import requires, version; print(version('gradio')); "
        "print(json.dumps(requires('gradio')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("gradio is not installed (make browser)")
    number, listed = done.stdout.splitlines()
    assert number == GRADIO
    of_it = {str(Requirement(one)) for one in json.loads(listed) if "extra ==" not in one}
    assert {str(Requirement(one)) for one in OF_GRADIO} <= of_it
    pins = [f"{name}=={version(name).split('+')[0]}" for name in NEEDED]
    assert contradictions(pins, of_it) == []


def test_the_space_runs_the_python_that_wrote_it(app):
    metadata = yaml.safe_load((app / "README.md").read_text().split("---")[1])
    assert metadata["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}"  # text: 3.10 is no 3.1
    for name in NEEDED:
        assert metadata["python_version"] in SpecifierSet(importlib.metadata.metadata(name).get("Requires-Python", ""))


def test_what_is_no_app_is_not_replaced(trained_run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a Space that hf-breakhis wrote"):
        write_space(find_model(trained_run), tmp_path)


def test_a_space_is_pushed_and_pushing_again_changes_nothing(hub, trained_run, app, tmp_path):
    asked = ("space", trained_run, tmp_path / "app", "--push_to_hub", "user/app")
    pushed = hub.command(*asked)
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.endswith(f"pushed: {hub.url}/spaces/user/app\n")
    first = dict(hub.repos["space", "user/app"].files)
    assert {name: first[name] for name in ("app.py", "model/config.json")} == {
        "app.py": (app / "app.py").read_bytes(), "model/config.json": (app / "model/config.json").read_bytes()
    }  # fmt: skip
    assert hub.command(*asked).returncode == 0
    assert hub.repos["space", "user/app"].files == first


@pytest.mark.parametrize(
    ("fault", "line"), [(403, "is refused (403)"), (500, "(500)"), ("cut", "continues where it stopped")]
)
def test_a_fault_while_pushing_is_one_line_and_changes_nothing(hub, app, monkeypatch, fault, line):
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", next(iter(hub.tokens)))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits before it tries again
    claim_space("user/broken", False)
    if fault == "cut":
        hub.cut = 99
    else:
        hub.refuse["commit"] = fault
    with pytest.raises(InputError) as caught:
        push_space(app, "user/broken")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert hub.repos["space", "user/broken"].files == {}
    hub.cut, hub.refuse = 0, {}
    push_space(app, "user/broken")
    close_session()
    assert "app.py" in hub.repos["space", "user/broken"].files, "the same push finishes"


def test_without_a_token_nothing_is_written(trained_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hf_breakhis.hub.remote.get_token", lambda: None)
    assert main(["space", str(trained_run), str(tmp_path / "app"), "--push_to_hub", "user/app"]) == 2
    assert "hf auth login" in capsys.readouterr().err
    assert not (tmp_path / "app").exists()


@pytest.fixture(scope="module")
def address(app):
    """The app, started as its README says, in a process of its own on loopback."""
    if subprocess.run([sys.executable, "-c", "import gradio"], capture_output=True, check=False).returncode:
        pytest.skip("gradio is not installed (make browser)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False",
           "HF_HUB_OFFLINE": "1"}  # fmt: skip
    with (app.parent / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=app, env=os.environ | own, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(120):
            if process.poll() is not None:
                pytest.fail((app.parent / "log").read_text())
            try:
                urllib.request.urlopen(url, timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def ask(tab, path):
    tab.set_input_files("#file input[type=file]", path)
    tab.wait_for_selector(f"#file :text('{path.stem}')")
    tab.click("#ask")


def test_a_visitor_sees_probability_threshold_and_heat_map(app, address, tmp_path):
    levels = np.random.default_rng(1).integers(0, 256, (460, 700, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "frame.png")
    answers = pipeline("image-classification", model=str(app / "model"), device="cpu")(Image.fromarray(levels))
    with browser.tab() as tab:
        tab.goto(address)
        tab.wait_for_selector("#ask")
        assert "not for diagnosis" in tab.inner_text("body")
        ask(tab, tmp_path / "frame.png")
        tab.wait_for_selector("#heat img", timeout=30_000)
        assert "At the locked threshold it is called" in tab.inner_text("#said")
        assert f"{round(100 * answers[0]['score'])}%" in tab.inner_text("#label")
        assert answers[0]["label"] in tab.inner_text("#label")
        if os.environ.get("SCREENSHOTS"):
            tab.wait_for_timeout(500)
            tab.screenshot(path=Path(os.environ["SCREENSHOTS"]) / "space.png", full_page=True)


def test_no_answer_stands_beside_another_image_or_method(address, tmp_path):
    for name, level in (("first", 40), ("second", 200)):
        Image.new("RGB", (70, 46), (level, 90, 120)).save(tmp_path / f"{name}.png")
    with browser.tab() as tab:
        tab.goto(address)
        tab.wait_for_selector("#ask")
        ask(tab, tmp_path / "first.png")
        tab.wait_for_selector("#heat img", timeout=30_000)
        assert tab.is_visible("#image img")  # what was asked about, beside where the model looks
        assert "called" in tab.inner_text("#said")
        tab.click("text=Occlusion")
        tab.wait_for_selector("#heat img", state="detached")
        assert tab.query_selector("#image img") is None
        assert tab.inner_text("#said").strip() == ""
        tab.click("#ask")
        tab.wait_for_selector("#heat img", timeout=30_000)
        tab.click("#file [aria-label='Clear'], #file [aria-label='Remove this file']")
        tab.wait_for_selector("#heat img", state="detached")
        assert "%" not in tab.inner_text("#label")
        ask(tab, tmp_path / "second.png")
        tab.wait_for_selector("#heat img", timeout=30_000)
        if os.environ.get("SCREENSHOTS"):
            tab.set_viewport_size({"width": 360, "height": 800})
            tab.wait_for_timeout(500)
            tab.screenshot(path=Path(os.environ["SCREENSHOTS"]) / "space-phone.png", full_page=True)


def test_an_answer_that_comes_late_is_not_shown(app, address):
    """`address` skips where there is no gradio."""
    code = (
        "import app; words = ('words', {}, None, None); found = ('a.png', 'Occlusion', words); "
        "print([app.show(*now, found) == words for now in "
        "(('a.png', 'Occlusion'), ('b.png', 'Occlusion'), ('a.png', 'Grad-CAM'), (None, 'Occlusion'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=app, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[True, False, False, False]"], done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [("notes", "not an image"), ("bomb", "9000x9000"), ("clear", "RGB with transparency, not RGB")],
)
def test_wrong_and_huge_files_are_answered_politely(address, tmp_path, name, words):
    (tmp_path / "notes.png").write_text("no image")
    Image.new("RGBA", (50, 40), (200, 100, 100, 90)).save(tmp_path / "clear.png")
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with browser.tab() as tab:
        tab.goto(address)
        tab.wait_for_selector("#ask")
        ask(tab, tmp_path / f"{name}.png")
        tab.wait_for_selector(f":text('{words}')", timeout=30_000)


def test_the_app_starts_without_this_package(app, tmp_path):
    """It reads its own folder only: no import of this package, and facts that are JSON."""
    copy = shutil.copytree(app, tmp_path / "app")
    code = "import sys; sys.modules['hf_breakhis'] = None; import heatmap; print(heatmap.GRID)"
    run = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "8", run.stderr
    assert json.loads((copy / "facts.json").read_text())["twin"] is True


def test_the_heading_is_the_decision_and_an_empty_heat_map_says_so(app):
    """The app with gradio replaced: the threshold is put above and below the calibrated probability."""
    code = (
        "import sys, unittest.mock as m; sys.modules['gradio'] = m.MagicMock(Error=OSError); import app, torch; "
        "from PIL import Image; Image.new('RGB', (70, 46), (200, 90, 120)).save('one.png')\n"
        "app.FACTS |= {'temperature': 1.0}\n"
        "for threshold in (0.0, 1.1):\n"
        "    app.FACTS['threshold'] = threshold; print(app.answer('one.png', 'Occlusion')[0].splitlines()[0])\n"
        "app.occlusion = lambda *given: torch.zeros(32, 32)\n"
        "print(app.answer('one.png', 'Occlusion')[0].splitlines()[-1])\n"
        "app.gr.reset_mock(); app.build()\n"
        "print(app.gr.Label.call_args.kwargs['show_heading'], "
        "['share' in call.kwargs['buttons'] for call in app.gr.Image.call_args_list])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=app, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["## malignant", "## benign"], done.stderr
    assert lines[2].startswith("The heat map is empty: Occlusion finds no place")
    assert lines[3:] == ["False [False, False]"]
