"""What `evaluate` knows of a metric is what its module says, and what it is given arrives in the function."""

import importlib

import pytest
from datasets import Features, Value

from hf_breakhis.metrics import METRICS
from hf_breakhis.metrics.functions.fold_aggregate import fold_aggregate
from hf_breakhis.metrics.functions.image_report import image_report
from hf_breakhis.metrics.functions.recognition_rate import recognition_rate

CLASSES = {"predictions": Value("float64"), "references": Value("float64")}
FEATURES = {
    "image_report": CLASSES,
    "recognition_rate": CLASSES | {"patient_ids": Value("string")},
    "fold_aggregate": CLASSES | {"folds": Value("int64")},
}
TWO = {
    "predictions": [0, 1, 1, 0, 0, 1],
    "references": [0, 1, 0, 1, 0, 1],
    "probabilities": [0.1, 0.8, 0.6, 0.4, 0.3, 0.9],
}
THREE = {
    "predictions": [0, 1, 2, 0, 1, 1],
    "references": [0, 1, 2, 0, 1, 2],
    "probabilities": [[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0, 0, 1], [0.4, 0.3, 0.3], [0.2, 0.6, 0.2], [0.3, 0.4, 0.3]],
}
COLUMNS = {"recognition_rate": {"patient_ids": list("aabbcc")}, "fold_aggregate": {"folds": [0, 0, 0, 1, 1, 1]}}
FUNCTIONS = {
    "image_report": image_report,
    "recognition_rate": recognition_rate,
    "fold_aggregate": fold_aggregate,
}


@pytest.mark.parametrize("name", METRICS)
def test_the_card_of_the_module_is_that_of_the_metric(name):
    module = importlib.import_module(f"hf_breakhis.metrics.{name}.{name}")
    metric = METRICS[name]()
    assert metric.description == module._DESCRIPTION
    assert metric.citation == module._CITATION
    assert metric.inputs_description == module._KWARGS_DESCRIPTION
    assert metric.features == Features(FEATURES[name])


@pytest.mark.parametrize("given", [TWO, {key: TWO[key] for key in CLASSES}], ids=["probabilities", "classes alone"])
@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_its_function(name, given):
    given = given | COLUMNS.get(name, {})
    assert METRICS[name]().compute(**given) == FUNCTIONS[name](**given)


@pytest.mark.parametrize("name", METRICS)
def test_more_classes_reach_the_function(name):
    more = {"num_classes": 3} if name == "recognition_rate" else {"classes": ["A", "F", "PT"]}
    given = THREE | COLUMNS.get(name, {}) | more
    assert METRICS[name]().compute(**given) == FUNCTIONS[name](**given)
