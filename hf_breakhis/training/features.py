"""Features of a frozen backbone, computed once for all folds and epochs."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.utils import logging as transformers_logging

from hf_breakhis.arguments import ModelArguments
from hf_breakhis.data.integrity.check_images import check_images
from hf_breakhis.data.pixels.cache import describe_cache, is_intact, lock_cache, lost, open_cache, write_about
from hf_breakhis.data.pixels.checked import check_and_cache
from hf_breakhis.data.pixels.preprocessing import Preprocessing
from hf_breakhis.data.pixels.transforms import ImageDataset, WholeBatches, normalize
from hf_breakhis.data.sources.table import Images, cache_folder, prepare_once
from hf_breakhis.files import InputError, write_whole
from hf_breakhis.hardware import full_precision
from hf_breakhis.training.modeling import build_model, check_network
from hf_breakhis.training.progress import say

FORMAT = 2  # increase it when the same images and weights give another file
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


class VectorRows:
    """Feature vectors in memory: a source of "pixels" for `WholeBatches`.

    Args:
        values: (n_images, d) float32.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def select(self, rows: np.ndarray) -> "VectorRows":
        """Return the vectors of some images."""
        return VectorRows(self.values[rows])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return a copy of the vectors of rows (n,) int, as (n, d) float32."""
        result: np.ndarray = self.values[rows].copy()
        return result


class VectorConfig(PretrainedConfig):
    """Configuration of a head on feature vectors."""

    model_type = "feature_vectors"

    def __init__(self, num_features: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_features = num_features


class VectorClassifier(PreTrainedModel):
    """A linear layer on standardized feature vectors."""

    config_class = VectorConfig
    main_input_name = "pixel_values"
    mean: torch.Tensor
    sd: torch.Tensor

    def __init__(self, config: VectorConfig) -> None:
        super().__init__(config)
        self.register_buffer("mean", torch.zeros(config.num_features))
        self.register_buffer("sd", torch.ones(config.num_features))
        self.classifier = nn.Linear(config.num_features, int(config.num_labels or 0))
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def standardized_on(cls, values: np.ndarray, classes: Sequence[str]) -> "VectorClassifier":
        """Return a new head whose mean and standard deviation are those of a training set.

        Args:
            values: (n, d) float32; a constant column gives zeros.
            classes: names of the classes.
        """
        names = dict(enumerate(classes))
        labels = {name: number for number, name in names.items()}
        model = cls(VectorConfig(values.shape[1], id2label=names, label2id=labels))
        mean, sd = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
        tiny = sd <= 1e-7 * np.maximum(1, np.abs(mean))
        model.mean.copy_(torch.from_numpy(mean))
        model.sd.copy_(torch.from_numpy(np.where(tiny, 1, sd)))
        return model

    def forward(self, pixel_values: torch.Tensor, labels: Any = None, **kwargs: Any) -> ImageClassifierOutput:
        """Return the logits of vectors (n, d)."""
        return ImageClassifierOutput(logits=self.classifier((pixel_values - self.mean) / self.sd))


def head_of(model: PreTrainedModel) -> nn.Module | None:
    """Return the smallest module that has all trained parameters; None if it has frozen ones too, or none are."""
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if len(trained) == len(list(model.parameters())):
        return None
    holding = [part for part in model.modules() if trained <= {id(parameter) for parameter in part.parameters()}]
    head = holding[-1]  # each contains the next
    return head if trained and len(list(head.parameters())) == len(trained) else None


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
    images: ImageDataset, dataset: Any, manifest_sha256: str, build: Callable[[], PreTrainedModel]
) -> Features | None:
    """Return the features of all images, computed by one process unless they are cached.

    Args:
        images: all images, not augmented, with their preprocessing.
        dataset: the same images with their names, for the key of the cache.
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
    about = describe_cache(dataset, images.how, manifest_sha256) | {
        "features": FORMAT,
        "mean": images.how.mean,
        "sd": images.how.sd,
        "backbone_sha256": _digest(model),
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
            values, _ = _pass(model, images.batch(list(rows)).to(device), images.how)
            if found is None:
                found = np.lib.format.open_memmap(path, "w+", np.float32, (len(images), *values.shape[1:]))
            found[rows.start : rows.stop] = values.cpu().numpy()
            bar.update(len(rows))
    if found is not None:
        found.flush()


def _pass(model: PreTrainedModel, pixels: torch.Tensor, how: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input of the head for uint8 pixels, and the logits."""
    head = head_of(model)
    caught: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0].detach()))  # type: ignore[union-attr]
    try:
        with torch.inference_mode(), full_precision():
            values = normalize(pixels, how=how).contiguous(memory_format=torch.channels_last)
            logits = model(pixel_values=values).logits
    finally:
        handle.remove()
    return (caught[-1] if caught else logits), logits


def _is_all_after(model: PreTrainedModel, images: ImageDataset) -> bool:
    """Return whether the head computes the logits from its input alone; print a line if not."""
    values, logits = _pass(model, images.batch([0]), images.how)
    with torch.inference_mode():
        again = head_of(model)(values)  # type: ignore[misc]
    is_all = isinstance(again, torch.Tensor) and again.shape == logits.shape and torch.equal(again, logits)
    if not is_all:
        say(f"The head of {type(model).__name__} cannot be separated, so every epoch runs the frozen backbone.")
    return is_all


def _digest(model: nn.Module) -> str:
    """Return the checksum of all weights that are not trained."""
    digest = hashlib.sha256()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, value in sorted(model.state_dict().items()):
        if name in trained:
            continue
        digest.update(f"{name}|{tuple(value.shape)}|{value.dtype}|".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def backbone_vectors(args: ModelArguments, how: Preprocessing, images: Images) -> np.ndarray:
    """Return the input of the classification head for each image, (n_images, d) float32, from the cache if possible.

    Args:
        args: the network, with `freeze_backbone`.
        how: the preprocessing of its images.
        images: what `load_images` returned.

    Raises:
        InputError: the network or the images cannot be used, or the head cannot be separated.
    """
    check_network(args, how.image_size)
    checked = check_and_cache(images, how)
    checked.raise_if_unusable()
    pixels = open_cache(images.dataset, how, checked.manifest_sha256)
    source = WholeBatches(images.dataset, how, "none", 0, pixels)
    build = partial(build_model, args, images.classes)
    found = open_features(source, images.dataset, checked.manifest_sha256, build)
    if found is None:
        raise _not_separable(args)
    count = len(images.dataset)
    return found.take(np.arange(count)).reshape(count, -1)


def _not_separable(args: ModelArguments) -> InputError:
    name = args.model_name_or_path
    return InputError(f"The head of {name} cannot be separated from its backbone. Use another network.")


def embed_images(args: ModelArguments, how: Preprocessing, images: Images, output: Path) -> tuple[int, int]:
    """Write the input of the classification head for each image, one row per image.

    Args:
        args: the network.
        how: the preprocessing of its images.
        images: what `load_images` returned.
        output: a file that ends in .csv, or a Parquet file.

    Returns:
        The number of images and the length of each vector.

    Raises:
        InputError: the network or the images cannot be used, the head cannot be separated, or the file cannot be
            written.
    """
    transformers_logging.disable_progress_bar()
    check_network(args, how.image_size)
    check_images(images).raise_if_unusable()
    source = WholeBatches(images.dataset, how)
    network = build_model(args, images.classes).eval()
    if head_of(network) is None or not _is_all_after(network, source):
        raise _not_separable(args)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    network.to(device)
    parts = []
    with tqdm(total=len(source), desc="Computing features", unit=" images", disable=None) as bar:
        for start in range(0, len(source), _BATCH):
            rows = list(range(start, min(start + _BATCH, len(source))))
            parts.append(_pass(network, source.batch(rows).to(device), how)[0].flatten(1).cpu().numpy())
            bar.update(len(rows))
    values = np.concatenate(parts)
    table = pd.DataFrame(values, columns=[f"feature_{number}" for number in range(values.shape[1])])
    table.insert(0, "file_name", list(images.dataset["file_name"]))

    def write(part: Path) -> None:
        if output.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)

    write_whole(output, write)
    return values.shape[0], values.shape[1]
