"""The page in a real browser says what the pipeline says, with the network cut, and is polite about wrong files."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image, ImageOps
from transformers import pipeline

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.hub import page as module
from hf_breakhis.hub.facts import read_facts
from hf_breakhis.inference.model import find_model
from hf_breakhis.run import Run

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of onnx and onnxscript, about themselves

_spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
browser = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(browser)

# `npm pack onnxruntime-web@VERSION`, unpacked: package/dist
ORT = os.environ.get("ONNXRUNTIME_WEB")


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    return shutil.copytree(trained_run, tmp_path_factory.mktemp("page") / "run")


@pytest.fixture(scope="module")
def site(run, tmp_path_factory):
    """The page without a runtime, as it is by default."""
    folder = tmp_path_factory.mktemp("site") / "site"
    assert main(["page", str(run), str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Two pictures of 700x460 with fine structure, where a resize without antialias is far off."""
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(5)
    paths = []
    for i in range(2):
        levels = (
            rng.integers(0, 256, (460, 700, 3)) * (1 + i) // 2 + (np.indices((460, 700)).sum(0) % 7)[..., None] * 9
        )
        Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(folder / f"frame-{i}.png")
        paths.append(folder / f"frame-{i}.png")
    return paths


def test_the_page_tells_what_to_believe(site):
    html = (site / "index.html").read_text()
    assert "not for diagnosis" in html
    assert "was trained on generated images only" in html
    assert re.search(r"trained on the training set of fold 0 of [\d,]+ generated images", html)
    assert "test images were classified correctly" in html


def test_only_the_runtime_comes_from_elsewhere_and_with_its_sum(site):
    html = (site / "index.html").read_text()
    assert set(re.findall(r"https?://[^/\"' ]+", html)) == {"https://cdn.jsdelivr.net"}
    content = json.loads(re.search(r'type="application/json">(.*?)</script>', html, re.DOTALL)[1])
    assert all(value.startswith("sha384-") for value in content["runtime"]["files"].values())
    assert re.findall(r'<script[^>]*src="([^"]*)"', html) == ["page.js"]
    for name in module.SCRIPTS:
        assert "http" not in (site / name).read_text()


