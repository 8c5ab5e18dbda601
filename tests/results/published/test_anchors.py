"""Published results: each entry is whole, and only comparisons of real images show them."""

import json

import pytest

from hf_breakhis.cli import main
from hf_breakhis.results.published.anchors import FIELDS, STATUS, read_anchors
from hf_breakhis.results.summary import summarise


@pytest.mark.parametrize("row", read_anchors(), ids=lambda row: row["name"])
def test_each_entry_says_what_was_measured_how_and_where(row):
    assert tuple(row) == FIELDS
    assert all(row[name] for name in FIELDS if name != "spread")
    assert 0 < row["value"] < 1
    assert row["status"] in STATUS
    assert (row["status"] == "leaking") == (row["kept_apart"] == "image")


@pytest.mark.parametrize(("source", "shown"), [("breakhis", True), ("twin", False)])
def test_a_comparison_shows_them_next_to_real_images_only(write_run, tmp_path, capsys, source, shown):
    run = write_run(tmp_path / "run", source=source)
    summarise(run)
    assert main(["compare", str(run), "--output_dir", str(tmp_path / "comparison")]) == 0
    out = capsys.readouterr().out
    page = (tmp_path / "comparison" / "comparison.html").read_text()
    written = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert written["anchors"] == (read_anchors() if shown else [])
    for text in (out, page):
        assert ("GrC_SOM" in text) == shown
        assert ("image (leaking)" in text) == shown
    assert max(map(len, out.splitlines()[:-1])) <= 100
