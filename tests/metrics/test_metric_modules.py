"""Every metric folder works by import and by `evaluate.load`, without a network, and its card tells the truth."""

import doctest
import importlib
import json
import os
from pathlib import Path

import evaluate
import pytest

import hf_breakhis.metrics
from hf_breakhis.metrics import METRICS

FOLDER = Path(hf_breakhis.metrics.__file__).parent
INPUTS = {"predictions": [0, 1, 1, 0], "references": [0, 1, 1, 1]}
EXTRA = {
    "image_report": {},
    "recognition_rate": {"patient_ids": ["a", "b", "b", "c"]},
    "fold_aggregate": {"folds": [0, 0, 1, 1]},
}
LOAD = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise OSError("the network was asked for")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import evaluate
for name, inputs in json.loads(sys.argv[2]).items():
    metric = evaluate.load(f"{sys.argv[1]}/{name}")
    print(json.dumps(metric.compute(**inputs)))
"""


def test_classes_are_listed_before_they_are_imported():
    assert {"METRICS", "FoldAggregate", "ImageReport", "RecognitionRate"} <= set(dir(hf_breakhis.metrics))
    assert issubclass(hf_breakhis.metrics.ImageReport, evaluate.Metric)
    with pytest.raises(AttributeError, match="has no attribute 'Accuracy'"):
        hf_breakhis.metrics.Accuracy  # noqa: B018


def test_the_table_names_every_folder():
    assert sorted(METRICS) == sorted(path.parent.name for path in FOLDER.glob("*/README.md"))


@pytest.mark.parametrize("name", METRICS)
def test_examples_of_the_module_are_true(name):
    module = importlib.import_module(f"hf_breakhis.metrics.{name}.{name}")
    examples = doctest.DocTestParser().get_doctest(module._KWARGS_DESCRIPTION, vars(module).copy(), name, None, 0)
    assert len(examples.examples) > 1
    assert doctest.DocTestRunner().run(examples).failed == 0


@pytest.mark.parametrize("name", METRICS)
def test_examples_of_the_card_are_true(name):
    result = doctest.testfile(str(FOLDER / name / "README.md"), module_relative=False)
    assert result.attempted > 1
    assert result.failed == 0


@pytest.mark.parametrize("name", METRICS)
def test_card_says_how_the_metric_misleads(name):
    card = (FOLDER / name / "README.md").read_text()
    for heading in ("## Inputs", "## Range", "## When it misleads", "## Citation"):
        assert heading in card


def test_loads_by_folder_with_sockets_blocked(tmp_path, run_python):
    inputs = {name: INPUTS | extra for name, extra in EXTRA.items()}
    quiet = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    done = run_python("-c", LOAD, FOLDER, json.dumps(inputs), environment=os.environ | quiet, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = [json.loads(line) for line in done.stdout.splitlines()]
    assert loaded == [METRICS[name]().compute(**inputs[name]) for name in inputs]


@pytest.mark.parametrize("name", METRICS)
def test_batches_add_up(name):
    """evaluate collects batches; its features must not change a value on the way."""
    metric, inputs = METRICS[name](), INPUTS | EXTRA[name]
    for rows in (slice(0, 1), slice(1, 4)):
        metric.add_batch(**{key: values[rows] for key, values in inputs.items()})
    assert metric.compute() == METRICS[name]().compute(**inputs)


@pytest.mark.parametrize("name", METRICS)
def test_a_probability_given_as_a_class_is_refused(name):
    """In an int feature evaluate would cut .7 to 0 and say nothing."""
    with pytest.raises(ValueError, match=r"`predictions` holds 0\.7"):
        METRICS[name]().compute(**(INPUTS | EXTRA[name] | {"predictions": [0, 0.7, 1, 0]}))


def test_metrics_combine():
    both = evaluate.combine([METRICS["image_report"]()])
    assert both.compute(**INPUTS)["accuracy"] == 0.75