def test_a_leaking_run_says_so_on_the_page(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    weights = find_model(copy)
    assert read_facts(weights).leak == []
    summary = json.loads((copy / "summary.json").read_text())
    leak = "9 of 10 test images show a patient in the words of another version."
    summary["warnings"].append({"kind": "leak", "text": leak})
    (copy / "summary.json").write_text(json.dumps(summary))
    Run(copy).seal()
    facts = read_facts(find_model(copy))
    assert facts.leak == [leak]
    assert leak not in facts.warnings
    assert 'class="leak"' in module._html(facts, {}, True)


def test_a_page_is_pushed_to_a_static_space(hub, run, site, tmp_path, capsys):
    assert main(["page", str(run), str(tmp_path / "none"), "--private"]) == 2
    assert "--private needs --push_to_hub" in capsys.readouterr().err
    pushed = hub.command("page", run, tmp_path / "site", "--push_to_hub", "user/page", "--private")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.endswith(f"pushed: {hub.url}/spaces/user/page\n")
    space = hub.repos["space", "user/page"]
    assert (space.sdk, space.private) == ("static", True)
    metadata = yaml.safe_load(space.files["README.md"].decode().split("---")[1])
    assert (metadata["sdk"], metadata["app_file"]) == ("static", "index.html")
    assert space.files["index.html"] == (site / "index.html").read_bytes()
    assert not (site / "README.md").exists(), "not needed on another server"


def test_names_of_fields_are_marked_as_such(run):
    facts = dataclasses.replace(read_facts(find_model(run)), warnings=["`repeats` measures it; <b> does not."])
    html = module._html(facts, {}, True)
    assert "<code>repeats</code> measures it; &lt;b&gt; does not." in html
    assert "`" not in html.partition("<script")[0]


def test_text_of_a_run_cannot_end_the_script(run):
    html = module._html(read_facts(find_model(run)), {"headline": "</script><b>"}, True)
    assert "</script><b>" not in html


def test_another_version_of_the_runtime_is_refused(run, tmp_path):
    (tmp_path / "dist").mkdir()
    with pytest.raises(InputError, match="npm pack onnxruntime-web"):
        module.write_page(find_model(run), tmp_path / "site", tmp_path / "dist")
    for name in module.ORT_FILES:
        (tmp_path / "dist" / name).write_text("other")
    (tmp_path / "package.json").write_text('{"version": "1.2.3"}')
    with pytest.raises(InputError, match=r"but 1\.2\.3"):
        module.write_page(find_model(run), tmp_path / "site", tmp_path / "dist")
    assert not (tmp_path / "site").exists()


def test_a_folder_of_something_else_is_kept(run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a page that hf-breakhis wrote"):
        module.write_page(find_model(run), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.fixture(scope="module")
def whole_site(run, tmp_path_factory):
    if ORT is None:
        pytest.skip("ONNXRUNTIME_WEB does not name dist/ of npm's onnxruntime-web")
    return module.write_page(find_model(run), tmp_path_factory.mktemp("whole") / "site", Path(ORT)).parent


def answer_of(tab, path):
    tab.set_input_files("#file", path)
    tab.wait_for_selector("#result:not([hidden])")
    rows = tab.eval_on_selector_all("#rows tr", "rows => rows.map(row => ({...row.dataset}))")
    return {row["label"]: float(row["probability"]) for row in rows}


def problem_of(tab, path):
    tab.set_input_files("#file", path)
    tab.wait_for_selector("#problem:not([hidden])")
    return tab.inner_text("#problem")


def test_a_visitor_gets_the_pipelines_answer_with_the_network_cut(run, whole_site, frames):
    classify = pipeline("image-classification", model=str(run / "fold-0" / "model"), device="cpu")
    with browser.served(whole_site) as (address, server), browser.tab() as tab:
        sent, errors = [], []
        tab.on("request", lambda request: sent.append((request.method, request.url)))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(address)
        tab.wait_for_selector("body[data-ready]", timeout=60_000)
        assert "not for diagnosis" in tab.inner_text("body")
        loaded = len(server.asked)
        tab.context.set_offline(True)
        sent.clear()
        for path in frames:
            expected = {row["label"]: row["score"] for row in classify(Image.open(path))}
            assert answer_of(tab, path) == pytest.approx(expected, abs=1e-3)
            assert "700 x 460" in tab.inner_text("#status")
        assert len(server.asked) == loaded
        assert sent == []
        assert errors == []
        if os.environ.get("SCREENSHOTS"):
            tab.screenshot(path=Path(os.environ["SCREENSHOTS"]) / "page.png", full_page=True)


def test_wrong_and_huge_files_are_answered_politely(whole_site, frames, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    Image.new("RGBA", (50, 40), (200, 100, 100, 90)).save(tmp_path / "clear.png")
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with browser.served(whole_site) as (address, _), browser.tab() as tab:
        tab.goto(address)
        tab.wait_for_selector("body[data-ready]", timeout=60_000)
        assert "not an image that this browser can read" in problem_of(tab, tmp_path / "notes.png")
        assert "transparent" in problem_of(tab, tmp_path / "clear.png")
        assert "9000 x 9000" in problem_of(tab, tmp_path / "bomb.png")
        assert tab.is_hidden("#result")
        assert answer_of(tab, frames[0]).keys() == {"benign", "malignant"}
        assert tab.is_hidden("#problem")


@contextlib.contextmanager
def opened(site):
    """A tab with the page, ready."""
    with browser.served(site) as (address, _), browser.tab() as tab:
        tab.goto(address)
        tab.wait_for_selector("body[data-ready]", timeout=60_000)
        yield tab


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_picture_turned_by_its_camera_is_scored_as_it_is_stored(run, whole_site, tmp_path, ending):
    """As `predict` does: the model was trained on pixels, and no note of a camera was among them."""

    def odds(shown):  # a surer measure than probabilities near 1
        return np.log(shown["malignant"] / shown["benign"])

    wave = 127.5 + 120 * np.sin(2 * np.pi * np.arange(460) / 120)  # from top to bottom: turning it is no small change
    levels = np.stack([wave, 255 - wave, wave], axis=-1)[:, None].repeat(700, axis=1)
    picture = Image.fromarray(levels.astype(np.uint8))
    note = Image.Exif()
    note[0x0112] = 6
    path = tmp_path / f"turned.{ending}"
    picture.save(path, exif=note, **({"lossless": True} if ending == "webp" else {"quality": 95, "subsampling": 0}))
    classify = pipeline("image-classification", model=str(run / "fold-0" / "model"), device="cpu")
    with Image.open(path) as kept:
        assert kept.getexif()[0x0112] == 6
        as_stored, turned = [
            odds({row["label"]: row["score"] for row in classify(one)})
            for one in (Image.fromarray(np.array(kept)), ImageOps.exif_transpose(kept))
        ]
    with opened(whole_site) as tab:
        shown = odds(answer_of(tab, path))
        assert "700 x 460" in tab.inner_text("#status")
    assert shown == pytest.approx(as_stored, abs=0.02)
    assert turned != pytest.approx(as_stored, abs=0.2)


def test_what_is_no_colour_image_is_refused_as_predict_does(whole_site, frames, tmp_path):
    levels = np.random.default_rng(3).integers(0, 256, (40, 50), dtype=np.uint8)
    grey = Image.fromarray(levels)
    shown = {
        "grey.png": "grey of 8 bits", "deep.png": "grey of 16 bits", "table.png": "palette of 8 bits",
        "clear.png": "RGB with transparent parts of 8 bits", "grey.jpg": "grey of 8 bits",
        "print.jpg": "CMYK of 8 bits",
        "old.gif": "not an image that this browser can read", "cut.png": "not an image that this browser can read",
        "bomb.jpg": "9000 x 9000", "bomb.webp": "9000 x 9000",
    }  # fmt: skip
    grey.save(tmp_path / "grey.png")
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    grey.convert("P").save(tmp_path / "table.png")
    grey.convert("RGBA").save(tmp_path / "clear.png")
    grey.save(tmp_path / "grey.jpg")
    grey.convert("CMYK").save(tmp_path / "print.jpg")
    grey.convert("RGB").save(tmp_path / "old.gif")
    (tmp_path / "cut.png").write_bytes(frames[0].read_bytes()[:20])
    for ending in ("jpg", "webp"):
        Image.new("RGB", (9000, 9000)).save(tmp_path / f"bomb.{ending}")
    with opened(whole_site) as tab:
        assert {name: words for name, words in shown.items() if words not in problem_of(tab, tmp_path / name)} == {}
        grey.convert("RGB").save(tmp_path / "fine.png")
        assert answer_of(tab, tmp_path / "fine.png").keys() == {"benign", "malignant"}


def test_nothing_is_wider_than_a_phone(whole_site, frames):
    with opened(whole_site) as tab:
        tab.set_viewport_size({"width": 360, "height": 800})
        answer_of(tab, frames[0])
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        widths = "[document.querySelector('table'), document.querySelector('#result')].map((one) => one.scrollWidth)"
        table, column = tab.evaluate(widths)
        assert table <= column
        assert tab.evaluate("document.querySelector('meter').getBoundingClientRect().width") >= 24
        if os.environ.get("SCREENSHOTS"):
            tab.screenshot(path=Path(os.environ["SCREENSHOTS"]) / "page-phone.png", full_page=True)


def test_a_runtime_that_was_tampered_with_is_not_run(whole_site, tmp_path):
    folder = shutil.copytree(whole_site, tmp_path / "site")
    path = folder / "ort" / "ort.wasm.bundle.min.mjs"
    path.write_text(path.read_text() + "\n// one more line")
    with browser.served(folder) as (address, _), browser.tab() as tab:
        tab.goto(address)
        tab.wait_for_selector("#problem:not([hidden])", timeout=60_000)
        assert "could not be loaded" in tab.inner_text("#problem")
