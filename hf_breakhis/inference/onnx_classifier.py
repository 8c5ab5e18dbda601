"""The same classifier, its network run by ONNX Runtime from a file that `export` wrote."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hf_breakhis.files import InputError, read_json
from hf_breakhis.hardware import count_cores
from hf_breakhis.inference.classifier import Classifier
from hf_breakhis.inference.model import Weights
from hf_breakhis.inference.onnx_graph import onnx_runtime
from hf_breakhis.run import FoldFolder

FILES = {"onnx": "model.onnx", "fp16": "model_fp16.onnx", "int8": "model_int8.onnx"}


class OnnxClassifier(Classifier):
    """An image classifier as `Classifier`, but run by ONNX Runtime.

    Images are resized as ever; the resize in the graph then has nothing left to do.

    Args:
        weights: one file has all members of an ensemble and the test-time augmentation.
        backend: key of `FILES`.

    Raises:
        InputError: onnxruntime is missing, there is no export of these weights, or the model brings its own processor.
    """

    def __init__(self, weights: Weights, backend: str) -> None:
        super().__init__(weights.folder)
        self.weights = weights
        path = self._find(backend)
        onnxruntime = onnx_runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # threads that spin while they wait take the cores from those that decode
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.intra_op_num_threads = count_cores()
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        del self.model

    def logits(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        """Return (n, num_classes) float64 for n prepared images; see `Classifier.logits`."""
        batch = torch.stack(list(prepared)).permute(0, 2, 3, 1).contiguous().numpy()
        logits = self.session.run(["logits"], {"image": batch})[0].astype(np.float64)
        if not np.isfinite(logits).all():
            raise InputError(f"The exported network of {self.folder} gives numbers that are not finite; export again.")
        result: np.ndarray = logits
        return result

    def _find(self, backend: str) -> Path:
        """Return the exported file, if it is of these weights."""
        if not self.image_size:
            raise InputError(f"{self.folder} has its own image processor, so it has no export. Use --backend torch.")
        name = FILES[backend]
        places = [folder / "onnx" for folder in (self.weights.output, self.folder.parent, self.folder)]
        place = next((place for place in places if (place / name).is_file()), None)
        if place is None:
            raise InputError(f"There is no {name} for {self.folder}. {_how_to_export(self.weights, backend)}")
        about = read_json(place / "export.json")
        if about.get("weights_sha256") != self.weights.sha256:
            raise InputError(
                f"{place / name} was exported from other weights than {self.folder}. "
                f"{_how_to_export(self.weights, backend)}"
            )
        if about.get("tta", "none") != self.weights.tta:
            raise InputError(
                f"{place / name} was exported with tta {about.get('tta', 'none')}, not {self.weights.tta}. "
                f"{_how_to_export(self.weights, backend)}"
            )
        return place / name


def _how_to_export(weights: Weights, backend: str) -> str:
    """Return the sentence that says how to get the export of weights."""
    if backend == "int8" and not weights.fold.isdigit():
        return "Only a fold of a run can be exported to int8 (training images calibrate it). Use another --backend."
    words = [str(weights.folder)] if weights.run is None else [str(weights.run.folder), f"--fold {weights.fold}"]
    words += [] if backend == "onnx" else [f"--{backend}"]
    if not weights.is_scored:  # chosen by options, which the export needs too
        several = weights.run is not None and FoldFolder(weights.folder.parent).is_member and not weights.members
        words += [f"--members {weights.folder.parent.name.rpartition('-')[2]}"] if several else []
        words += [f"--tta {weights.tta}"]
    return f"Write it with `hf-breakhis export {' '.join(words)}`."
