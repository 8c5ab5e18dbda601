"""Every item of the guidelines has its line, and a link leads somewhere."""

import re

import pytest

from hf_breakhis.results.report.checklist import GUIDELINES, checklists
from hf_breakhis.results.report.page import write_report
from hf_breakhis.results.summary import summarise


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
        assert 0 < guideline["answered"] < len(guideline["items"])


def test_links_of_the_report_lead_to_sections(write_run, tmp_path):
    run = write_run(tmp_path / "run")
    summarise(run)
    page = write_report(run).read_text(encoding="utf-8")
    block = page[page.index('id="checklists"') :]
    linked = set(re.findall(r'href="#([a-z]+)"', block))
    assert linked
    assert linked <= set(re.findall(r'<section id="([a-z]+)"', page))
    assert "of 27 items answered" in page
