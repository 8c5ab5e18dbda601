"""The package mlscorecheck, an independent search, comes to the same verdicts and numbers of matrices."""

import logging
from dataclasses import replace

import pytest

from hf_breakhis.results.published.matrices import matrices
from tests.results.published.test_consistency import FOLDS, cells

binary = pytest.importorskip("mlscorecheck.check.binary", reason="pip install mlscorecheck")


def other_count(fold):
    """Return the number of matrices that mlscorecheck finds, whose positive class is malignant."""
    benign, malignant = fold.classes["benign"], fold.classes["malignant"]
    scores = {
        "acc": fold.scores["accuracy"], "sens": malignant["recall"], "spec": benign["recall"],
        "ppv": malignant["precision"], "npv": benign["precision"], "f1": malignant["f1"], "f1n": benign["f1"],
    }  # fmt: skip
    found = binary.check_1_testset_no_kfold(
        testset={"p": fold.supports["malignant"], "n": fold.supports["benign"]},
        scores={name: printed.value for name, printed in scores.items()},
        eps=0.005,
    )
    assert found["inconsistency"] == (found["n_valid_tptn_pairs"] == 0)
    return found["n_valid_tptn_pairs"]


def test_the_same_numbers_of_matrices_for_the_paper_and_for_changed_digits():
    logging.getLogger("mlscorecheck").setLevel(logging.ERROR)
    for fold in (replace(one, means={}) for one in FOLDS):
        for one in (fold, *list(cells(fold))[::7]):
            assert matrices(one).count == other_count(one)
