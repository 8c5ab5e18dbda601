"""The graph resizes raw pixels to the bit as torchvision does, for any size."""

import numpy as np
import pytest
import torch

from hf_breakhis.data.pixels.transforms import normalize, resize
from hf_breakhis.inference.onnx_graph import resize_graph

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
native = pytest.mark.skipif(
    "AVX" not in torch.backends.cpu.get_cpu_capability(), reason="torch resizes by another rule without AVX2"
)


def expected(frames, side):
    return normalize(resize(torch.from_numpy(frames).permute(0, 3, 1, 2), side)).numpy()


def run(side, frames):
    session = ort.InferenceSession(resize_graph(side).SerializeToString())
    return session.run(None, {"image": frames})[0]


@native
@pytest.mark.parametrize(("height", "width"), [(460, 700), (46, 70), (24, 17), (32, 32), (300, 33), (1, 900)])
def test_pixels_are_those_of_torchvision(height, width):
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    np.testing.assert_allclose(run(32, frames), expected(frames, 32), atol=1e-6)


@native
def test_a_graph_of_another_size_is_another_graph():
    """If this stops holding, the test above proves nothing."""
    frames = np.random.default_rng(0).integers(0, 256, (1, 46, 70, 3), dtype=np.uint8)
    small = torch.from_numpy(run(24, frames))
    again = torch.nn.functional.interpolate(small, (32, 32), mode="bilinear", antialias=True).numpy()
    assert np.abs(again - expected(frames, 32)).max() > 0.1
