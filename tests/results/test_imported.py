"""Predictions of other programs: what is read, what is refused, and what their scores are."""

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_breakhis.cli import main
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.files import InputError
from hf_breakhis.results.foreign.names import parse_foreign_name
from hf_breakhis.results.foreign.read import read_foreign
from hf_breakhis.results.foreign.values import to_probabilities

pytestmark = pytest.mark.usefixtures("small_figures")

NAMES = expected_file_names()[::160]
REAL = Path(__file__).parents[3] / "shared/real/predictions"
NOT_THERE = not REAL.is_dir()


def table(folder, text, name="theirs.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def rows(values, header="file_name,prob_malignant", separator=","):
    return "\n".join([header, *(f"{name}{separator}{value}" for name, value in zip(NAMES, values, strict=False))])


def test_excel_leaves_semicolons_commas_and_a_mark(tmp_path):
    plain = read_foreign(table(tmp_path, rows(["0.25", "0.5", "1"])), {})
    excel = read_foreign(
        table(tmp_path, "sep=;\r\n" + rows(["0,25", "0,5", "1"], "Img. name;Malignant", ";"), "e.csv", "utf-8-sig"), {}
    )
    wide = read_foreign(
        table(tmp_path, rows(["25 %", "50 %", "100 %"], "image\tp_malignant", "\t"), "u.txt", "utf-16"), {}
    )
    for other in (excel, wide):
        pd.testing.assert_frame_equal(other.rows, plain.rows)
    assert plain.rows["prob_malignant"].tolist() == [0.25, 0.5, 1.0]
    assert plain.rows["predicted"].tolist() == [0, 0, 1]
    assert plain.ties == 1


def test_json_lines_and_parquet_are_read_alike(tmp_path):
    frame = pd.DataFrame({"file_name": NAMES[:5], "prob_malignant": [0.1, 0.2, 0.7, 1 / 3, 0.9]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True, double_precision=15)
    for name in ("a.parquet", "a.jsonl"):
        read = read_foreign(tmp_path / name, {}).rows["prob_malignant"]
        np.testing.assert_allclose(read, frame["prob_malignant"], rtol=1e-14)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(NAMES), st.sampled_from(["", "a/b/", "C:\\data\\", "./"]), st.sampled_from(["", ".png", ".JPG"])
)
def test_paths_and_endings_do_not_change_the_image(name, folder, ending):
    assert str(parse_foreign_name(folder + name.removesuffix(".png") + ending)) == name


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("fuzz") / "a.csv"
    path.write_bytes(f"file_name,malignant\n{text}".encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as error:  # no text of 60 letters is a row of an image and a number
        read_foreign(path, {})
    assert str(error.value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 28), st.just(28)), min_size=2, max_size=20))
def test_votes_are_shares(pairs):
    votes = np.array([(a, n - a) for a, n in pairs], dtype=float)
    prob, kind = to_probabilities(votes, ["benign", "malignant"], ("benign", "malignant"), "auto", Path("x"))
    assert kind == "votes"
    np.testing.assert_allclose(prob, votes / 28)


def test_logits_are_those_of_a_softmax():
    values = np.array([[1.0, 3.0], [-2.0, 0.5]])
    prob, _ = to_probabilities(values, ["malignant", "benign"], ("benign", "malignant"), "logits", Path("x"))
    np.testing.assert_allclose(prob[:, 1], 1 / (1 + np.exp(values[:, 1] - values[:, 0])))


