"""Every item of the guidelines has its line, and a link leads somewhere."""

import re
from shutil import copytree

import pytest

from hf_breakhis.results.report.checklist import GUIDELINES, checklists
from hf_breakhis.results.report.page import write_report
from hf_breakhis.run import Run

pytestmark = pytest.mark.usefixtures("small_reports")


def numbers(name):
    """Return the numbers that the items of a guideline stand for."""
    found = []
    for item in GUIDELINES[name]:
        first, _, last = item.number.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@pytest.mark.parametrize(("name", "count"), [("TRIPOD+AI", 27), ("CLAIM 2024", 44)])
def test_no_item_is_left_out(name, count):
    assert numbers(name) == list(range(1, count + 1))


def test_an_item_says_where_or_why_not():
    for items in GUIDELINES.values():
        assert all(item.note and item.asks for item in items)
    for guideline in checklists(["data"], {"source": "breakhis"}):
        assert {item["section"] for item in guideline["items"]} <= {"", "data"}
        counted = guideline["answered"] + guideline["partly"] + len(guideline["open"])
        assert counted == len(guideline["items"])
        assert guideline["answered"] > 0


def test_links_of_the_report_lead_to_sections(summarised_run, tmp_path):
    run = copytree(summarised_run, tmp_path / "run")
    page = write_report(run).read_text(encoding="utf-8")
    block = page[page.index('id="checklists"') :]
    linked = set(re.findall(r'href="#([a-z]+)"', block))
    assert linked
    assert linked <= set(re.findall(r'<section id="([a-z]+)"', page))
    assert "of 27 items are answered here" in page
    assert "Open: 1 title names model" in page


def test_an_item_counts_only_where_the_page_says_something(summarised_run, tmp_path):
    run = copytree(summarised_run, tmp_path / "run")
    with_pictures = write_report(run).read_text(encoding="utf-8")
    for examples in run.glob("fold-*/examples/index.json"):
        examples.write_text("[]")
    Run(run).seal()
    without = write_report(run).read_text(encoding="utf-8")
    assert "39 failures" not in with_pictures[with_pictures.index('id="checklists"') :]
    assert "39 failures" in without[without.index('id="checklists"') :], "an open item is listed"
