"""A trained image classifier with the preprocessing it was evaluated with."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification
from transformers.utils import logging as transformers_logging

from hf_breakhis.averaging import mean_logits, transforms_of
from hf_breakhis.data.pixels.preprocessing import Preprocessing, image_processor, read_processor
from hf_breakhis.data.pixels.transforms import normalize, prepare
from hf_breakhis.files import InputError, read_json, reason_of
from hf_breakhis.hardware import full_precision, keeps_memory
from hf_breakhis.inference.hub_model import require_classifier
from hf_breakhis.inference.model import Weights


class Classifier:
    """An image classifier, ready to score.

    Args:
        folder: holds config.json, weights as safetensors and preprocessor_config.json.
        bf16: calculate in bfloat16 (torch.autocast) all but the last layer.

    Attributes:
        classes: names in the order of their numbers.

    Raises:
        InputError: the folder holds no image classifier, or it needs code or pickled weights.
    """

    def __init__(self, folder: Path, bf16: bool = False) -> None:
        require_classifier(folder, str(folder))
        self.folder = folder
        self.bf16 = bf16
        self.device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.model = self._load_model()
        names = self.model.config.id2label
        self.classes = [str(names[i]) for i in range(len(names)) if i in names]
        if not len(set(self.classes)) == len(names) == self.model.config.num_labels >= 2:
            raise InputError(f"{folder} has no two classes with names of their own (id2label in config.json).")
        self.preprocessing = own_preprocessing(folder)
        self.image_size = self.preprocessing.image_size if self.preprocessing else None
        # For models of this package the torch code of evaluation itself; for others what they bring along.
        self.processor: Any = None if self.image_size else self._load_processor()

    def prepare(self, pixels: np.ndarray) -> torch.Tensor:
        """Return one image, (height, width, 3) uint8, in the size of the network, to be stacked for `logits`."""
        if self.preprocessing:
            return prepare(torch.from_numpy(pixels).permute(2, 0, 1), self.preprocessing)
        try:
            result: torch.Tensor = self.processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
            return result
        except Exception as error:  # one of settings that fit no image raises anything
            raise InputError(f"The image processor of {self.folder} does not work ({reason_of(error)}).") from error

    def logits(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        """Return (n, num_classes) float64 for n prepared images.

        Raises:
            InputError: the images differ in size, or the network gives numbers that are not finite.
        """
        if len({image.shape for image in prepared}) > 1:
            raise InputError(f"The processor of {self.folder} leaves images in several sizes; give --batch_size 1.")
        batch = torch.stack(list(prepared)).to(self.device)
        batch = normalize(batch, how=self.preprocessing) if self.preprocessing else batch.float()
        try:
            with torch.inference_mode(), self.precision():
                logits = self.model(batch.contiguous(memory_format=torch.channels_last)).logits.double().cpu().numpy()
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"The network of {self.folder} does not take a batch of shape {tuple(batch.shape)} "
                f"({reason_of(error)}); give the processor that belongs to it, or a smaller --batch_size."
            ) from error
        if not np.isfinite(logits).all():
            raise InputError(
                f"The network of {self.folder} gives numbers that are not finite; its weights are broken."
            )
        result: np.ndarray = logits
        return result

    def precision(self) -> AbstractContextManager[Any]:
        """Return the context in which the network calculates: float32 in full, or bfloat16."""
        if not self.bf16:
            return full_precision()
        return torch.autocast("cpu" if self.device is None else self.device.type, torch.bfloat16)

    def _load_model(self) -> Any:
        transformers_logging.disable_progress_bar()
        try:
            model, info = AutoModelForImageClassification.from_pretrained(
                self.folder,
                use_safetensors=True,  # a pickle from outside is never read
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # a config.json that fits nothing makes transformers raise anything
            raise InputError(f"Cannot load the model {self.folder} ({reason_of(error)}); fetch it again.") from error
        if missing := sorted(info["missing_keys"]):
            raise InputError(f"{self.folder} lacks weights of an image classifier, such as {missing[0]}.")
        if self.bf16 and not keep_head(model):
            raise InputError(
                f"{self.folder} is a {type(model).__name__}, whose last layer cannot be identified, so its scores in "
                "bfloat16 would come in coarse steps; go without --bf16."
            )
        return model.eval().to(self.device, memory_format=torch.channels_last)

    def _load_processor(self) -> Any:
        try:
            return AutoImageProcessor.from_pretrained(self.folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # as above
            raise InputError(
                f"Cannot load the image processor of {self.folder} ({reason_of(error)}); save one beside the model."
            ) from error


class CompiledClassifier(Classifier):
    """An image classifier as `Classifier`, compiled for batches of one size: half a minute to start, then faster.

    A shorter batch is filled up.

    Args:
        folder: of the model.
        batch_size: images in a batch.
        bf16: as in `Classifier`.

    Raises:
        InputError: there is no image classifier, it brings its own processor, or nothing here compiles it.
    """

    def __init__(self, folder: Path, batch_size: int, bf16: bool = False) -> None:
        super().__init__(folder, bf16)
        if not self.image_size:
            raise InputError(
                f"{folder} brings its own image processor, so its batches have no known size. Leave out --compile."
            )
        self.batch_size = batch_size
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
        # Frozen weights are folded into each other and laid out once, in place of at each batch.
        options: dict[str, Any] | None = {"freezing": True} if self.device is None else None
        self.model = torch.compile(self.model, dynamic=False, options=options)
        blank = torch.zeros(batch_size, 3, self.image_size, self.image_size, device=self.device)
        try:
            with torch.inference_mode(), self.precision(), warnings.catch_warnings():
                # on a GPU, that TensorFloat-32 would be faster
                warnings.filterwarnings("ignore", "TensorFloat32 tensor cores", UserWarning)
                self.model(blank.contiguous(memory_format=torch.channels_last))
        except Exception as error:  # whatever a compiler and its cache run into
            raise InputError(
                f"The network of {folder} cannot be compiled here ({reason_of(error)}). Install a C++ compiler such "
                "as g++, or leave out --compile."
            ) from error

    def logits(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        """Return (n, num_classes) float64 for n prepared images; see `Classifier.logits`."""
        missing = self.batch_size - len(prepared)
        return super().logits([*prepared, *[prepared[-1]] * missing])[: len(prepared)]


class AveragedClassifier(Classifier):
    """The mean probability of several classifiers, or of the views of an image, as one classifier.

    Args:
        classifiers: of the same classes, whose inputs are prepared in the same way.
        tta: test-time augmentation, a key of `averaging.TTA`.

    Raises:
        InputError: the classifiers have different classes, or `tta` is unknown.
    """

    def __init__(self, classifiers: Sequence[Classifier], tta: str = "none") -> None:
        first = classifiers[0]
        for other in classifiers:
            if other.classes != first.classes:
                raise InputError(f"{other.folder} has other classes than {first.folder}, so they are not averaged.")
        self.classifiers, self.transforms = list(classifiers), transforms_of(tta)
        self.folder, self.bf16, self.device, self.classes = first.folder, first.bf16, first.device, first.classes
        self.preprocessing, self.image_size, self.processor = first.preprocessing, first.image_size, first.processor

    def logits(self, prepared: Sequence[torch.Tensor]) -> np.ndarray:
        """Return (n, num_classes) float64 for n prepared images: the logarithm of the mean probability."""
        views = [[transform(image) for image in prepared] for transform in self.transforms.values()]
        return mean_logits([one.logits(view) for view in views for one in self.classifiers])


def open_classifier(weights: Weights, bf16: bool = False, compiled_batch: int | None = None) -> Classifier:
    """Return the classifier of weights: of one network, or the mean of several and of views of an image.

    Args:
        weights: of a run, or of a model folder.
        bf16: as in `Classifier`.
        compiled_batch: compile the networks for batches of this size.

    Raises:
        InputError: as `Classifier`.
    """
    found = [
        Classifier(folder, bf16) if compiled_batch is None else CompiledClassifier(folder, compiled_batch, bf16)
        for folder in weights.networks
    ]
    return found[0] if len(found) == 1 and weights.tta == "none" else AveragedClassifier(found, weights.tta)


class Float32Head(nn.Module):
    """A last layer that calculates in float32 within autocast: its bfloat16 would give scores in coarse steps."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of features (n, ...) of any precision."""
        with torch.autocast(features.device.type, enabled=False):
            result: torch.Tensor = self.head(features.float())
            return result


