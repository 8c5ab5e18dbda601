"""Predicted classes next to scores: they agree, follow a threshold, or contradict; tumour types are mapped."""

import json

import pytest

from hf_breakhis.cli import main
from hf_breakhis.data.filenames import TUMOR_TYPES, parse_file_name
from hf_breakhis.data.inventory import expected_file_names
from hf_breakhis.files import InputError
from hf_breakhis.results.foreign.notes import notes_on
from hf_breakhis.results.foreign.read import read_foreign

NAMES = expected_file_names()[::160]
PROB = [round(0.02 * (k % 50) + 0.01, 2) for k in range(len(NAMES))]  # 0.01 to 0.99; no tie


def written(folder, header, rows, name="theirs.csv"):
    path = folder / name
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]), encoding="utf-8")
    return path


def with_classes(folder, predicted, prob=PROB, header="file_name,prob_malignant,pred"):
    return written(folder, header, zip(NAMES, prob, predicted, strict=True))


def test_classes_of_the_highest_score_need_no_note(tmp_path):
    read = read_foreign(with_classes(tmp_path, [int(p > 0.5) for p in PROB]), {})
    assert read.difference is None
    assert notes_on([read]) == []


@pytest.mark.usefixtures("few_figures")
def test_another_threshold_is_reported_with_its_accuracy(tmp_path, capsys):
    predicted = ["malignant" if p >= 0.3 else "benign" for p in PROB]
    path = with_classes(tmp_path, predicted)
    run = tmp_path / "run"
    assert main(["score", str(path), "--output_dir", str(run)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    count = sum((p >= 0.3) != (p > 0.5) for p in PROB)
    truth = ["malignant" if "_M_" in name else "benign" for name in NAMES]
    right = sum(a == b for a, b in zip(predicted, truth, strict=True)) / len(NAMES)
    assert (
        f"WARNING: {count} of {len(NAMES)} predicted classes of the file are not the class with the highest" in shown
    )
    assert "malignant from a probability of 0.29 to 0.31 on" in shown
    assert f"{100 * right:.1f} % of the images are classified correctly" in shown
    default = sum((p > 0.5) == (t == "malignant") for p, t in zip(PROB, truth, strict=True)) / len(NAMES)
    assert accuracy(run) == pytest.approx(default)
    assert main(["score", str(path), "--output_dir", str(run), "--scores", "classes"]) == 0
    assert accuracy(run) == pytest.approx(right)
    assert "predicted classes of the file" not in (run / "report.html").read_text(encoding="utf-8")


def accuracy(run):
    return json.loads((run / "summary.json").read_text())["image"]["pooled"]["accuracy"]["value"]


def test_each_fold_may_have_its_own_threshold(tmp_path):
    limits = [0.2 if k % 2 else 0.7 for k in range(len(PROB))]
    rows = [(n, p, int(p > t), k % 2) for k, (n, p, t) in enumerate(zip(NAMES, PROB, limits, strict=True))]
    read = read_foreign(written(tmp_path, "file_name,prob_malignant,pred,fold", rows), {})
    assert read.difference.count == sum((p > t) != (p > 0.5) for p, t in zip(PROB, limits, strict=True))
    assert "other thresholds than 0.5" in notes_on([read])[0]
    with pytest.raises(InputError, match="does not follow a threshold"):
        read_foreign(written(tmp_path, "file_name,prob_malignant,pred", [row[:3] for row in rows]), {})


def test_a_contradiction_is_refused_until_one_of_both_is_chosen(tmp_path):
    path = with_classes(tmp_path, [int(p < 0.5) for p in PROB])
    with pytest.raises(InputError) as error:
        read_foreign(path, {})
    assert f"the predicted class of {len(NAMES)} of {len(NAMES)} rows is not the class with" in str(error.value)
    assert f"such as {NAMES[0]}, predicted '1', with 0.99 for benign" in str(error.value)
    assert read_foreign(path, {"predicted": ""}).rows["predicted"].tolist() == [int(p > 0.5) for p in PROB]
    assert read_foreign(path, {}, "classes").rows["predicted"].tolist() == [int(p < 0.5) for p in PROB]


def test_classes_that_are_all_the_same_follow_no_threshold(tmp_path):
    with pytest.raises(InputError, match="does not follow a threshold"):
        read_foreign(with_classes(tmp_path, [0] * len(NAMES)), {})


def test_a_tie_counts_as_the_class_of_the_file(tmp_path):
    predicted = [k % 2 for k in range(len(NAMES))]
    read = read_foreign(with_classes(tmp_path, predicted, [0.5] * len(NAMES)), {})
    assert read.rows["predicted"].tolist() == predicted
    assert notes_on([read])[0].endswith("A tie counts as the predicted class of the file.")
    without = read_foreign(with_classes(tmp_path, predicted, [0.5] * len(NAMES)), {"predicted": ""})
    assert without.rows["predicted"].tolist() == [0] * len(NAMES)
    assert notes_on([without])[0].endswith("A tie counts as benign, the first of them.")


def test_scores_in_a_column_of_classes_are_recognised(tmp_path):
    path = written(tmp_path, "file_name,pred", zip(NAMES, PROB, strict=True))
    with pytest.raises(InputError, match="If these are scores, give their column with --columns malignant="):
        read_foreign(path, {})
    assert read_foreign(path, {"malignant": "pred", "predicted": ""}).scores == "probability"
    with pytest.raises(InputError, match="no column with predicted classes"):
        read_foreign(path, {"malignant": "pred", "predicted": ""}, "classes")


@pytest.mark.parametrize("form", ["code", "name", "british"])
def test_predicted_tumour_types_are_scored_as_two_classes(tmp_path, form):
    codes = [parse_file_name(name).tumor_type for name in NAMES]
    codes[0] = "DC" if codes[0] in ("A", "F", "PT", "TA") else "A"  # one of the other class
    words = {code: (code, name, name.replace("tumor", "tumour").title()) for code, name in TUMOR_TYPES.items()}
    cells = [words[code][("code", "name", "british").index(form)] for code in codes]
    read = read_foreign(written(tmp_path, "file_name,predicted", zip(NAMES, cells, strict=True)), {})
    assert read.rows["predicted"].tolist() == [int(code in ("DC", "LC", "MC", "PC")) for code in codes]
    assert (read.rows["predicted"] != read.rows["label"]).sum() == 1
    assert "The predicted classes are tumour types. They are scored as benign and malignant." in notes_on([read])


def test_one_other_word_among_tumour_types_is_refused(tmp_path):
    cells = ["DC"] * (len(NAMES) - 1) + ["benign"]
    path = written(tmp_path, "file_name,predicted", zip(NAMES, cells, strict=True))
    with pytest.raises(InputError, match="or for BreakHis a tumour type in every row"):
        read_foreign(path, {})
    rows = [(f"im{k}", f"p{k}", k % 2, "DC") for k in range(9)]
    with pytest.raises(InputError, match="'DC' in the column of the predicted class is unknown"):  # not of BreakHis
        read_foreign(written(tmp_path, "file_name,patient_id,label,predicted", rows), {})


def test_true_tumour_types_are_compared_with_the_names(tmp_path):
    types = [TUMOR_TYPES[parse_file_name(name).tumor_type] for name in NAMES]
    path = written(tmp_path, "file_name,malignant,label", zip(NAMES, PROB, types, strict=True))
    assert read_foreign(path, {}).rows["label"].tolist() == [int("_M_" in name) for name in NAMES]
    other = {"ductal carcinoma": "lobular carcinoma"}  # both malignant
    wrong = [other.get(one, one) for one in types]
    path = written(tmp_path, "file_name,malignant,label", zip(NAMES, PROB, wrong, strict=True))
    with pytest.raises(InputError, match=f"the true class of {types.count('ductal carcinoma')} of {len(NAMES)} rows"):
        read_foreign(path, {})


@pytest.mark.parametrize(("words", "count"), [(["True", "False", ""], 2), (["false", "False", ""], 0)])
def test_images_that_the_file_calls_training_images_are_counted(tmp_path, words, count):
    cells = (words * len(NAMES))[: len(NAMES)]
    cells = [word if k < 6 else "" for k, word in enumerate(cells)]
    read = read_foreign(
        written(tmp_path, "file_name,malignant,seen_in_training", zip(NAMES, PROB, cells, strict=True)), {}
    )
    assert read.seen == count
    notes = [note for note in notes_on([read]) if "training images" in note]
    assert len(notes) == bool(count)
    if notes:
        assert notes[0].startswith(f"{count} of {len(NAMES)} images were training images of the model")
