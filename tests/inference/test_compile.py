"""A compiled network says what the network says, for batches that are full and not, or tells why it cannot."""

import shutil

import numpy as np
import pytest
import torch

from hf_breakhis.cli import main
from hf_breakhis.files import InputError
from hf_breakhis.inference.classifier import Classifier, CompiledClassifier

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture(scope="module")
def folder(trained_run):
    return trained_run / "fold-0" / "model"


@pytest.fixture
def trusted_processor():
    """Let torch believe what the processor says of itself; its trials compile six programs."""
    from torch._inductor import config

    with config.patch("cpp.vec_isa_ok", True):
        yield


@needs_compiler
@pytest.mark.parametrize("bf16", [False, True])
def test_logits_are_those_of_the_network_as_it_is(folder, bf16, trusted_processor):
    plain, compiled = Classifier(folder, bf16), CompiledClassifier(folder, 4, bf16)
    rng = np.random.default_rng(0)
    images = [plain.prepare(rng.integers(0, 256, (46, 70, 3), dtype=np.uint8)) for _ in range(4)]
    for batch in (images, images[:3], images[:1]):
        found = compiled.logits(batch)
        assert found.shape == (len(batch), 2)
        np.testing.assert_allclose(found, plain.logits(batch), atol=0.02 if bf16 else 1e-5)
    assert np.abs(compiled.logits(images[:1]) - plain.logits(images[1:2])).max() > 1e-4, "not one answer for all"


def test_what_cannot_be_compiled_says_so_in_one_line(folder, monkeypatch):
    def compiled(*given, **words):
        def fail(*images):
            raise RuntimeError("No working C++ compiler\nfound")

        return fail

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(InputError, match=r"cannot be compiled here \(No working C\+\+ compiler found\). .*--compile"):
        CompiledClassifier(folder, 4)


def test_another_backend_is_not_compiled(folder, tmp_path, capsys, draw_png):
    picture = draw_png(tmp_path / "a.png")
    assert main(["predict", str(folder), str(picture), "--compile", "--backend", "onnx"]) == 2
    assert "--compile needs --backend torch, not onnx" in capsys.readouterr().err
