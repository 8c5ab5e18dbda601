"""A model as one ONNX file that takes raw pixels: resize, normalisation, network and softmax in the graph."""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from hf_breakhis.averaging import log_mean, transforms_of
from hf_breakhis.data.pixels.preprocessing import Preprocessing, as_preprocessing
from hf_breakhis.data.pixels.transforms import normalize, resize
from hf_breakhis.files import InputError, reason_of, write_json
from hf_breakhis.folders import FolderKind, replace_folder, require_place
from hf_breakhis.inference.fold_images import FoldImages
from hf_breakhis.inference.model import Weights, load_networks, saved_preprocessing
from hf_breakhis.inference.onnx_graph import IR_VERSION, MISSING, OPSET, onnx_runtime, resize_graph

TOLERANCE = 1e-4  # in probability, between torch and the file
FRAME = (460, 700)  # of BreakHis
BATCH = 16
EXPORT = FolderKind("ONNX export", ("model.onnx", "model_fp16.onnx", "model_int8.onnx", "export.json"), "export.json")
CALIBRATION_IMAGES = 128  # of the training set: what is tested calibrates nothing


class Logits(nn.Module):
    """Classifiers of transformers as one network that returns logits and probabilities.

    Args:
        classifiers: of several the probabilities are averaged.
        tta: test-time augmentation, a key of `averaging.TTA`, over which they are averaged too.
    """

    def __init__(self, classifiers: Sequence[nn.Module], tta: str = "none") -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(classifiers)
        self.transforms = list(transforms_of(tta).values())

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, 3, side, side) float32 -> logits and probabilities (n, classes) float32."""
        count = len(self.transforms)
        # all views in one batch, so that the graph has each network once
        views = pixel_values if count == 1 else torch.cat([turn(pixel_values) for turn in self.transforms])
        found = [classifier(pixel_values=views).logits for classifier in self.classifiers]
        if count == len(found) == 1:
            logits = found[0]
        else:
            logits = log_mean(torch.cat([one.reshape(count, -1, one.shape[-1]) for one in found]))
        return logits, logits.softmax(-1)


def export_model(
    weights: Weights, folder: Path, fp16: bool = False, int8: bool = False, score: bool = True
) -> dict[str, Any]:
    """Write `model.onnx`, smaller forms of it if asked for, and `export.json`; return what is in the latter.

    Each file takes `image`, (batch, height, width, 3) uint8, and gives `logits` and `probabilities`, (batch, classes)
    float32. Scores are of the test set of the fold whose weights these are, where there is one.

    Args:
        weights: of a finished run, or of a model folder; of several networks one file gives the mean probability.
        folder: a new or empty folder, or that of an earlier export.
        fp16: the network in half precision, half the size.
        int8: the network in 8-bit integers, a quarter of the size; calibrated on images of the training set.
        score: false leaves the images alone, and tells no scores.

    Raises:
        InputError: onnx is not installed, or images are needed that are not there.
    """
    require_place(folder, EXPORT)
    how, model = saved_preprocessing(weights), Logits(load_networks(weights), weights.tta).eval()
    front, side = resize_graph(how), how.image_size
    known = score and weights.run is not None and weights.fold != "refit"
    images = FoldImages(weights) if known else None
    if int8 and images is None:
        raise InputError(f"--int8 is calibrated on training images and judged on test images; {weights.folder} is of "
                         "no fold of a run. Give a run and the number of a fold.")  # fmt: skip
    network = {"model.onnx": _network(model, side)}
    if fp16:
        network["model_fp16.onnx"] = _half(network["model.onnx"])
    if int8 and images is not None:
        network["model_int8.onnx"] = _eight_bits(network["model.onnx"], images)
    labels = {int(k): name for k, name in (_config(model).id2label or {}).items()}
    whole = {name: _joined(front, graph, labels) for name, graph in network.items()}
    apart = parity(model, how, whole["model.onnx"].SerializeToString())
    # Where torch has no vector instructions it resizes by another rule: that is reported, and not refused.
    if apart > TOLERANCE and "AVX" in torch.backends.cpu.get_cpu_capability():
        raise RuntimeError(f"model.onnx is {apart:g} off torch in probability; at most {TOLERANCE:g} was expected")
    about: dict[str, Any] = {
        "made_by": EXPORT.made_by, "format": 1, "weights_sha256": weights.sha256,
        "members": len(weights.networks), "tta": weights.tta,
        "opset": OPSET, "image_size": side, "labels": labels, "fold": weights.fold or None,
        "input": "image: uint8, batch x height x width x 3 (red, green, blue), any size",
        "outputs": ["logits", "probabilities"], "parity": {"largest_difference": apart, "frame": list(FRAME)},
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "scored_on": None if images is None else f"test set of fold {weights.fold}",
        "files": _judged(whole, images),
    }  # fmt: skip

    def fill(beside: Path) -> None:
        for name, graph in whole.items():
            (beside / name).write_bytes(graph.SerializeToString())
        write_json(beside / "export.json", about)

    replace_folder(folder, fill, EXPORT)
    return about


def parity(model: Logits, given: Preprocessing | int, content: bytes) -> float:
    """Return the largest difference in probability between torch and an ONNX file, on frames of noise and of ramps."""
    how = as_preprocessing(given)
    height, width = FRAME
    noise = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, height * width * 3).reshape(1, height, width, 3).astype(np.uint8)
    frames = np.concatenate([noise, ramp])
    with torch.inference_mode():
        pixels = resize(torch.from_numpy(frames).permute(0, 3, 1, 2), how)
        expected = model(normalize(pixels, how=how))[1].numpy()
    return float(np.abs(_session(content).run(["probabilities"], {"image": frames})[0] - expected).max())


def _session(content: bytes) -> Any:
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _network(model: Logits, side: int) -> Any:
    """Return the network alone as an ONNX model, `pixel_values` in, with a dynamic batch."""
    onnx_runtime()  # refused here, before minutes of work
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(MISSING) from error
    buffer: Any = io.BytesIO()  # taken, though the signature names paths only
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript", "onnx_ir"), ExitStack() as stack:
        for one in model.classifiers:
            stack.enter_context(_eager_attention(one))
        warnings.simplefilter("ignore")  # the exporter's words about its own parts
        try:
            torch.onnx.export(
                model, (torch.zeros(2, 3, side, side),), buffer, dynamo=True, opset_version=OPSET,
                input_names=["pixel_values"], output_names=["logits", "probabilities"],
                dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}}, verbose=False, external_data=False,
            )  # fmt: skip
        except Exception as error:  # the exporter raises anything, with a hundred lines of its own
            reason = reason_of(error.__cause__ or error)
            raise InputError(
                f"torch.onnx.export cannot convert this {type(model.classifiers[0]).__name__} ({reason}). Use "
                "`hf-breakhis predict` or `hf-breakhis space`, which need no export."
            ) from error
    graph = _without_traces(onnx.load_from_string(buffer.getvalue()))
    graph.ir_version = IR_VERSION
    onnx.checker.check_model(graph, full_check=True)
    return graph


def _config(model: Logits) -> Any:
    return model.classifiers[0].config


@contextmanager
def _eager_attention(model: Any) -> Iterator[None]:
    """Replace fused attention, whose strides the exporter cannot follow in a Swin; the sums are the same."""
    before = model.config._attn_implementation
    if before in (None, "eager"):
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _without_traces(model: Any) -> Any:
    """Take from every part where in which file of this machine it was written: a page puts the model on the web."""
    for part in (model.graph, *model.functions):
        for one in (part, *part.node, *part.value_info):
            one.ClearField("metadata_props")
            one.ClearField("doc_string")
    return model


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _half(network: Any) -> Any:
    """Return the network with weights and sums in half precision; what goes in and out stays float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numbers too small for half precision become the smallest there is
        half = OnnxModel(convert_float_to_float16(_copy(network), keep_io_types=True, disable_shape_infer=True))
    half.topological_sort()  # the casts of what goes in were put last
    return half.model


