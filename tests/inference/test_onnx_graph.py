"""The graph resizes raw pixels to the bit as torchvision does, for any size."""

import numpy as np
import pytest
import torch

from hf_breakhis.data.pixels.preprocessing import Preprocessing, as_preprocessing
from hf_breakhis.data.pixels.transforms import normalize, resize
from hf_breakhis.inference.onnx_graph import resize_graph

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
native = pytest.mark.skipif(
    "AVX" not in torch.backends.cpu.get_cpu_capability(), reason="torch resizes by another rule without AVX2"
)


def expected(frames, how):
    how = as_preprocessing(how)
    return normalize(resize(torch.from_numpy(frames).permute(0, 3, 1, 2), how), how=how).numpy()


def run(side, frames):
    session = ort.InferenceSession(resize_graph(side).SerializeToString())
    return session.run(None, {"image": frames})[0]


@native
@pytest.mark.parametrize(("height", "width"), [(460, 700), (46, 70), (24, 17), (32, 32), (300, 33), (1, 900)])
def test_pixels_are_those_of_torchvision(height, width):
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    np.testing.assert_allclose(run(32, frames), expected(frames, 32), atol=1e-6)


@native
@pytest.mark.parametrize("crop", ["none", "center"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(460, 700), (46, 71), (25, 17), (32, 32), (300, 33), (20, 90), (2, 90)])
def test_crop_and_interpolation_are_those_of_torchvision(height, width, interpolation, crop):
    how = Preprocessing(31, crop, interpolation, (0.5, 0.4, 0.3), (0.5, 0.5, 0.2))
    frames = np.random.default_rng(1).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    np.testing.assert_allclose(run(how, frames), expected(frames, how), atol=1e-6)


@native
def test_a_graph_of_another_size_is_another_graph():
    """If this stops holding, the test above proves nothing."""
    frames = np.random.default_rng(0).integers(0, 256, (1, 46, 70, 3), dtype=np.uint8)
    small = torch.from_numpy(run(24, frames))
    again = torch.nn.functional.interpolate(small, (32, 32), mode="bilinear", antialias=True).numpy()
    assert np.abs(again - expected(frames, 32)).max() > 0.1