ERRORS = {
    "empty": ("", "is empty"),
    "unknown name": (f"file_name,malignant\n{NAMES[0][:-5]}x.png,0.5\n{NAMES[1]},0.1\n", "1 of 2 names"),
    "outside": (rows(["0.5", "1.5"]), "outside 0 to 1"),
    "sum": (rows(["0.5,0.2", "0.1,0.9"], "file_name,benign,malignant"), "do not sum to 1"),
    "NaN": (rows(["0.5", "nan"]), "have no number"),
    "class": (
        rows(["0.5,benign", "0.1,grey"], "file_name,malignant,label"),
        "'grey' in the column of the true class",
    ),
    "contradiction": (rows(["0.5,malignant"], "file_name,malignant,label"), "1 of 1 rows contradicts the name"),
    "no score": (rows(["1"], "file_name,thing"), "none with a score"),
    "short row": (f"file_name,malignant\n{NAMES[0]}\n", "a row of 1 cells"),
    "workbook": ("PK\x03\x04", "Excel workbook"),
    "twice": (f"file_name,malignant\n{NAMES[0]},0.5\n{NAMES[0]},0.1\n", "Twice in one fold: 1 name, such as "),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_used_ends_with_one_line(tmp_path, capsys, case):
    text, words = ERRORS[case]
    path = table(tmp_path, text)
    assert main(["score", str(path), "--output_dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_table_with_too_many_rows_is_refused_while_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_breakhis.tables.MAX_ROWS", 2)
    with pytest.raises(InputError, match="more than 2 rows"):
        read_foreign(table(tmp_path, rows(["0.5", "0.1", "0.2"])), {})


def test_predicted_classes_have_no_scores_of_probabilities(tmp_path, capsys):
    values = ["M" if "_M_" in name or i % 5 == 0 else "B" for i, name in enumerate(NAMES)]
    path = table(tmp_path, rows([f"{v},{i % 2}" for i, v in enumerate(values)], "file_name,predicted,fold"))
    run = tmp_path / "run"
    assert main(["score", str(path), "--output_dir", str(run)]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["image"]["pooled"]["roc_auc"]["value"] is None
    right = np.mean([(v == "M") == ("_M_" in name) for v, name in zip(values, NAMES, strict=True)])
    assert summary["image"]["pooled"]["accuracy"]["value"] == pytest.approx(right)
    page = (run / "report.html").read_text()
    assert "No training list was given: leakage was not assessed." in page
    assert "classes without probabilities" in page
    assert "Learning curves" not in page


def test_formulas_and_html_in_names_are_harmless(tmp_path):
    lines = ["file_name,patient_id,label,malignant"]
    lines += [f"=cmd|{k}<script>alert(1)</script>,@p{k % 12},{k % 2},{0.1 + 0.03 * k}" for k in range(24)]
    run = tmp_path / "run"
    assert main(["score", str(table(tmp_path, "\n".join(lines))), "--output_dir", str(run)]) == 0
    written = pd.read_csv(run / "predictions.csv", dtype=str)
    assert not written["file_name"].str.startswith("=").any()
    assert not written["patient_id"].str.startswith("@").any()
    assert "<script>alert" not in (run / "report.html").read_text()


@pytest.mark.skipif(NOT_THERE, reason="the predictions of others are not part of the project")
def test_the_accuracies_of_three_official_folds():
    found = [read_foreign(REAL / f"official-fold{k}.csv", {}).rows for k in (1, 2, 3)]
    right = [float((one["label"] == one["predicted"]).mean()) for one in found]
    np.testing.assert_allclose(right, [0.9063, 0.8531, 0.8824], atol=5e-5)


def test_an_audit_without_a_training_list_is_refused(tmp_path, capsys):
    run = tmp_path / "run"
    path = table(tmp_path, rows([f"{0.01 * i:.2f},{i % 2}" for i in range(50)], "file_name,prob_malignant,fold"))
    assert main(["score", str(path), "--output_dir", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    assert main(["audit", str(run)]) == 2
    assert "no training list" in capsys.readouterr().err


def test_an_audit_searches_copies_in_the_images_that_are_given(tmp_path, capsys, small_breakhis, monkeypatch):
    files = {path.name: path for path in small_breakhis.rglob("*.png")}
    names = sorted(files)
    tested, trained = names[::3], [name for name in names if name not in names[::3]]
    files[trained[0]].write_bytes(files[tested[0]].read_bytes())
    path = table(tmp_path, "\n".join(["file_name,malignant", *(f"{name},0.4" for name in tested)]))
    (tmp_path / "train.csv").write_text("\n".join(["file_name", *trained]))
    run = tmp_path / "run"
    assert main(["score", str(path), "--train", str(tmp_path / "train.csv"), "--output_dir", str(run)]) == 0
    assert main(["audit", str(run), "--data_dir", str(small_breakhis)]) == 0
    found = json.loads((run / "audit.json").read_text())
    assert found["per_fold"][0]["exact_copy"] == 1
    files[trained[1]].unlink()
    assert main(["audit", str(run), "--data_dir", str(small_breakhis)]) == 0
    assert f"the data lack 1 image of the run, such as {trained[1]}" in capsys.readouterr().out
    monkeypatch.setattr("hf_breakhis.data.sources.table.load_images", lambda _: pytest.fail("images were loaded"))
    assert main(["audit", str(run)]) == 0
    assert "Copies were not searched. Give the images with --data_dir." in capsys.readouterr().out


@pytest.fixture(scope="module")
def reduced(trained_run, tmp_path_factory):
    """The predictions of an own run, reduced to three columns and scored as those of another program."""
    folder = tmp_path_factory.mktemp("imported")
    own = pd.read_csv(trained_run / "predictions.csv", dtype={"file_name": str})
    own[["file_name", "prob_malignant", "fold"]].to_csv(folder / "theirs.csv", index=False)
    assert main(["score", str(folder / "theirs.csv"), "--output_dir", str(folder / "theirs")]) == 0
    return folder / "theirs"


def test_an_own_run_reduced_to_three_columns_has_the_same_scores(trained_run, reduced):
    own, theirs = (json.loads((run / "summary.json").read_text()) for run in (trained_run, reduced))
    for level in ("image", "patient"):
        for name, score in theirs[level]["pooled"].items():
            ours = own[level]["pooled"][name]
            if name == "num_patients":
                assert score == ours
                continue
            expected = [ours["value"], *(ours.get(f"models_{end}", ours[end]) for end in ("low", "high"))]
            found = [score[end] for end in ("value", "low", "high")]  # the interval is about the models
            assert [value is None for value in found] == [value is None for value in expected], name
            for one, other in zip(found, expected, strict=True):
                assert one is None or one == pytest.approx(other, rel=1e-9), name
    assert theirs["image"]["pooled_confusion_matrix"] == own["image"]["pooled_confusion_matrix"]
    assert theirs["interval"]["estimand"] == "models"


def compared(tmp_path, *runs):
    assert main(["compare", *map(str, runs), "--output_dir", str(tmp_path / "comparison")]) == 0
    return json.loads((tmp_path / "comparison" / "comparison.json").read_text())


def test_generated_images_are_not_paired_with_others_of_the_same_names(trained_run, reduced, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")  # a comparison writes its summary again
    found = compared(tmp_path, run, reduced)
    assert "generated" in found["pairs"][0]["reason"]
    assert found["pairs"][0]["num_images"] == 0
    assert found["sentence"] == "These runs tested no images in common, so they cannot be ranked."
    twin = [caution["text"] for caution in found["warnings"] if caution["kind"] == "generated"]
    assert twin[0].startswith("run: These scores are for a synthetic twin")


def real(run, folder):
    """A copy of a run whose images count as real."""
    shutil.copytree(run, folder)
    data = json.loads((folder / "data.json").read_text())
    (folder / "data.json").write_text(json.dumps(data | {"is_generated": False}))
    assert main(["report", str(folder), "--reseal"]) == 0
    return folder


def test_predicted_classes_have_no_difference_in_roc_auc(trained_run, reduced, tmp_path):
    run = real(trained_run, tmp_path / "run")
    own = pd.read_csv(run / "predictions.csv", dtype={"file_name": str})
    own["pred"] = (own["prob_malignant"] > 0.5).astype(int)
    own[["file_name", "pred", "fold"]].to_csv(tmp_path / "classes.csv", index=False)
    assert main(["score", str(tmp_path / "classes.csv"), "--output_dir", str(tmp_path / "classes")]) == 0
    found = compared(tmp_path, run, tmp_path / "classes", reduced)
    first, with_probabilities, last = found["pairs"]
    assert first["scores"]["accuracy"]["value"] == 0
    for pair in (first, last):
        assert set(pair["scores"]["roc_auc"].values()) == {None}
        assert pair["scores"]["balanced_accuracy"]["value"] is not None
    assert with_probabilities["scores"]["roc_auc"]["value"] == 0
    assert any(one["text"].startswith("classes: The predictions are classes") for one in found["warnings"])
    page = (tmp_path / "classes" / "report.html").read_text(encoding="utf-8")
    assert "The predictions are classes without probabilities, so there is no curve." in page
    assert "No fold has both classes" not in page


def test_an_imported_run_is_compared_with_a_trained_one(trained_run, reduced, tmp_path):
    found = compared(tmp_path, real(trained_run, tmp_path / "run"), reduced)
    (pair,) = found["pairs"]
    assert pair["scores"]["accuracy"]["value"] == 0
    assert pair["num_images"] == pair["num_tested"] > 0
    assert pair["ranks"] is None, "one repeat ranks nothing"


def test_the_report_states_on_one_screen_what_the_predictions_may_be_used_for(reduced):
    page = (reduced / "report.html").read_text(encoding="utf-8")
    for text in ("May be used to study", "there is no model here", "To be shown before anyone decides with it"):
        assert text in page


def test_a_run_is_not_scored_again(trained_run, capsys):
    assert main(["score", str(trained_run)]) == 2
    shown = capsys.readouterr().err
    assert shown == (
        f"hf-breakhis: {trained_run} is a run, which knows its scores. Show them: hf-breakhis report {trained_run}.\n"
    )


def test_a_copy_for_another_report_is_of_trained_runs_only(reduced, tmp_path, capsys):
    assert main(["report", str(reduced), "--output_dir", str(tmp_path / "copy")]) == 2
    error = capsys.readouterr().err
    assert "--output_dir copies a run that was trained" in error
    assert "is not a run" not in error
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("words", [("predict", "RUN", "x.png"), ("export", "RUN"), ("explain", "RUN"),
                                   ("publish", "RUN", "--repo_id", "a/b"), ("page", "RUN", "DIR"),
                                   ("space", "RUN", "DIR")], ids=lambda words: words[0])  # fmt: skip
def test_a_command_that_needs_weights_says_that_there_are_none(reduced, tmp_path, capsys, words):
    given = {"RUN": str(reduced), "DIR": str(tmp_path / "out")}
    assert main([given.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err
    assert "holds predictions of another program and no model" in error
    assert error.count("\n") == 1


def test_a_training_list_says_what_leaks(tmp_path, capsys):
    """Patients of half of the test images are in the list, and one test image itself is."""
    own = sorted(NAMES)[::2]
    in_training = [name for name in expected_file_names() if name not in NAMES and name.rsplit("-", 2)[0] in
                   {one.rsplit("-", 2)[0] for one in own}]  # fmt: skip
    path = table(tmp_path, rows(["0.5"] * len(NAMES)))
    (tmp_path / "train.txt").write_text("\n".join([NAMES[0], *in_training]))
    run = tmp_path / "run"
    assert main(["score", str(path), "--train", str(tmp_path / "train.txt"), "--output_dir", str(run)]) == 0
    leakage = json.loads((run / "summary.json").read_text())["leakage"]
    patients = {name.rsplit("-", 2)[0] for name in [NAMES[0], *in_training]}
    expected = np.mean([name.rsplit("-", 2)[0] in patients for name in NAMES])
    assert leakage["share_same_patient"] == pytest.approx(expected)
    assert leakage["share_seen"] == pytest.approx(1 / len(NAMES))
    page = (run / "report.html").read_text()
    assert "No training list was given" not in page
    assert main(["score", str(path), "--train", str(tmp_path / "absent.txt"), "--output_dir", str(run)]) == 2
    assert "absent.txt" in capsys.readouterr().err


def test_percent_of_both_classes_is_read_as_probability(tmp_path):
    read = read_foreign(table(tmp_path, rows(["25,75", "60,40"], "file_name,benign,malignant")), {})
    assert read.rows["prob_malignant"].tolist() == [0.75, 0.4]
    one = read_foreign(table(tmp_path, rows(["75", "40"])), {}, "percent")
    assert one.rows["prob_malignant"].tolist() == [0.75, 0.4]


def test_scores_of_eight_tumour_types_are_a_run_of_eight_classes(tmp_path):
    codes = ["A", "F", "PT", "TA", "DC", "LC", "MC", "PC"]
    types = [name.split("_")[2].split("-")[0] for name in NAMES]
    values = [",".join("0.86" if code == own else "0.02" for code in codes) for own in types]
    path = table(
        tmp_path, rows([f"{value},{i % 2}" for i, value in enumerate(values)], ",".join(["image", *codes, "fold"]))
    )
    run = tmp_path / "run"
    assert main(["score", str(path), "--output_dir", str(run)]) == 0
    summary = json.loads((run / "summary.json").read_text())
    assert summary["classes"] == codes
    assert summary["image"]["pooled"]["accuracy"]["value"] == 1.0


def test_memory_does_not_grow_with_columns_that_are_not_used(tmp_path):
    """A table of 40 MB, of which two narrow columns are used."""
    unused = ",".join(["x" * 400] * 2000)
    path = tmp_path / "wide.csv"
    with path.open("w") as stream:
        stream.write("file_name,prob_malignant," + ",".join(f"c{i}" for i in range(2000)) + "\n")
        stream.writelines(f"{name},0.5,{unused}\n" for name in NAMES[:50])
    assert path.stat().st_size > 40e6 - 1e6
    tracemalloc.start()
    read = read_foreign(path, {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read.rows) == 50
    assert peak < 10e6
