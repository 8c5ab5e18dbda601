"""Features of a frozen backbone, computed once for all folds and epochs."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from hf_breakhis.data.pixels.cache import describe_cache, is_intact, lock_cache, lost, write_about
from hf_breakhis.data.pixels.transforms import ImageDataset, normalize
from hf_breakhis.data.sources.table import cache_folder, prepare_once
from hf_breakhis.files import write_whole
from hf_breakhis.hardware import full_precision
from hf_breakhis.training.progress import say

FORMAT = 1  # increase it when the same images and weights give another file
_BATCH = 32


class Features:
    """Inputs of the head, one per image: a source of "pixels" for `WholeBatches`.

    Args:
        path: a .npy file of (n_images, ...) float32.
        rows: (n,) int, the selected images; all by default.
    """

    def __init__(self, path: Path, rows: np.ndarray | None = None) -> None:
        self.path = path
        self.rows = rows
        try:
            self._values = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise lost(path) from error

    def select(self, rows: np.ndarray) -> "Features":
        """Return the same features, of some of the selected images."""
        part = object.__new__(Features)  # shares the open file, which may have been deleted
        part.__dict__ |= self.__dict__ | {"rows": rows if self.rows is None else self.rows[rows]}
        return part

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return a copy of the features of rows (n,) int, as (n, ...) float32."""
        return np.array(self._values[rows if self.rows is None else self.rows[rows]])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path, not the values."""
        return Features, (self.path, self.rows)


def head_of(model: PreTrainedModel) -> nn.Module | None:
    """Return the only module after the backbone that has weights; None if there is none or several."""
    heads = [
        child for child in model.children() if child is not model.base_model and any(True for _ in child.parameters())
    ]
    return heads[0] if len(heads) == 1 else None


def take_features(model: PreTrainedModel) -> PreTrainedModel:
    """Let a model take features instead of pixels: `forward` calls its head only.

    Weights, configuration and saving are unchanged. `forward` is an attribute of this object, so a model that is
    loaded from its files takes pixels.
    """
    head: Any = head_of(model)

    def forward(self: PreTrainedModel, pixel_values: torch.Tensor, labels: Any = None, **kwargs: Any) -> Any:
        return ImageClassifierOutput(logits=head(pixel_values))

    model.forward = MethodType(forward, model)
    return model


def open_features(
    images: ImageDataset, dataset: Any, image_size: int, manifest_sha256: str, build: Callable[[], PreTrainedModel]
) -> Features | None:
    """Return the features of all images, computed by one process unless they are cached.

    Args:
        images: all images, not augmented.
        dataset: the same images with their names, for the key of the cache.
        image_size: side of the square in pixels.
        manifest_sha256: checksum of the content of the images.
        build: returns the model with a frozen backbone.

    Returns:
        None if the head of the model cannot be separated from its backbone.
    """
    with torch.random.fork_rng():  # the random head that is built here must not change the random state of the run
        model = build().eval()
    if head_of(model) is None or not _is_all_after(model, images):
        return None
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    about = describe_cache(dataset, image_size, manifest_sha256) | {
        "features": FORMAT,
        "backbone_sha256": _digest(model.base_model),
        "device": str(device),
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_folder() / f"features-{key}.npy"

    def write(part: Path) -> None:
        _write(part, model.to(device), images, device)
        write_about(path, about, part)

    with prepare_once():
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_cache(path):
            if not is_intact(path):
                write_whole(path, write)
    return Features(path)


def _write(path: Path, model: PreTrainedModel, images: ImageDataset, device: Any) -> None:
    found: np.memmap | None = None
    with tqdm(total=len(images), desc="Computing features", unit=" images", disable=None) as bar:
        for start in range(0, len(images), _BATCH):
            rows = range(start, min(start + _BATCH, len(images)))
            values, _ = _pass(model, images.batch(list(rows)).to(device))
            if found is None:
                found = np.lib.format.open_memmap(path, "w+", np.float32, (len(images), *values.shape[1:]))
            found[rows.start : rows.stop] = values.cpu().numpy()
            bar.update(len(rows))
    if found is not None:
        found.flush()


def _pass(model: PreTrainedModel, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input of the head for uint8 pixels, and the logits."""
    head = head_of(model)
    caught: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0].detach()))  # type: ignore[union-attr]
    try:
        with torch.inference_mode(), full_precision():
            values = normalize(pixels).contiguous(memory_format=torch.channels_last)
            logits = model(pixel_values=values).logits
    finally:
        handle.remove()
    return (caught[-1] if caught else logits), logits


def _is_all_after(model: PreTrainedModel, images: ImageDataset) -> bool:
    """Return whether the head computes the logits from its input alone; print a line if not."""
    values, logits = _pass(model, images.batch([0]))
    with torch.inference_mode():
        again = head_of(model)(values)  # type: ignore[misc]
    is_all = isinstance(again, torch.Tensor) and again.shape == logits.shape and torch.equal(again, logits)
    if not is_all:
        say(f"The head of {type(model).__name__} cannot be separated, so every epoch runs the frozen backbone.")
    return is_all


def _digest(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}|{tuple(value.shape)}|{value.dtype}|".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
