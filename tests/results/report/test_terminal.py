"""The terminal table says the numbers of the summary, warnings first, in plain text that fits."""

import pytest

from hf_breakhis.results.formatting import count, interval, score
from hf_breakhis.results.report.terminal import terminal_table
from hf_breakhis.results.summary import summarise


@pytest.fixture(scope="module")
def summary(write_run, tmp_path_factory):
    return summarise(write_run(tmp_path_factory.mktemp("runs") / "c3", split_by="image", num_folds=2))


def rows(table, first):
    """Cells of the lines that begin with `first`."""
    return [line.split() for line in table.splitlines() if line.strip().startswith(first)]


def test_it_fits_any_terminal(summary):
    table = terminal_table(summary)
    assert max(map(len, table.splitlines())) <= 100
    assert table.isascii()
    assert not any(line != line.rstrip() for line in table.splitlines())


def test_warnings_come_before_any_score(summary):
    table = terminal_table(summary)
    assert table.startswith("WARNING: ")
    assert table.count("WARNING: ") == len(summary["warnings"])
    assert table.rindex("WARNING: ") < table.index("Precision")


def test_every_class_of_every_fold_has_its_row(summary):
    table = terminal_table(summary)
    reports = summary["image"]["per_fold"]
    for name in summary["classes"]:
        shown = [line for line in table.splitlines() if f" {name} " in line and line[-1].isdigit()]
        assert len(shown) == len(reports)
        for line, report in zip(shown, reports, strict=True):
            values = report["per_class"][name]
            assert line.split()[-4:] == [score(values[k]) for k in ("precision", "recall", "f1")] + [
                count(values["support"])
            ]
    assert [row[1:] for row in rows(table, "accuracy")] == [
        [score(r["accuracy"]), count(r["num_images"])] for r in reports
    ]


def test_averages_are_mean_sd_pooled_and_interval(summary):
    image = summary["image"]
    pooled = image["pooled"]["accuracy"]
    spread = f"{score(image['mean']['accuracy'])} +- {score(image['sd']['accuracy'])}"
    line = " ".join(rows(terminal_table(summary), "Accuracy ")[0])
    assert line == f"Accuracy {spread} {score(pooled['value'])} {interval(pooled)}"


def test_both_baselines_stand_beside_the_model(summary):
    table = terminal_table(summary)
    for name, label in (("majority", "Majority class"), ("mean_color", "Mean colour")):
        assert score(summary["baselines"][name]["accuracy"]) in rows(table, label)[0]


def test_what_is_unknown_is_left_out_or_named(write_run, cohort, tmp_path):
    nameless = cohort.assign(patient_id="", specimen_id="", tumor_type="", magnification="")
    run = write_run(tmp_path, nameless, split_by="image", num_folds=3, present=[0])
    table = terminal_table(summarise(run))
    assert "Recognition rate" not in table
    assert "Mean colour" in table
    assert "Folds not there yet: 1, 2." in table
    assert "+-" not in rows(table, "Accuracy ")[0]


def test_repeats_are_a_row_each(write_run, tmp_path):
    for i in range(2):
        write_run(tmp_path / f"repeat-{i}", split_seed=7 + i, seed=42 + i, repeats=2, num_folds=2)
    (tmp_path / "recipe.yaml").write_text((tmp_path / "repeat-0/recipe.yaml").read_text())
    summary = summarise(tmp_path)
    table = terminal_table(summary)
    assert rows(table, "1  ")[0][:4] == ["1", "8", "43", score(summary["repeats"][1]["accuracy"])]
    assert summary["headline"]["sentence"][:60] in table
    assert max(map(len, table.splitlines())) <= 100
