"""Every patient weighs the same, and the mean of patient scores is not the accuracy of mean probabilities."""

import numpy as np
import pandas as pd
import pytest

from hf_breakhis.metrics.functions.recognition_rate import recognition_rate


def test_numbers_worked_out_by_hand():
    # Patient a: 3 of 4 right, mean probability .65; b: 1 of 2 right, mean .45 although malignant.
    result = recognition_rate(
        references=[1, 1, 1, 1, 1, 1],
        predictions=[1, 1, 1, 0, 1, 0],
        patient_ids=["a", "a", "a", "a", "b", "b"],
        probabilities=[0.8, 0.8, 0.6, 0.4, 0.6, 0.3],
    )
    assert result == {"recognition_rate": (3 / 4 + 1 / 2) / 2, "accuracy_of_mean_probability": 0.5, "num_patients": 2}


def test_many_images_of_one_patient_weigh_no_more():
    once = recognition_rate([1, 0], [1, 1], ["a", "b"])
    often = recognition_rate([1] * 50 + [0], [1] * 51, ["a"] * 50 + ["b"])
    assert once["recognition_rate"] == often["recognition_rate"] == 0.5


@pytest.mark.parametrize("num_classes", [2, 4])
def test_agrees_with_a_table_grouped_by_patient(num_classes):
    rng = np.random.default_rng(1)
    patient = rng.integers(12, size=150)
    truth = patient % num_classes
    prob = rng.dirichlet(np.ones(num_classes), size=150) * 0.6 + 0.4 * np.eye(num_classes)[truth]
    result = recognition_rate(truth, prob.argmax(1), [f"p{i}" for i in patient], prob, num_classes)
    table = pd.DataFrame(prob).assign(right=prob.argmax(1) == truth)
    by_patient = table.groupby(patient).mean()
    assert result["recognition_rate"] == pytest.approx(by_patient["right"].mean())
    verdict = by_patient[list(range(num_classes))].to_numpy().argmax(1)
    assert result["accuracy_of_mean_probability"] == pytest.approx(np.mean(verdict == by_patient.index % num_classes))


def test_without_probabilities_there_is_no_verdict():
    assert recognition_rate([0, 1], [0, 1], ["a", "b"])["accuracy_of_mean_probability"] is None


def test_a_patient_of_two_classes_has_no_verdict():
    result = recognition_rate([0, 1], [0, 1], ["a", "a"], [0.1, 0.9])
    assert (result["recognition_rate"], result["accuracy_of_mean_probability"]) == (1.0, None)


@pytest.mark.parametrize(
    ("patients", "message"), [(["a"], "1 patient_ids"), (["a", ""], "needs the patient of every image")]
)
def test_images_without_a_patient_are_refused(patients, message):
    with pytest.raises(ValueError, match=message):
        recognition_rate([0, 1], [0, 1], patients)
