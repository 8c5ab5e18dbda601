"""Whatever a model folder says of itself: a classifier comes out, or one line says what is wrong."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_breakhis.files import InputError
from hf_breakhis.inference.classifier import Classifier
from hf_breakhis.inference.model import Weights, load_classifier, square_size

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FRAME = np.zeros((46, 70, 3), dtype=np.uint8)
VALUES = st.none() | st.booleans() | st.integers(-2, 40) | st.floats(-2, 2) | st.text("abc/", max_size=4)
VALUES = VALUES | st.lists(VALUES, max_size=2) | st.dictionaries(st.sampled_from("01ab"), VALUES, max_size=2)


@pytest.fixture
def model(write_model):
    return write_model()


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except InputError as error:
        message = str(error)
    assert message.isprintable()
    return message


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def restored(path, good):
    """Write what a file held before, since hypothesis uses a folder many times."""
    path.write_text(good)
    return json.loads(good)


@pytest.mark.filterwarnings("ignore")  # torch and transformers warn of what they mend
@FUZZ
@given(data=st.data())
def test_any_config_is_loaded_or_refused(data, model):
    path = model / "config.json"
    good = path.read_text()
    names = sorted(set(json.loads(good)) - {"depths"})  # a network of a billion layers is built without end
    values = {name: data.draw(VALUES, label=name) for name in data.draw(st.lists(st.sampled_from(names), max_size=2))}
    change(path, **values)
    for call, argument in ((Classifier, model), (load_classifier, Weights(model))):
        found = outcome(call, argument)
        assert isinstance(found, str | Classifier) or found.config is not None
    restored(path, good)


@pytest.mark.filterwarnings("ignore")
@FUZZ
@given(data=st.data())
def test_any_processor_is_loaded_or_refused(data, model):
    path = model / "preprocessor_config.json"
    good = path.read_text()
    names = sorted(json.loads(good))
    values = {name: data.draw(VALUES, label=name) for name in data.draw(st.lists(st.sampled_from(names), max_size=2))}
    change(path, **values)
    found = outcome(Classifier, model)
    if not isinstance(found, str):
        outcome(found.prepare, FRAME)
    assert isinstance(outcome(square_size, Weights(model)), int | str)
    restored(path, good)


@settings(FUZZ, max_examples=30)
@given(content=st.binary(max_size=80), name=st.sampled_from(["config.json", "model.safetensors"]))
def test_any_bytes_in_place_of_a_file_are_refused(content, name, model):
    good = (model / name).read_bytes()
    (model / name).write_bytes(content)
    assert isinstance(outcome(Classifier, model), str)
    assert isinstance(outcome(load_classifier, Weights(model)), str)
    (model / name).write_bytes(good)
    assert not isinstance(outcome(Classifier, model), str)


@pytest.mark.parametrize("load", [Classifier, lambda folder: load_classifier(Weights(folder))])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attn_implementation": "evil/kernel"}, "code of its own (attn_implementation"),
        ({"text_config": {"_attn_implementation": "evil/kernel"}}, "code of its own"),
        ({"sub": [{"auto_map": {"AutoModel": "evil.Model"}}]}, "code of its own (auto_map"),
        ({"num_labels": 10**12}, "num_labels=1000000000000"),
        ({"num_labels": "x"}, "num_labels='x'"),
        ({"architectures": 5}, "no image classifier"),
        ({"hidden_sizes": []}, "load"),
        ({"id2label": 5}, "load"),
        ({"layer_type": "x"}, "layer_type=x is not one of"),
    ],
)
def test_a_hostile_config_is_refused(values, message, load, model):
    change(model / "config.json", **values)
    assert message in outcome(load, model)


@pytest.mark.parametrize("load", [Classifier, lambda folder: load_classifier(Weights(folder))])
def test_a_folder_that_names_another_model_is_refused(load, model):
    assert not isinstance(outcome(load, model), str)
    (model / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/model"}))
    assert "is an adapter to another model" in outcome(load, model)


def test_weights_in_a_pickle_are_not_read(model, tmp_path):
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self):
            return open, (str(touched), "w")

    (model / "model.safetensors").unlink()
    torch.save(Evil(), model / "pytorch_model.bin")
    assert "load" in outcome(Classifier, model)
    assert "load" in outcome(load_classifier, Weights(model))
    assert not touched.exists()


def test_a_processor_of_another_network_is_told_when_it_is_used(model):
    classifier = Classifier(model)
    classifier.processor, classifier.preprocessing = (lambda *_, **__: {}), None
    assert "does not work" in outcome(classifier.prepare, FRAME)
