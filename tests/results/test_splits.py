"""Splits of other people: each form is read, and what was planted in it is found, and nothing else."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hf_breakhis.cli import main
from hf_breakhis.data.inventory import INVENTORY, expected_file_names
from hf_breakhis.files import InputError
from hf_breakhis.results.audit import KINDS, audit_folds, official_leaks
from hf_breakhis.results.splits import PUBLISHED, copies_in_folder, describe_split, is_split, read_split

A, A2, B = (f"SOB_{name}-40-00{{}}.png" for name in ("B_A-14-22549AB", "B_A-14-22549CD", "M_DC-14-2523"))
NOTHING = dict.fromkeys(KINDS, 0)


def audited(split, pairs=None):
    (row,) = audit_folds(split.folds, "none", pairs)["per_fold"]
    return row


def write(tmp_path, text, name="split.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture
def folders(tmp_path, draw_png):
    """train/ and test/ with class folders; no patient, no picture on both sides."""
    for place in (
        f"train/benign/{A.format(1)}", f"train/malignant/{B.format(1)}", "test/benign/SOB_B_F-14-9133-40-001.png",
        "test/malignant/SOB_M_DC-14-2773-40-001.png",
    ):  # fmt: skip
        draw_png(tmp_path / "kaggle" / place)
    return tmp_path / "kaggle"


def test_official_and_eva_have_the_known_sizes_and_leaks():
    official, eva = (describe_split(read_split(name)) for name in ("official", "eva"))
    assert [row["images"] for row in official["sizes"] if row["part"] == "test"] == [2904, 2403, 2577, 2698, 3083]
    assert [row["specimens"] for row in official["shared"]] == [row["specimens"] for row in official_leaks()]
    assert [row["images"] for row in eva["sizes"]] == [1132, 339]
    assert len(eva["shared"][0]["specimens"]) == 4
    assert all(not row["patients"] for found in (official, eva) for row in found["shared"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_split_has_a_source_and_known_images(name):
    split = read_split(name)
    assert split.source
    assert set(split.folds["file_name"]) <= set(expected_file_names())


def test_the_fold_files_are_the_official_split(real_breakhis):
    found, known = read_split(str(real_breakhis / "folds")).folds, PUBLISHED["official"].folds()
    order = ["fold", "file_name"]
    pd.testing.assert_frame_equal(*(one.sort_values(order, ignore_index=True) for one in (found, known)))
    one = read_split(str(real_breakhis / "folds" / "dsfold2.txt"))
    assert len(one.folds) == 7909


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_a_table_in_the_form_of_any_spreadsheet(tmp_path, separator):
    rows = [
        ["File_Name", "Split"],
        [f"some/where/{A.format(1)}", "Training"],
        [A.format(2), "test"],
        [B.format(1), "val"],
    ]
    split = read_split(write(tmp_path, "\ufeff" + "\r\n".join(separator.join(row) for row in rows)))
    assert split.folds["file_name"].tolist() == [A.format(1), A.format(2), B.format(1)]
    assert split.folds["part"].tolist() == ["train", "test", "validation"]
    assert audited(split) == {"fold": 0, "test_images": 1} | NOTHING | {
        "same_patient": 1, "same_specimen": 1, "exact_copy": None, "near_copy": None,
        "overlapping_field": None,
    }  # fmt: skip


def test_patients_and_specimens_are_told_from_names_or_columns(tmp_path):
    def row(*lines):
        return audited(read_split(write(tmp_path, "\n".join(lines))))

    one = row("file_name,part", f"{A.format(1)},train", f"{A2.format(1)},test")
    assert (one["same_patient"], one["same_specimen"]) == (0, 1)
    one = row("file_name,part", f"{A.format(1)},train", f"{B.format(1)},test")
    assert (one["same_patient"], one["same_specimen"]) == (0, 0)
    one = row("file_name,part,patient_id", "x.png,train,7", "y.png,test,7")
    assert (one["same_patient"], one["same_specimen"]) == (1, None)
    one = row("file_name,part", "x.png,train", "y.png,test")
    assert (one["same_patient"], one["same_specimen"]) == (None, None)


def test_an_image_in_both_parts_is_counted(tmp_path):
    split = read_split(write(tmp_path, f"file_name,part\n{A.format(1)},train\n{A.format(1)},test\n"))
    assert audited(split)["seen_in_training"] == 1


def test_folds_without_parts_are_tested_once_each(tmp_path):
    split = read_split(write(tmp_path, f"image,fold\n{A.format(1)},1\n{A.format(2)},2\n{B.format(1)},2\n"))
    rows = audit_folds(split.folds, "none", None)["per_fold"]
    assert [(row["fold"], row["test_images"], row["same_patient"]) for row in rows] == [(1, 1, 1), (2, 2, 1)]
    sizes = describe_split(split)["sizes"]
    assert [(row["fold"], row["part"], row["missing"]) for row in sizes] == [
        (1, "train", []), (1, "test", ["malignant"]), (2, "train", ["malignant"]), (2, "test", []),
    ]  # fmt: skip


def test_the_folds_csv_of_kaggle_is_read(tmp_path):
    folder = INVENTORY[0]
    name = next(iter(folder.names()))
    text = f"fold,mag,grp,filename\n1,40,train,BreaKHis_v1/{name.path}\n1,40,test,BreaKHis_v1/{B.format(1)}\n"
    assert read_split(write(tmp_path, text)).folds["file_name"].tolist() == [str(name), B.format(1)]


def test_folders_that_share_nothing(folders):
    split = read_split(str(folders))
    assert audited(split, copies_in_folder(split)) == {"fold": 0, "test_images": 2} | NOTHING
    assert [row["classes"] for row in describe_split(split)["sizes"]] == [{"benign": 1, "malignant": 1}] * 2
    assert read_split(str(folders.parent)).folds.equals(split.folds), "one folder more is looked into"


def test_copies_planted_in_folders_are_found(folders):
    source = folders / f"train/malignant/{B.format(1)}"
    shutil.copy(source, folders / "test/malignant/SOB_M_LC-14-12204-40-001.png")
    split = read_split(str(folders))
    row = audited(split, copies_in_folder(split))
    assert (row["exact_copy"], row["near_copy"], row["same_specimen"]) == (1, 0, 0)
    with Image.open(source) as picture:
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
            folders / "test/malignant/SOB_M_LC-14-13412-40-001.png"
        )
    split = read_split(str(folders))
    row = audited(split, copies_in_folder(split))
    assert (row["exact_copy"], row["near_copy"]) == (1, 1)


def test_the_command_finds_copies_in_folders_and_names_a_missing_class(folders, capsys):
    shutil.rmtree(folders / "test/benign")
    shutil.copy(folders / f"train/malignant/{B.format(1)}", folders / f"test/malignant/{B.format(2)}")
    out = folders.parent / "out"
    assert main(["audit", str(folders), "--output_dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "MISSING: benign" in printed
    assert "1 patient in train and test: SOB_M_DC-14-2523" in printed
    audit = json.loads((out / "audit.json").read_text())
    assert audit["per_fold"][0]["exact_copy"] == audit["per_fold"][0]["same_patient"] == 1


def test_the_command_says_that_images_are_needed_for_copies(tmp_path, capsys):
    assert main(["audit", "--split", "eva", "--output_dir", str(tmp_path)]) == 0
    assert "Give the images with --data_dir" in capsys.readouterr().out


def test_a_run_is_no_split(tmp_path):
    (tmp_path / "test").mkdir()
    assert is_split(str(tmp_path))
    (tmp_path / "recipe.yaml").touch()
    assert not is_split(str(tmp_path))
    assert not is_split("eva")
    assert not is_split(str(tmp_path / "c3.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; give another file"),
        ("file_name,part\n", "has a header and no rows"),
        ("name,value\nx,y\n", "has the columns 'name', 'value', but needs file_name, and part"),
        ("file_name,part\nx,train\ny,tset\n", "`part` is 'tset', but has to be one of train,"),
        ("file_name,part\nx,train\ny,train\n", "fold 0 has no test set"),
        ("file_name,part\nx,train\nx,train\ny,test\n", "names x twice in one part of a fold"),
        ("file_name,fold\nx,1\ny,a\n", "`fold` is 'a', but has to be a whole number"),
        ("file_name,part\nx,train\ny,test,3,4,5\n", "a row of 5 cells"),
        (f"{A.format(1)}|40|1|train\n{A.format(2)}|40|1\n", "a row of 3 cells"),
        (f"{A.format(1)}|40|1|train\n{A.format(2)}|40|1|tset\n", "line 2 is"),
        ("file_name,part,Part\nx,train,test\n", "2 columns for `part`: 'part', 'Part'. Rename or remove one"),
        ("file_name,part,part\nx,train,test\n", "2 columns named 'part'"),
    ],
)  # fmt: skip
def test_what_is_no_split_ends_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError) as refused:
        read_split(write(tmp_path, text))
    assert message in str(refused.value)


@pytest.mark.parametrize("form", ["csv", "tsv", "semicolons", "parquet", "jsonl", "json"])
def test_a_split_is_read_in_each_format(tmp_path, form):
    table = pd.DataFrame({"file_name": [A.format(1), A.format(2)], "part": ["train", "test"]})
    path = tmp_path / f"split.{'csv' if form == 'semicolons' else form}"
    if form == "parquet":
        table.to_parquet(path)
    elif form in ("json", "jsonl"):
        table.to_json(path, orient="records", lines=form == "jsonl")
    else:
        table.to_csv(path, index=False, sep={"tsv": "\t", "semicolons": ";"}.get(form, ","))
    assert is_split(str(path))
    assert read_split(str(path)).folds["part"].tolist() == ["train", "test"]


def test_folders_that_are_no_split_end_in_one_line(tmp_path, draw_png):
    with pytest.raises(InputError, match="No split at nowhere"):
        read_split("nowhere")
    with pytest.raises(InputError, match="but has to hold train/ and test/"):
        read_split(str(tmp_path))
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
    with pytest.raises(InputError, match="holds no images"):
        read_split(str(tmp_path))
    draw_png(tmp_path / "train" / "x.png")
    with pytest.raises(InputError, match="lies outside of a class folder"):
        read_split(str(tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split"], "--split has no value. Give a table, a folder, or one of official, eva."),
        (["--split", "evo"], "Did you mean `eva`?"),
        (["nix"], "There is no file, folder or recipe nix. Give a run, a study, a recipe such as c3, or a split"),
        (["evo"], "There is no file, folder or recipe evo. Did you mean `eva`? Give a run"),
        (["nix.csv"], "No split at nix.csv. Give a table with file_name and part or fold"),
        (["official", "--train"], "unknown flag `--train`"),
        (["official", "--data_dri", "x"], "unknown flag `--data_dri`. Did you mean `--data_dir`?"),
        (["official", "--data_dir"], "`--data_dir` has no value."),
    ],
)
def test_bad_words_end_in_one_line_and_code_2(words, message, capsys):
    assert main(["audit", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def random_split():
    """Every image of BreakHis in one of two parts, drawn without a look at patients."""
    names = expected_file_names()
    parts = np.random.default_rng(0).choice(["train", "test"], len(names), p=[0.7, 0.3])
    return pd.DataFrame({"file_name": names, "part": parts})


def command_of(table, path, capsys):
    table.to_csv(path, index=False)
    code = main(["audit", str(path), "--output_dir", str(path.parent / "audit")])
    found = capsys.readouterr()
    return code, found.out + found.err


def test_names_without_an_extension_have_patients(tmp_path, capsys):
    table = random_split()
    code, text = command_of(table.assign(file_name=table["file_name"].str[:-4]), tmp_path / "a.csv", capsys)
    assert code == 0
    assert "82 patients in train and test" in text
    assert "100.0 %" in text


def test_one_wrong_name_does_not_switch_off_the_count_of_patients(tmp_path, capsys):
    table = random_split()
    table.loc[7, "file_name"] = table.loc[7, "file_name"].replace(".png", "a.png")
    code, text = command_of(table, tmp_path / "a.csv", capsys)
    assert code == 2
    assert "the patient is not known for 1 of 7,909 images" in text
    assert f"Did you mean `{expected_file_names()[7]}`?" in text


@pytest.mark.parametrize("values", [("0", "1"), ("benign", "malignant"), ("B", "M")])
def test_classes_are_those_of_the_names_or_refused(tmp_path, capsys, values):
    table = random_split()
    labels = table["file_name"].str.startswith("SOB_M").astype(int)
    right = table.assign(label=labels.map(dict(enumerate(values))))
    code, text = command_of(right, tmp_path / "a.csv", capsys)
    assert code == 0
    assert "benign" in text
    assert "malignant" in text
    types = right["file_name"].str.split("[_-]", regex=True).str[2]
    assert command_of(right.assign(label=types), tmp_path / "c.csv", capsys)[0] == 0
    wrong = right.assign(label=types.replace("A", "DC"))
    code, text = command_of(wrong, tmp_path / "d.csv", capsys)
    assert code == 2
    assert "the class contradicts the file name in 444 of 7,909 rows" in text
    code, text = command_of(right.assign(label=values[0]), tmp_path / "b.csv", capsys)
    assert code == 2
    assert "the class contradicts the file name in 5,429 of 7,909 rows" in text


def test_a_class_that_no_part_has_is_missing(tmp_path, capsys):
    table = random_split()
    malignant = table[table["file_name"].str.startswith("SOB_M")]
    code, text = command_of(malignant, tmp_path / "a.csv", capsys)
    assert code == 0
    assert text.count("MISSING: benign") == 2


def test_images_in_both_parts_are_named(tmp_path, capsys):
    table = random_split()
    train = table[table["part"] == "train"].head(5)
    code, text = command_of(pd.concat([table, train.assign(part="test")]), tmp_path / "a.csv", capsys)
    assert code == 0
    assert f"Fold 0: 5 images in train and test: {train['file_name'].iloc[0]}" in text
    assert "images in train and test" not in command_of(table, tmp_path / "b.csv", capsys)[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("bad.parquet", b"PAR1junk", "is a damaged Parquet file; give another file"),
     ("empty", None, "empty is empty. Give a run, a study, a recipe such as c3, or a split"),
     ("full", b"x", "full has no recipe.yaml, no plan.json and no train/ and test/. Give a run, a study, a recipe"),
     ("a.xlsx", b"PK\x03\x04", "is an Excel workbook or an archive. Save the table as CSV."),
     ("a.csv", "file_name,part,Ort\nx,train,K\xf6ln\n".encode("cp1252"), "is not in UTF-8: byte 0xf6")],
)  # fmt: skip
def test_a_place_that_is_no_split_ends_in_one_line_and_code_2(tmp_path, capsys, name, content, message):
    if name in ("empty", "full"):
        (tmp_path / name).mkdir()
    if content is not None:
        (tmp_path / name / "x" if name == "full" else tmp_path / name).write_bytes(content)
    assert main(["audit", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
