"""Runs side by side: equal ones are not ranked, a better one is only with enough seeds, and strangers are refused."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.results import summary
from hf_breakhis.results.compare import compare, rank
from hf_breakhis.results.formatting import signed
from hf_breakhis.results.paper import CLASSIFIERS
from hf_breakhis.results.report.comparison import comparison_table
from hf_breakhis.results.scores.warnings import Kind, texts_of
from tests.results.test_study import worse

pytestmark = pytest.mark.usefixtures("scores_only")

REPEATS = 3


def write_repeats(write_run, folder, share=0.0, seeds=range(REPEATS)):
    """Write a run of several repeats, in each of which `share` of the images, other ones, is turned round."""
    for repeat, seed in enumerate(seeds):
        run = write_run(folder / f"repeat-{repeat}", seed=seed, split_seed=42 + repeat)
        for path in sorted(run.glob("fold-*/predictions.csv")):
            table = pd.read_csv(path, dtype={"file_name": str})
            worse(table, share, seed=seed).to_csv(path, index=False)
    recipe = yaml.safe_load((folder / "repeat-0" / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"repeats": len(list(seeds))}, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def good(write_run, tmp_path_factory):
    """A run of three repeats; copy it before a change."""
    return write_repeats(write_run, tmp_path_factory.mktemp("runs") / "good")


@pytest.fixture(scope="module")
def bad(write_run, tmp_path_factory):
    """The same run with other predictions of 40 % of its images; copy it before a change."""
    return write_repeats(write_run, tmp_path_factory.mktemp("runs") / "bad", 0.4)


def test_a_second_comparison_summarises_nothing_again(write_run, tmp_path, monkeypatch):
    runs = [write_run(tmp_path / name) for name in ("one", "other")]
    first = compare(runs)
    computed = []
    whole = summary._summarise_one
    monkeypatch.setattr(summary, "_summarise_one", lambda *given: computed.append(given) or whole(*given))
    assert compare(runs) == first
    assert computed == []
    (runs[0] / "fold-0" / "predictions.csv").touch()
    assert compare(runs) == first
    assert len(computed) == 1


def test_a_comparison_elsewhere_writes_nothing_into_runs_that_are_scored(write_run, tmp_path):
    """They may be read-only, as those of colleagues."""
    runs = [write_run(tmp_path / name) for name in ("one", "other")]
    words = ["compare", *map(str, runs), "--output_dir", str(tmp_path / "comparison")]
    assert main(words) == 0

    def times():
        return {path: path.stat().st_mtime_ns for run in runs for path in (run, *run.rglob("*"))}

    before = times()
    summary._summarised.clear()  # as in another process
    assert main(words) == 0
    assert times() == before
    (runs[0] / "summary.json").unlink()  # the control
    assert main(words) == 0
    changed = {path.name for path, time in times().items() if before.get(path) != time}
    assert changed == {"one", "summary.json", "checksums.json"}


def test_one_seed_ranks_nothing_however_far_apart(write_run, tmp_path):
    good = write_run(tmp_path / "good")
    bad = write_run(tmp_path / "bad")
    for path in bad.glob("fold-*/predictions.csv"):
        worse(pd.read_csv(path), 0.5).to_csv(path, index=False)
    found = compare([good, bad])
    (pair,) = found["pairs"]
    assert pair["scores"]["accuracy"]["low"] > 0, "specimens alone would not turn it"
    assert pair["scores"]["accuracy"]["seeds_low"] is None
    assert pair["ranks"] is None
    assert "cannot be ranked: a ranking needs 3 repeats" in found["sentence"]


def test_a_planted_difference_over_three_seeds_ranks(good, bad):
    found = compare([good, bad])
    (pair,) = found["pairs"]
    assert pair["ranks"] == 1
    assert len(pair["scores"]["accuracy"]["repeats"]) == REPEATS
    assert pair["scores"]["accuracy"]["seeds_low"] > 0
    assert "good scores higher than bad" in found["sentence"]
    assert compare([bad, good])["pairs"][0]["ranks"] == -1


def test_equal_runs_are_not_ranked(good, tmp_path):
    found = compare([good, shutil.copytree(good, tmp_path / "other")])
    assert found["pairs"][0]["ranks"] == 0
    assert "No run is ranked above another" in found["sentence"]


def test_holms_correction_over_the_pairs():
    """Worked out by hand: .01 x 3, then .02 x 2, then the largest of .04 and .03 x 1."""
    pairs = [{"p_value": p, "scores": {"accuracy": {"value": v}}} for p, v in ((0.03, 1), (0.01, -1), (0.02, 1))]
    pairs.append({"p_value": None, "scores": None})
    rank(pairs)
    assert [pair["p_holm"] for pair in pairs[:3]] == pytest.approx([0.04, 0.03, 0.04])
    assert [pair["ranks"] for pair in pairs] == [1, -1, 1, None]
    doubtful = [{"p_value": 0.03, "scores": {"accuracy": {"value": 1}}} for _ in range(2)]
    rank(doubtful)
    assert [pair["ranks"] for pair in doubtful] == [0, 0], "each alone would rank"


def test_a_margin_answers_non_inferiority(good, bad):
    runs = [good, bad]
    found = compare(runs, margin=0.02)
    assert found["pairs"][0]["non_inferior"] == {"one": True, "other": False}
    text = comparison_table(found)
    assert "good is non-inferior to bad (margin 0.02)" in text
    assert "bad is not shown to be non-inferior to good" in text
    with pytest.raises(InputError, match="`margin` is 2; give a share of the images between 0 and 1"):
        compare(runs, margin=2)


def test_seeds_that_disagree_are_not_ranked(good, tmp_path):
    """Specimens alone would rank; the spread over seeds is as large as the difference."""
    other = shutil.copytree(good, tmp_path / "other")
    for path in (other / "repeat-2").glob("fold-*/predictions.csv"):
        worse(pd.read_csv(path), 0.45).to_csv(path, index=False)
    (pair,) = compare([good, other])["pairs"]
    shown = pair["scores"]["accuracy"]
    assert shown["low"] > 0 > shown["seeds_low"]
    assert pair["ranks"] == 0


@pytest.fixture
def page(write_run, tmp_path, capsys):
    """The command on two recipes of the paper, one of them with another rate, and what it printed."""
    write_run(tmp_path / "c3", split_by="image")
    write_run(tmp_path / "other", split_by="image", learning_rate=0.1)
    assert main(["compare", str(tmp_path / "c3"), str(tmp_path / "other")]) == 0
    return tmp_path / "comparison", capsys.readouterr().out


@pytest.mark.parametrize(("place", "run", "printed"), [(".", "c3", ""), (".", "c3/", ""), ("c3", ".", "../")])
def test_the_page_stands_next_to_the_first_run(place, run, printed, write_run, tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "c3", split_by="image")
    monkeypatch.chdir(tmp_path / place)
    assert main(["compare", run]) == 0
    assert capsys.readouterr().out.endswith(f"comparison: {printed}comparison/comparison.html\n")
    assert (tmp_path / "comparison" / "comparison.html").is_file()


def test_the_paper_stands_beside_a_recipe_of_its_own(page):
    folder, out = page
    comparison = json.loads((folder / "comparison.json").read_text())
    own, other = comparison["runs"]
    assert own["paper"]["name"] == "Classifier 3"
    assert other["paper"] is None
    assert own["paper"]["difference"]["accuracy"] == pytest.approx(own["averages"]["accuracy"] - 0.90)
    first = own["paper"]["folds"][0]
    printed = CLASSIFIERS["c3"].folds[0].rows()["benign"]
    assert first["difference"]["recall"] == pytest.approx(own["per_fold"][0]["per_class"]["benign"]["recall"] - 0.69)
    assert first["paper"] == printed
    content = (folder / "comparison.html").read_text(encoding="utf-8")
    for text in (signed(first["difference"]["recall"], 2), "6,375", "not for diagnosis", "<svg"):
        assert text in content
    assert "0.0075" in content
    assert "c3 - other" in out
    assert max(map(len, comparison_table(comparison).splitlines())) <= 100


def test_a_twin_is_not_measured_against_the_paper(write_run, tmp_path):
    found = compare([write_run(tmp_path / "c3", source="twin")])
    paper = found["runs"][0]["paper"]
    assert set(paper["difference"].values()) == {None}
    assert all(row["difference"] is None or set(row["difference"].values()) == {None} for row in paper["folds"])
    text = " ".join(caution["text"] for caution in found["warnings"])
    assert "nothing about BreakHis" in text
    assert "Do not compare them" in text


def test_a_missing_fold_is_named_and_the_rest_is_said(write_run, tmp_path):
    found = compare([write_run(tmp_path / "a"), write_run(tmp_path / "b", present=[0, 2])])
    assert any("b: fold 1 did not finish" in caution["text"] for caution in found["warnings"])
    rows = json.loads((tmp_path / "a" / "summary.json").read_text())["image"]["per_fold"]
    assert found["pairs"][0]["num_images"] == rows[0]["num_images"] + rows[2]["num_images"]


def test_runs_that_tested_other_images_have_no_difference(write_run, tmp_path):
    one, other = write_run(tmp_path / "a", present=[0]), write_run(tmp_path / "b", present=[1])
    found = compare([one, other])
    assert "no image in common" in found["pairs"][0]["reason"]
    assert "cannot be ranked" in found["sentence"]


def test_runs_of_other_data_or_targets_are_refused(write_run, tmp_path):
    one, other = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    with pytest.raises(InputError, match="given twice"):
        compare([one, one])
    data = json.loads((other / "data.json").read_text())
    (other / "data.json").write_text(json.dumps(data | {"manifest_sha256": "1" * 64}))
    with pytest.raises(InputError, match="runs of different images"):
        compare([one, other])
    third = write_run(tmp_path / "c", target="tumor_type")
    with pytest.raises(InputError, match="runs of different target"):
        compare([one, third])
    assert main(["compare", str(one), str(tmp_path / "nowhere")]) == 2


def test_errors_on_other_images_but_as_many_are_not_ranked(write_run, tmp_path):
    """The negative control of the planted difference: both runs err as often, on different images."""
    one = write_repeats(write_run, tmp_path / "one", 0.25)
    other = write_repeats(write_run, tmp_path / "other", 0.25)
    for repeat in range(REPEATS):
        for path in (other / f"repeat-{repeat}").glob("fold-*/predictions.csv"):
            fresh = pd.read_csv(write_run(tmp_path / f"fresh-{repeat}", seed=repeat, split_seed=42 + repeat)
                                / path.parent.name / path.name)  # fmt: skip
            worse(fresh, 0.25, seed=100 + repeat).to_csv(path, index=False)
    (pair,) = compare([one, other])["pairs"]
    assert pair["scores"]["accuracy"]["high"] > pair["scores"]["accuracy"]["low"]
    assert pair["ranks"] == 0


def test_runs_without_specimens_are_never_ranked(write_run, tmp_path, cohort):
    """An interval over images is far too narrow to rank by."""
    images = cohort.assign(patient_id="", specimen_id="")

    def nameless(folder, **fields):
        return write_run(folder, images, split_by="image", **fields)

    good, bad = write_repeats(nameless, tmp_path / "good"), write_repeats(nameless, tmp_path / "bad", 0.4)
    found = compare([good, bad])
    assert found["pairs"][0]["scores"]["accuracy"]["low"] > 0
    assert found["pairs"][0]["ranks"] is None
    assert "no specimens are known" in found["sentence"]
    assert found["pairs"][0]["scores"]["recognition_rate"]["value"] is None


def test_repeats_are_paired_by_their_number(write_run, tmp_path):
    one, other = (write_repeats(write_run, tmp_path / name, seeds=range(4)) for name in ("one", "other"))
    shutil.rmtree(one / "repeat-1")
    found = compare([one, other])
    (pair,) = found["pairs"]
    assert pair["num_repeats"] == 3
    assert set(pair["scores"]["accuracy"]["repeats"]) == {0.0}, "the same seeds, so the same predictions"
    assert any("one: repeat 1 did not finish" in caution["text"] for caution in found["warnings"])


def test_hold_outs_are_compared_repeat_by_repeat(write_run, tmp_path):
    """Three hold-outs of one run share few images; each shares all of its own with the other run's."""

    def hold_out(folder, **fields):
        return write_run(folder, num_folds=1, split_by="image", **fields)

    one, other = write_repeats(hold_out, tmp_path / "one"), write_repeats(hold_out, tmp_path / "other", 0.4)
    (pair,) = compare([one, other])["pairs"]
    assert pair["num_images"] == pair["num_tested"] > 30
    assert pair["ranks"] == 1


def test_a_fold_missing_in_a_later_repeat_is_named(good, tmp_path):
    one = shutil.copytree(good, tmp_path / "one")
    shutil.rmtree(one / "repeat-2" / "fold-1")
    assert any("one: fold 1 of repeat 2 did not finish" in text for text in texts_of(compare([one]), Kind.INCOMPLETE))