def _eight_bits(network: Any, images: FoldImages) -> Any:
    """Return the network with 8-bit weights, a scale for each channel, and 8-bit activations."""
    import tempfile

    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    rows = _spread(images.rows("train"), CALIBRATION_IMAGES)

    class Batches(CalibrationDataReader):
        def __init__(self) -> None:
            self.starts = iter(range(0, len(rows), BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            start = next(self.starts, None)
            if start is None:
                return None
            return {"pixel_values": images.normalized(images.pixels.take(rows[start : start + BATCH])).numpy()}

    with tempfile.TemporaryDirectory() as folder, _quiet("root"):
        source, prepared, small = (Path(folder) / name for name in ("source.onnx", "prepared.onnx", "small.onnx"))
        onnx.save(network, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared, small, Batches(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            # 7 bits: on processors without VNNI the sums of two 8-bit products overflow
            reduce_range=True,
        )  # fmt: skip
        return onnx.load(small)


def _joined(front: Any, network: Any, labels: dict[int, str]) -> Any:
    """Return one model of resize and network, with the names of the classes in its metadata."""
    import onnx

    back = _copy(network)
    back.ir_version = front.ir_version  # merge_models wants them equal
    front, back = (onnx.compose.add_prefix(m, p, rename_inputs=False, rename_outputs=False)
                   for m, p in ((front, "resize_"), (back, "network_")))  # fmt: skip
    whole = onnx.compose.merge_models(front, back, io_map=[("pixel_values", "pixel_values")])
    whole.ir_version, whole.producer_name = IR_VERSION, "hf_breakhis"
    onnx.helper.set_model_props(whole, {"labels": json.dumps(labels)})
    onnx.checker.check_model(whole, full_check=True)
    return whole


def _copy(model: Any) -> Any:
    copied = type(model)()
    copied.CopyFrom(model)
    return copied


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """Return at most `most` of the rows, evenly spread, so that no patient fills them."""
    result: np.ndarray = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]
    return result


def _judged(files: dict[str, Any], images: FoldImages | None) -> dict[str, dict[str, Any]]:
    """Return size and scores of each file, with what it changes against the first."""
    precisions: dict[str, dict[str, Any]] = {}
    first: np.ndarray | None = None
    for name, graph in files.items():
        content = graph.SerializeToString()
        precisions[name] = {"bytes": len(content)}
        if images is None:
            continue
        rows = images.rows("test")
        labels, found = images.labels(rows), probabilities(content, images, rows)
        precisions[name] |= {"num_images": len(rows), "accuracy": float((found.argmax(1) == labels).mean())}
        if found.shape[1] == 2 and 0 < labels.mean() < 1:
            precisions[name]["roc_auc"] = float(roc_auc_score(labels, found[:, 1]))
        if first is None:
            first = found
        else:
            start = precisions[next(iter(precisions))]
            precisions[name]["against_fp32"] = {
                "largest_difference": float(np.abs(found - first).max()),
                "other_class": int((found.argmax(1) != first.argmax(1)).sum()),
                **{key: precisions[name][key] - start[key] for key in ("accuracy", "roc_auc") if key in start},
            }
    return precisions


def probabilities(content: bytes, images: FoldImages, rows: np.ndarray) -> np.ndarray:
    """Return (n, classes) float32 of an ONNX file for rows of the images, which are already resized.

    The resize of an image that has the size already changes nothing, so each is decoded and resized once.
    """
    session = _session(content)
    parts = [
        session.run(["probabilities"], {"image": images.pixels.take(rows[i : i + BATCH]).transpose(0, 2, 3, 1).copy()})
        for i in range(0, len(rows), BATCH)
    ]
    return np.concatenate([part[0] for part in parts])
