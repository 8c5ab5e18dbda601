"""Where predict reads and writes: files by their ending, standard input and output; a copy counts once."""

import io
import json
import shutil
import sys
import types

import pandas as pd
import pyarrow.parquet as pq
import pytest

from hf_breakhis.cli import main


@pytest.fixture(scope="module")
def pictures(twin, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for path in sorted(twin.rglob("*.png"))[::20]:
        shutil.copy(path, folder)
    return folder


def feed(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(content)))


def test_parquet_holds_what_csv_holds(run, pictures, tmp_path):
    places = [tmp_path / name for name in ("scores.csv", "scores.parquet", "scores.jsonl")]
    for place in places:
        assert main(["predict", str(run), str(pictures), "--output", str(place)]) == 0
    csv, parquet, lines = pd.read_csv(places[0]), pd.read_parquet(places[1]), places[2].read_text().splitlines()
    assert len(csv) >= 4
    pd.testing.assert_frame_equal(parquet.astype(csv.dtypes), csv, rtol=0, atol=1e-12)
    assert [json.loads(line) for line in lines] == pq.read_table(places[1]).to_pylist()


def test_many_rows_are_written_in_several_groups(run, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_breakhis.inference.predict.ROW_GROUP", 2)
    place = tmp_path / "scores.parquet"
    assert main(["predict", str(run), str(pictures), "--output", str(place), "--batch_size", "1"]) == 0
    assert pq.ParquetFile(place).num_row_groups >= 2
    assert pq.read_table(place).num_rows == len(list(pictures.iterdir()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "scores.xlsx"], "Use .csv, .jsonl, .ndjson, .json, .parquet, or give --format."),
        (["--output", "scores.parquet", "--format", "csv"], "--format csv does not fit --output scores.parquet."),
        (["--format", "parquet"], "Parquet cannot be written to standard output. Give --output FILE.parquet."),
    ],
)
def test_a_format_that_does_not_fit_is_refused_before_anything_is_read(options, message, capsys):
    assert main(["predict", "/nowhere/model", "/nowhere/images", *options]) == 2
    assert message in capsys.readouterr().err


def test_an_ending_of_another_kind_is_taken_with_a_format(run, pictures, tmp_path):
    place = tmp_path / "scores.txt"
    assert main(["predict", str(run), str(pictures), "--output", str(place), "--format", "jsonl"]) == 0
    assert json.loads(place.read_text().splitlines()[0])["predicted"] in ("benign", "malignant")


def test_a_dash_is_standard_input_and_output(run, pictures, monkeypatch, capsys):
    picture = sorted(pictures.iterdir())[0]
    assert main(["predict", str(run), str(picture), "--output", "-"]) == 0
    expected = pd.read_csv(io.StringIO(capsys.readouterr().out))

    feed(monkeypatch, picture.read_bytes())
    assert main(["predict", str(run), "-"]) == 0
    image = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert image["path"].tolist() == ["stdin"]
    assert image["prob_malignant"].tolist() == expected["prob_malignant"].tolist()

    feed(monkeypatch, f"{picture}\r\n{pictures}\n".encode())
    assert main(["predict", str(run), "-"]) == 0
    listed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert listed["path"].tolist() == [str(path) for path in (picture, *sorted(pictures.iterdir()))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Standard input is empty."),
        (b"\n\n", "Standard input is empty."),
        (b"-\n", "Standard input lists -"),
        (b"/nowhere/a.png\n", "There is no /nowhere/a.png"),
    ],
)
def test_standard_input_that_names_nothing_is_refused(run, content, message, monkeypatch, capsys):
    feed(monkeypatch, content)
    assert main(["predict", str(run), "-"]) == 2
    assert message in capsys.readouterr().err


def test_a_closed_standard_input_is_refused(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["predict", str(run), "-"]) == 2
    assert "Standard input is empty." in capsys.readouterr().err


def test_an_image_given_twice_counts_once(run, pictures, tmp_path, capsys):
    def rates(*paths):
        assert main(["predict", str(run), *map(str, paths), "--output", str(tmp_path / "scores.csv")]) == 0
        printed = capsys.readouterr().err
        return [line for line in printed.splitlines() if "recognition rate" in line], printed

    once, printed = rates(pictures)
    assert "counts once" not in printed
    archive = shutil.make_archive(tmp_path / "again", "zip", pictures)
    first = sorted(pictures.iterdir())[0]
    twice, printed = rates(pictures, first, first, archive)
    assert once == twice
    number = len(list(pictures.iterdir()))
    assert f"{number + 2} copies of images given before (equal files): each image counts once" in printed
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 2 * number + 2


def test_copies_of_images_without_a_class_are_named_without_a_word_about_rates(run, pictures, tmp_path, capsys):
    plain = shutil.copyfile(sorted(pictures.iterdir())[0], tmp_path / "plain.png")
    assert main(["predict", str(run), str(plain), str(plain), "--output", str(tmp_path / "scores.csv")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "1 copy of images given before (equal files)" in lines