def keep_head(model: Any) -> bool:
    """Let the layers of `model` that give a number for each class calculate in float32; tell whether there are any."""
    heads = {}
    for name, child in model.named_children():
        last = child[-1] if isinstance(child, nn.Sequential) and len(child) else child
        if isinstance(last, nn.Linear) and last.out_features == model.config.num_labels:
            heads[name] = Float32Head(child)
    timm = getattr(model, "timm_model", None)  # of transformers' wrapper; its last layer may be nested, as `head.fc`
    last = timm.get_classifier() if timm is not None else None
    if isinstance(last, nn.Linear) and last.out_features == model.config.num_labels:
        heads |= {name: Float32Head(last) for name, module in model.named_modules() if module is last}
    for name, head in heads.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, head)
    return bool(heads)


def default_batch_size() -> int:
    """Return how many images a network takes at a time; on a CPU few where memory is not kept from batch to batch."""
    if torch.accelerator.is_available():
        return 64
    return 32 if keeps_memory() else 8


def own_preprocessing(folder: Path) -> Preprocessing | None:
    """Return the preprocessing if the processor is one that this package saves, None if it is another."""
    path = folder / "preprocessor_config.json"
    saved = read_json(path) if path.is_file() else {}
    found = read_processor(saved)
    if found is None:
        return None
    ours = image_processor(found).to_dict() | {"image_mean": list(found.mean), "image_std": list(found.sd)}
    return found if saved == ours else None  # with any other entry it is another processor


def saved_size(folder: Path) -> int | None:
    """Return the image size if the processor is one that this package saves, None if it is another."""
    found = own_preprocessing(folder)
    return None if found is None else found.image_size
