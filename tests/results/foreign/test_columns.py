"""Columns that are missing, double or left out, and files that are the same."""

import pytest

from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.files import InputError
from hf_breakhis.results.foreign.columns import find_columns
from hf_breakhis.results.foreign.read import find_names, read_foreign
from hf_breakhis.results.foreign.values import to_probabilities
from hf_breakhis.results.imported import import_predictions

NAMES = expected_file_names()[::160]
CODES = ["A", "F", "PT", "TA", "DC", "LC", "MC", "PC"]


def columns_of(tmp_path, *columns, given=None, **options):
    return find_columns(columns, given or {}, tmp_path / "theirs.csv", **options)


def table(folder, header, rows, name="theirs.csv"):
    path = folder / name
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize("prefix", ["", "prob_"])
@pytest.mark.parametrize("count", [2, 7])
def test_missing_tumour_types_are_named(tmp_path, prefix, count):
    columns = [prefix + code for code in CODES]
    assert set(columns_of(tmp_path, "image", *columns)[1]) == set(CODES)
    with pytest.raises(
        InputError, match=rf"scores of {count} of 8 tumour types; missing: .*PC \(papillary carcinoma\)"
    ):
        columns_of(tmp_path, "image", *columns[:count])


def test_seven_types_next_to_predicted_classes_are_not_ignored(tmp_path):
    with pytest.raises(InputError, match="give --scores classes to use the predicted classes"):
        columns_of(tmp_path, "image", "pred", *CODES[:7])
    assert columns_of(tmp_path, "image", "pred", *CODES[:7], only_classes=True)[1] == {}
    assert columns_of(tmp_path, "image", "pred", "F")[1] == {}  # F may be anything


def test_two_columns_for_one_thing_are_refused_unless_one_is_named(tmp_path):
    with pytest.raises(InputError, match=r"has 2 columns for `malignant`: 'Malignant', 'malignant'\. Give --columns"):
        columns_of(tmp_path, "image", "Malignant", "malignant")
    assert columns_of(tmp_path, "image", "Malignant", "malignant", given={"malignant": "malignant"})[1] == {
        "malignant": "malignant"
    }
    with pytest.raises(InputError, match="2 columns for `label`"):
        columns_of(tmp_path, "image", "malignant", "True label", "true_label")
    assert "label" not in columns_of(
        tmp_path, "image", "malignant", "True label", "true_label", given={"label": ""}
    )[0]  # fmt: skip


@pytest.mark.parametrize("key", ["name", "malignant"])
def test_a_needed_column_cannot_be_left_out(tmp_path, key):
    with pytest.raises(InputError, match=f"no column for `{key}`"):
        columns_of(tmp_path, "image", "malignant", given={key: ""})


def test_a_training_list_with_two_columns_of_names_is_refused(tmp_path):
    path = table(tmp_path, "File name,file_name", [f"{name},{name}" for name in NAMES])
    with pytest.raises(InputError, match=r"2 columns for `name`.*Rename or remove one"):
        find_names(path, "malignancy", True)


def test_the_same_file_is_not_two_folds(tmp_path):
    rows = [f"{name},0.{k % 10}1" for k, name in enumerate(NAMES)]
    one = table(tmp_path, "file_name,malignant", rows, "a1.csv")
    copy = table(tmp_path, "file_name,malignant", rows[::-1], "b2.csv")
    other = table(tmp_path, "file_name,malignant", [rows[0].replace("0.01", "0.4"), *rows[1:]], "c3.csv")
    for pair in ([one, one], [one, copy]):
        with pytest.raises(InputError, match="have the same predictions of the same images"):
            import_predictions(pair, tmp_path / "run", {})
    assert len(import_predictions([one, other], tmp_path / "run", {}).folds()) == 2


def test_a_column_of_folds_in_one_of_two_files_is_refused(tmp_path):
    half = len(NAMES) // 2
    one = table(tmp_path, "file_name,malignant,fold", [f"{name},0.3,{k % 3}" for k, name in enumerate(NAMES[:half])])
    other = table(tmp_path, "file_name,malignant", [f"{name},0.4" for name in NAMES[half:]], "b.csv")
    for pair in ([one, other], [other, one]):
        with pytest.raises(InputError, match=r"theirs.csv has a column with folds, and .*b.csv has none"):
            import_predictions(pair, tmp_path / "run", {})
    assert len(import_predictions([one, other], tmp_path / "run", {"fold": ""}).folds()) == 2


def shares(*rows, kind="auto", classes=("benign", "malignant")):
    import numpy as np

    return to_probabilities(np.array(rows, dtype=float), list(classes), classes, kind, NAMES[0])


def test_votes_with_other_sums_have_to_be_declared(tmp_path):
    with pytest.raises(InputError, match="1 of 3 rows do not sum to 28, as most rows do, such as row 2 with 29"):
        shares((14, 14), (15, 14), (28, 0))
    assert shares((14, 14), (15, 13), (28, 0))[1] == "votes"
    assert shares((14, 14), (15, 14), (28, 0), kind="votes")[0][1, 0] == 15 / 29
    path = table(tmp_path, "file_name,benign,malignant", [f"{name},{k % 5 + 1},7" for k, name in enumerate(NAMES)])
    run = import_predictions([path], tmp_path / "run", {}, "votes")
    assert "The votes of an image sum to 8 to 12. Each image counts with its share of its own sum." in run.data[
        "warnings"
    ]  # fmt: skip


def test_rounded_percent_may_sum_to_99_or_101(tmp_path):
    assert shares((33, 66), (50, 51), (0, 100))[1] == "percent"
    assert shares((33.3, 66.6), (50.1, 50.0))[1] == "percent"
    with pytest.raises(InputError, match="percent of 1 of 2 rows do not sum to 100, such as row 2 with 90"):
        shares((40, 60), (40, 50), kind="percent")
    assert shares((40, 60), (40, 60), kind="percent")[0].tolist() == [[0.4, 0.6], [0.4, 0.6]]


def test_columns_that_were_used_are_in_the_recipe(tmp_path):
    path = table(tmp_path, "Bild,M,extra", [f"{name},0.{k % 10}1,x" for k, name in enumerate(NAMES)])
    run = import_predictions([path], tmp_path / "run", {"name": "Bild", "malignant": "M"})
    assert run.recipe["columns"] == {"name": "Bild", "malignant": "M"}
    assert read_foreign(path, {"name": "Bild", "malignant": "M"}).columns == {"name": "Bild", "malignant": "M"}
