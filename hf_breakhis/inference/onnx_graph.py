"""The part of an ONNX graph that comes before the network: raw pixels in, `pixel_values` out.

Torchvision's resize of uint8 works in two passes, along rows and then along columns, with weights rounded to 16-bit
integers, and rounds to whole levels after each (ATen, UpSampleKernelAVXAntialias.h, after Pillow's Resample.c). ONNX
`Resize` rounds nothing, which moves a pixel by up to one level. So the two passes are written out: a matrix of
integer weights for each axis, made inside the graph from the size of the image, in double precision, where the sums
are exact.
"""

from importlib.util import find_spec
from typing import Any

import numpy as np

from hf_breakhis.data.pixels.preprocessing import Preprocessing, as_preprocessing, require_portable
from hf_breakhis.files import InputError

OPSET = 18
IR_VERSION = 9
MISSING = "The export needs onnx, onnxruntime and onnxscript: pip install 'hf-breakhis[onnx]'."

# Weights of one axis; `length` is that of the image, `resized` that after the resize, of which `side` are kept.
_AXIS = """
    {x}_length = Cast <to = 11> ({x}_size)
    {resized}
    {x}_scale = Div ({x}_length, {x}_resized)
    {x}_wide = Max ({x}_scale, one)
    {x}_centers = Mul ({x}_steps, {x}_scale)
    {x}_last = Squeeze ({x}_length)
    {x}_range = Range (zero, {x}_last, step)
    {x}_points = Add ({x}_range, half)
    {x}_far = Sub ({x}_points, {x}_centers)
    {x}_near = Div ({x}_far, {x}_wide)
    {x}_distance = Abs ({x}_near)
    {kernel}
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
    {x}_sign = Sign ({x}_scaled)
    {x}_size_of = Abs ({x}_scaled)
    {x}_up = Add ({x}_size_of, half)
    {x}_floor = Floor ({x}_up)
    {x}_all = Mul ({x}_floor, {x}_sign)
    {kept}
"""
# The length after the resize, and the middle of each new pixel; all are needed, since they share one precision.
_RESIZED = {
    "none": """{x}_resized = Identity (side)
    {x}_steps = Identity (steps)""",
    "center": """{x}_long = Mul ({x}_length, side)
    {x}_ratio = Div ({x}_long, short)
    {x}_resized = Floor ({x}_ratio)
    {x}_number = Squeeze ({x}_resized)
    {x}_counted = Range (zero, {x}_number, step)
    {x}_middles = Add ({x}_counted, half)
    {x}_steps = Unsqueeze ({x}_middles, last_axis)""",
}
# The weights of the pixels that are kept.
_KEPT = {
    "none": "{x}_weights = Identity ({x}_all)",
    "center": """{x}_left = Sub ({x}_resized, side)
    {x}_offset = Div ({x}_left, two)
    {x}_first = Floor ({x}_offset)
    {x}_after = Add ({x}_first, side)
    {x}_begin = Cast <to = 7> ({x}_first)
    {x}_end = Cast <to = 7> ({x}_after)
    {x}_weights = Slice ({x}_all, {x}_begin, {x}_end, first_axis)""",
}
# Weights of a point by its distance: a triangle, or the cubic of Keys with a = -0.5, as in Pillow.
_KERNELS = {
    "bilinear": """{x}_under = Sub (one, {x}_distance)
    {x}_raw = Max ({x}_under, nothing)""",
    "bicubic": """{x}_square = Mul ({x}_distance, {x}_distance)
    {x}_inner_a = Mul ({x}_distance, three_halves)
    {x}_inner_b = Sub ({x}_inner_a, five_halves)
    {x}_inner_c = Mul ({x}_inner_b, {x}_square)
    {x}_inner = Add ({x}_inner_c, one)
    {x}_outer_a = Sub ({x}_distance, five)
    {x}_outer_b = Mul ({x}_outer_a, {x}_distance)
    {x}_outer_c = Add ({x}_outer_b, eight)
    {x}_outer_d = Mul ({x}_outer_c, {x}_distance)
    {x}_outer_e = Sub ({x}_outer_d, four)
    {x}_outer_f = Mul ({x}_outer_e, half)
    {x}_outer = Neg ({x}_outer_f)
    {x}_is_inner = Less ({x}_distance, one)
    {x}_is_outer = Less ({x}_distance, two)
    {x}_tail = Where ({x}_is_outer, {x}_outer, nothing)
    {x}_raw = Where ({x}_is_inner, {x}_inner, {x}_tail)""",
}
_ROUND = """
    {x}_levels = Div ({x}_sum, {x}_unit)
    {x}_raised = Add ({x}_levels, half)
    {x}_whole = Floor ({x}_raised)
    {x}_pixels = Clip ({x}_whole, zero, white)
"""
_HEAD = """
<ir_version: {ir}, opset_import: ["" : {opset}]>
resized (uint8[batch, height, width, 3] image) => (float[batch, 3, {side}, {side}] pixel_values)
{{
    planes = Transpose <perm = [0, 3, 1, 2]> (image)
    levels = Cast <to = 11> (planes)
    w_size = Shape <start = 3, end = 4> (levels)
    h_size = Shape <start = 2, end = 3> (levels)
    shorter = Min (w_size, h_size)
    short = Cast <to = 11> (shorter)
"""
_TAIL = """
    single = Cast <to = 1> (h_pixels)
    centered = Sub (single, mean)
    pixel_values = Div (centered, deviation)
}
"""


