"""Whatever images, patients and classes are called, the report shows it as text and nothing else."""

from html.parser import HTMLParser
from shutil import copytree

import pytest

from hf_breakhis.data.filenames import MAGNIFICATIONS
from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.summary import summarise

# Names so long leave no room for a figure.
pytestmark = pytest.mark.filterwarnings("ignore:constrained_layout not applied")
EVIL = "<script>alert(1)</script>\"' onerror=x <img src=http://evil.example/x.png> $\\frac{$ {{ 7*7 }} --> ]]>"
LOADING = ("src", "href", "action", "formaction", "srcset", "data", "poster", "background")


class Page(HTMLParser):
    """Elements, what they would load or run, and the text between them."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.harm, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.harm += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        for name, value in attrs:
            if name in LOADING and not (value or "").startswith(("#", "data:image/")):
                self.harm.append(f"{tag} {name}={value}")

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(write_run, cohort, tmp_path):
    """Write the report of a run in which every name is `evil`; the classes are too."""

    def write(evil):
        table = cohort.copy()
        for column in ("tumor_type", "patient_id", "specimen_id"):
            table[column] = [f"{value}{evil}" for value in table[column]]
        table["file_name"] = [f"{value}{evil.replace('/', ' ')}.png" for value in table["file_name"]]
        table["magnification"] = [MAGNIFICATIONS[i % 4] + evil for i in range(len(table))]
        run = write_run(
            tmp_path / "run", table, classes=(f"a{evil}", f"b{evil}"), warnings=[evil], source=evil,
            model_name_or_path=evil, augmentation=evil,
        )  # fmt: skip
        summarise(run)
        return write_report(run).read_text(encoding="utf-8")

    return write


def test_html_in_a_name_is_text(page, summarised_run, tmp_path):
    """No element is there that would do harm, and none that a page of plain names has not."""
    shown = Page(page(EVIL))
    assert not shown.elements & {"script", "iframe", "object", "embed", "link", "base", "meta http-equiv", "form"}
    assert shown.harm == []
    assert EVIL in shown.text
    plain = copytree(summarised_run, tmp_path / "plain")
    assert shown.elements - {"li", "ul"} == Page(write_report(plain).read_text()).elements - {"li", "ul"}


def test_the_parser_would_have_seen_it():
    shown = Page(f"<p>{EVIL}</p><a onclick=x href=http://evil.example>")
    assert "script" in shown.elements
    assert shown.harm == ["img src=http://evil.example/x.png", "a onclick", "a href=http://evil.example"]
