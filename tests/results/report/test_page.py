"""The report is one page that stands alone, begins with the answer, and cannot be harmed by a name."""

import re
import shutil
from html.parser import HTMLParser

import pytest

from hf_breakhis.files import InputError
from hf_breakhis.results.figures.plots import FIGURES
from hf_breakhis.results.formatting import score
from hf_breakhis.results.report import page as report
from hf_breakhis.results.report.page import duration, write_report
from hf_breakhis.results.summary import summarise
from hf_breakhis.run import Run

VOID = {"meta", "img", "br", "path", "rect", "use"}
HOSTILE = '<img src=x onerror=alert(1)>"&'


class Page(HTMLParser):
    """What a browser makes of a page: tags, attributes, ids, and whether every tag is closed."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.open, self.words = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def prose(self):
        return "".join(self.words)

    def values(self, *names):
        return [value for name, value in self.attributes if name in names]


@pytest.fixture(scope="module")
def run(write_run, tmp_path_factory):
    """A run on the twin that leaks."""
    folder = tmp_path_factory.mktemp("runs") / "c3"
    write_run(folder, split_by="image", source="twin", warnings=["A part of the images is here."])
    summarise(folder)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(run):
    return Page(run / "report.html")


@pytest.fixture
def one_figure(monkeypatch):
    """Draw one figure only, where the figures are not what is tested."""
    monkeypatch.setattr(report, "FIGURES", {"baselines": FIGURES["baselines"]})


def assert_stands_alone(page):
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    assert all(value.startswith("data:image/jpeg;base64,") for value in page.values("src", "srcset", "poster"))
    assert all(value.startswith("#") for value in page.values("href", "xlink:href", "action"))
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.values("href")} <= set(ids)


def test_the_page_loads_nothing_and_is_well_formed(run, page):
    assert_stands_alone(page)
    style = re.search(r"<style>(.*?)</style>", (run / "report.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_answer_comes_first(run, page):
    summary = Run(run).summary
    start = page.text[: page.text.index("Folds and averages")]
    pooled, image = summary["image"]["pooled"]["accuracy"], summary["image"]
    numbers = [pooled["value"], pooled["low"], pooled["high"], image["mean"]["accuracy"], image["sd"]["accuracy"]]
    numbers += [summary["patient"]["pooled"]["recognition_rate"]["value"]]
    numbers += [summary["baselines"][name]["accuracy"] for name in ("majority", "mean_color")]
    assert summary["headline"]["sentence"] in start
    assert all(score(number) in start for number in numbers)
    assert all(
        caution["text"].replace("`", "").replace(" %", "\N{NO-BREAK SPACE}%") in page.prose
        for caution in summary["warnings"]
    )
    assert "Split by image" in start
    assert "not for diagnosis" in start
    assert start.index("About the synthetic twin, not BreakHis") < start.index("Accuracy, all test images")


def test_a_leak_is_an_alarm_and_a_clean_run_has_none(run, summarised_run, tmp_path, one_figure):
    assert 'class="box alarm"' in (run / "report.html").read_text()
    clean = write_report(shutil.copytree(summarised_run, tmp_path / "run")).read_text()
    assert 'class="box alarm"' not in clean
    assert 'class="box care"' in clean
    assert "About the synthetic twin" not in clean


def test_every_number_of_every_fold_is_in_the_page(run, page):
    for fold in Run(run).summary["image"]["per_fold"]:
        assert score(fold["accuracy"]) in page.text
        for values in fold["per_class"].values():
            row = [*(score(values[key]) for key in ("precision", "recall", "f1")), f"{values['support']:,}"]
            assert " ".join(row) in page.text


def test_every_figure_is_in_the_page_and_in_two_files(run, page):
    ids = set(page.values("id"))
    # a run without `evaluate --shifts`, and with too few specimens to check zones
    for name in set(FIGURES) - {"repeats", "shifts", "zones"}:
        assert f"figure-{name}" in ids
        assert (run / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (run / f"figures/{name}.svg").read_text().startswith("<?xml")


def test_writing_again_gives_the_same_bytes_and_removes_figures_of_before(write_run, tmp_path, monkeypatch):
    chosen = ("baselines", "roc_folds", "repeats")
    monkeypatch.setattr(report, "FIGURES", {name: FIGURES[name] for name in chosen})
    summarise(write_run(tmp_path, num_folds=2))
    contents = []
    for _ in range(2):
        write_report(tmp_path)
        contents.append(
            {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix in (".html", ".svg", ".png")}
        )
        (tmp_path / "figures/repeats.svg").write_text("left by a run of another kind")
    write_report(tmp_path)
    assert contents[0] == contents[1]
    assert not (tmp_path / "figures/repeats.svg").exists()


def test_hostile_names_are_only_text(write_run, cohort, tmp_path, one_figure):
    names = cohort.assign(
        file_name=HOSTILE + cohort["file_name"], patient_id=cohort["patient_id"] + HOSTILE, tumor_type="<i>&"
    )
    run = write_run(tmp_path / "<u>run", names, classes=("<s>", "</main>"), warnings=[f"`{HOSTILE}`"],
                    model_name_or_path=HOSTILE, num_folds=2)  # fmt: skip
    summarise(run)
    page = Page(write_report(run))
    assert_stands_alone(page)
    assert not {"u", "i", "s"} & set(page.tags)
    assert page.text.count(HOSTILE) > 40


def test_examples_stay_in_their_folder_and_may_be_damaged(run, tmp_path):
    (tmp_path / "secret.png").write_bytes(next((run / "fold-0/examples").glob("*.png")).read_bytes())
    folder = tmp_path / "fold-0" / "examples"
    folder.mkdir(parents=True)
    (folder / "cut.png").write_bytes((tmp_path / "secret.png").read_bytes()[:60])
    row = {"label": 0, "predicted": 1, "probability": 0.9, "kind": "wrong"}
    names = ["../../secret.png", "cut.png", "absent.png", str(tmp_path / "secret.png")]
    record = Run.holding(tmp_path, examples={0: [row | {"file_name": n} for n in names]})
    assert [row["picture"] for row in report.choose_examples(record)["wrong"]] == [None] * 4


def test_what_a_source_does_not_know_is_said(write_run, cohort, tmp_path, one_figure):
    nameless = cohort.assign(patient_id="", specimen_id="", tumor_type="", magnification="")
    run = write_run(tmp_path / "full", nameless, split_by="image", num_folds=1)
    summarise(run)
    page = Page(write_report(run))
    assert_stands_alone(page)
    for words in ("patients are unknown", "names no patients", "one fold has no standard deviation"):
        assert words in page.text


def test_repeats_have_a_page_above_theirs(write_run, tmp_path, one_figure):
    for i in range(2):
        write_run(tmp_path / f"repeat-{i}", split_seed=42 + i, seed=42 + i, repeats=2, num_folds=2)
    (tmp_path / "recipe.yaml").write_text((tmp_path / "repeat-0/recipe.yaml").read_text())
    summary = summarise(tmp_path)
    page = Page(write_report(tmp_path))
    assert_stands_alone(page)
    assert summary["headline"]["sentence"] in page.text
    assert all(score(row["accuracy"]) in page.text for row in summary["repeats"])
    assert "figure-repeats" in page.values("id")
    assert (tmp_path / "repeat-1/report.html").is_file()


def test_a_folder_without_summary_says_which_command_writes_it(tmp_path):
    with pytest.raises(InputError, match=r"summary.json is missing; `hf-breakhis report .*` writes it"):
        write_report(tmp_path)


def test_a_damaged_recipe_is_named(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"recipe.yaml is not YAML"):
        write_report(tmp_path / "run")


def test_durations_are_in_words():
    words = {4.23: "4.2 s", 59.97: "1 min 0 s", 185: "3 min 5 s", 7450: "2 h 4 min", None: "\N{EN DASH}"}
    assert {seconds: duration(seconds) for seconds in words} == words


def test_examples_of_every_pair_of_classes_are_shown_before_a_second_of_any():
    surest = [(0, 1), (0, 1), (0, 1), (1, 0), (0, 2), (0, 1)]
    rows = [{"label": label, "predicted": predicted} for label, predicted in surest]
    assert [(row["label"], row["predicted"]) for row in report._in_turn(rows)[:3]] == [(0, 1), (1, 0), (0, 2)]