def require_exporter() -> None:
    """Refuse early where `export` could write nothing.

    Raises:
        InputError: a package is missing.
    """
    if not all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        raise InputError(MISSING)


def _graph(how: Preprocessing) -> str:
    """Return the graph as text."""
    axes = [
        _AXIS.format(
            x=x,
            resized=_RESIZED[how.crop].format(x=x),
            kernel=_KERNELS[how.interpolation].format(x=x),
            kept=_KEPT[how.crop].format(x=x),
        )
        for x in "wh"
    ]
    return "".join([
        _HEAD.format(ir=IR_VERSION, opset=OPSET, side=how.image_size), *axes,
        "    w_turned = Transpose <perm = [1, 0]> (w_weights)\n    w_sum = MatMul (levels, w_turned)\n",
        _ROUND.format(x="w"), "    h_sum = MatMul (h_weights, w_pixels)\n", _ROUND.format(x="h"), _TAIL,
    ])  # fmt: skip


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


def resize_graph(given: Preprocessing | int) -> Any:
    """Return an ONNX model from `image`, (batch, height, width, 3) uint8, to `pixel_values`, (batch, 3, side, side).

    The images of one batch have one size; any size is taken, and the values are those of `data.transforms`.

    Args:
        given: what is done to an image; a number is the side of the square with the defaults.

    Raises:
        InputError: onnx is not installed, or the stain is normalised.
    """
    how = as_preprocessing(given)
    require_portable(how)
    try:
        import onnx
        from onnx import numpy_helper, parser
    except ModuleNotFoundError as error:
        raise InputError(MISSING) from error
    side = how.image_size
    model = parser.parse_model(_graph(how))
    scalars = {
        "zero": 0, "step": 1, "one": 1, "nothing": 0, "half": 0.5, "two": 2,
        "three_halves": 1.5, "five_halves": 2.5, "four": 4, "five": 5, "eight": 8, "side": side, "white": 255,
        # the largest weight, rounded, has to stay below 2 ** 15; torch goes no further than 22 bits
        "sixteen_bits": 32767.5, "most_bits": 22, "log_two": np.log(2.0),
    }  # fmt: skip
    constants: dict[str, np.ndarray] = {name: np.array(value, dtype=np.float64) for name, value in scalars.items()}
    constants["steps"] = np.arange(side, dtype=np.float64)[:, None] + 0.5
    constants["first_axis"] = np.array([0], dtype=np.int64)
    constants["last_axis"] = np.array([1], dtype=np.int64)
    for name, values in (("mean", how.mean), ("deviation", how.sd)):
        constants[name] = np.array(values, dtype=np.float32)[None, :, None, None] * np.float32(255)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    onnx.checker.check_model(model, full_check=True)
    return model
