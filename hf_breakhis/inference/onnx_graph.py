"""The part of an ONNX graph that comes before the network: raw pixels in, `pixel_values` out.

Torchvision's resize of uint8 works in two passes, along rows and then along columns, with weights rounded to 16-bit
integers, and rounds to whole levels after each (ATen, UpSampleKernelAVXAntialias.h, after Pillow's Resample.c). ONNX
`Resize` rounds nothing, which moves a pixel by up to one level. So the two passes are written out: a matrix of
integer weights for each axis, made inside the graph from the size of the image, in double precision, where the sums
are exact.
"""

from typing import Any

import numpy as np

from hf_breakhis.data.pixels.transforms import MEAN, SD
from hf_breakhis.files import InputError

OPSET = 18
IR_VERSION = 9
MISSING = "The export needs onnx, onnxruntime and onnxscript: pip install 'hf-breakhis[onnx]'."

# Weights of one axis; `length` is a vector of one int64, `size` the side of the square.
_AXIS = """
    {x}_length = Cast <to = 11> ({x}_size)
    {x}_scale = Div ({x}_length, side)
    {x}_wide = Max ({x}_scale, one)
    {x}_centers = Mul (steps, {x}_scale)
    {x}_last = Squeeze ({x}_length)
    {x}_range = Range (zero, {x}_last, step)
    {x}_points = Add ({x}_range, half)
    {x}_far = Sub ({x}_points, {x}_centers)
    {x}_near = Div ({x}_far, {x}_wide)
    {x}_distance = Abs ({x}_near)
    {x}_under = Sub (one, {x}_distance)
    {x}_raw = Max ({x}_under, nothing)
    {x}_total = ReduceSum <keepdims = 1> ({x}_raw, last_axis)
    {x}_share = Div ({x}_raw, {x}_total)
    {x}_largest = ReduceMax <keepdims = 0> ({x}_share)
    {x}_room = Div (sixteen_bits, {x}_largest)
    {x}_log = Log ({x}_room)
    {x}_bits = Div ({x}_log, log_two)
    {x}_above = Ceil ({x}_bits)
    {x}_fitting = Sub ({x}_above, one)
    {x}_precision = Min ({x}_fitting, most_bits)
    {x}_unit = Pow (two, {x}_precision)
    {x}_scaled = Mul ({x}_share, {x}_unit)
    {x}_up = Add ({x}_scaled, half)
    {x}_weights = Floor ({x}_up)
"""
_ROUND = """
    {x}_levels = Div ({x}_sum, {x}_unit)
    {x}_raised = Add ({x}_levels, half)
    {x}_whole = Floor ({x}_raised)
    {x}_pixels = Clip ({x}_whole, zero, white)
"""
_GRAPH = (
    """
<ir_version: {ir}, opset_import: ["" : {opset}]>
resized (uint8[batch, height, width, 3] image) => (float[batch, 3, {side}, {side}] pixel_values)
{{
    planes = Transpose <perm = [0, 3, 1, 2]> (image)
    levels = Cast <to = 11> (planes)
    w_size = Shape <start = 3, end = 4> (levels)
    h_size = Shape <start = 2, end = 3> (levels)
"""
    + _AXIS.format(x="w")
    + _AXIS.format(x="h")
    + """
    w_turned = Transpose <perm = [1, 0]> (w_weights)
    w_sum = MatMul (levels, w_turned)
"""
    + _ROUND.format(x="w")
    + """
    h_sum = MatMul (h_weights, w_pixels)
"""
    + _ROUND.format(x="h")
    + """
    single = Cast <to = 1> (h_pixels)
    centered = Sub (single, mean)
    pixel_values = Div (centered, deviation)
}}
"""
)


def onnx_runtime() -> Any:
    """Return the module onnxruntime, with its telemetry off: nothing leaves the machine.

    Raises:
        InputError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InputError(MISSING) from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def resize_graph(side: int) -> Any:
    """Return an ONNX model from `image`, (batch, height, width, 3) uint8, to `pixel_values`, (batch, 3, side, side).

    The images of one batch have one size; any size is taken, and the values are those of `data.transforms`.

    Raises:
        InputError: onnx is not installed.
    """
    try:
        import onnx
        from onnx import numpy_helper, parser
    except ModuleNotFoundError as error:
        raise InputError(MISSING) from error
    model = parser.parse_model(_GRAPH.format(ir=IR_VERSION, opset=OPSET, side=side))
    scalars = {
        "zero": 0, "step": 1, "one": 1, "nothing": 0, "half": 0.5, "two": 2, "side": side, "white": 255,
        # the largest weight, rounded, has to stay below 2 ** 15; torch goes no further than 22 bits
        "sixteen_bits": 32767.5, "most_bits": 22, "log_two": np.log(2.0),
    }  # fmt: skip
    constants: dict[str, np.ndarray] = {name: np.array(value, dtype=np.float64) for name, value in scalars.items()}
    constants["steps"] = np.arange(side, dtype=np.float64)[:, None] + 0.5
    constants["last_axis"] = np.array([1], dtype=np.int64)
    for name, values in (("mean", MEAN), ("deviation", SD)):
        constants[name] = np.array(values, dtype=np.float32)[None, :, None, None] * np.float32(255)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model, full_check=True)
    return model
