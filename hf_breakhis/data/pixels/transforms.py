"""From a PNG to what the network sees: decode, resize, normalise the stain, augment, normalise; each defined once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from hf_breakhis.data.pixels.augmentations import AUGMENTATIONS
from hf_breakhis.data.pixels.decode import decode_rgb
from hf_breakhis.data.pixels.draws import draw_numbers, image_keys
from hf_breakhis.data.pixels.preprocessing import MEAN, SD, Preprocessing, as_preprocessing, image_processor
from hf_breakhis.data.pixels.stains import STAIN_NORMALIZATIONS
from hf_breakhis.files import InputError

__all__ = ["AUGMENTATIONS", "MEAN", "SD", "Preprocessing", "image_processor"]

_MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


class PixelSource(Protocol):
    """Where resized pixels come from."""

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return (n, 3, image_size, image_size) uint8 of the rows (n,) int."""


def read_rgb(image: bytes | str | Path) -> torch.Tensor:
    """Decode a PNG, given as its bytes or its path, to (3, height, width) uint8.

    In memory the colours of a pixel lie together, as they are decoded: so `resize` is three times as fast.

    Raises:
        InputError: it cannot be decoded, or is not RGB; nothing is converted.
    """
    if isinstance(image, bytes):
        return _colors_first(decode_rgb(image, "An image in the archive"))
    called = f"The image {image}"
    try:
        content = Path(image).read_bytes()
    except OSError as error:
        raise InputError(f"{called} cannot be read ({error.strerror}); check the permissions.") from error
    return _colors_first(decode_rgb(content, called))


def resize(pixels: torch.Tensor, to: Preprocessing | int) -> torch.Tensor:
    """Resize, (..., 3, height, width) uint8, to a square of uint8, and crop if so asked.

    This is the definition everywhere: with antialiasing, on uint8 (rounded). Without a crop the aspect ratio is given
    up, as in the paper. Pillow and other processors round some pixels otherwise by one level of 255.

    Args:
        pixels: the whole frame.
        to: how; a number is the side in pixels with the default crop and interpolation.
    """
    how = as_preprocessing(to)
    side, mode = how.image_size, _MODES[how.interpolation]
    resized: torch.Tensor = F.resize(pixels, [side, side] if how.crop == "none" else [side], mode, antialias=True)
    if how.crop == "none":
        return resized
    # As the image processors of transformers do; torchvision's CenterCrop rounds half a pixel to even.
    top, left = ((length - side) // 2 for length in resized.shape[-2:])
    return resized[..., top : top + side, left : left + side]


def prepare(pixels: torch.Tensor, to: Preprocessing | int) -> torch.Tensor:
    """Resize one image, (3, height, width) uint8, as `resize` does, and normalise its stain if so asked."""
    how = as_preprocessing(to)
    resized, normalize_stain = resize(pixels, how), STAIN_NORMALIZATIONS[how.stain_normalization]
    if normalize_stain is None:
        return resized
    return _colors_first(normalize_stain(np.ascontiguousarray(resized.permute(1, 2, 0))))


def normalize(pixels: torch.Tensor, out: torch.Tensor | None = None, how: Preprocessing | None = None) -> torch.Tensor:
    """Turn (..., 3, height, width) uint8 into float32 with a mean and a standard deviation.

    Args:
        pixels: levels from 0 to 255.
        out: contiguous float32 of the same shape to write to; a new one by default.
        how: has mean and standard deviation; by default those of ImageNet.
    """
    values = (MEAN, SD) if how is None else (how.mean, how.sd)
    mean, sd = (torch.tensor(value, device=pixels.device)[:, None, None] * 255 for value in values)
    out = torch.empty(pixels.shape, device=pixels.device) if out is None else out
    if pixels.device.type != "cpu":
        return torch.sub(pixels, mean, out=out).div_(sd)
    count = pixels.shape[:-3].numel()
    # One image at a time stays in the processor's cache; numpy, since torch would start threads for each of them.
    sources, targets = (array.reshape(count, *array.shape[-3:]).numpy() for array in (pixels, out))
    for source, target in zip(sources, targets, strict=True):
        target[...] = source
        target -= mean.numpy()
        target /= sd.numpy()
    return out


class DecodedPixels:
    """The pixels of images, decoded and resized each time they are asked for.

    Args:
        dataset: has the column `image`, paths or bytes.
        to: how they are resized; a number is the side in pixels.
    """

    def __init__(self, dataset: datasets.Dataset, to: Preprocessing | int) -> None:
        self.files = dataset.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
        self.how = as_preprocessing(to)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return (n, 3, image_size, image_size) uint8 of the rows (n,) int."""
        out = np.empty((len(rows), 3, self.how.image_size, self.how.image_size), dtype=np.uint8)
        for pixels, file in zip(out, self.files[rows.tolist()]["image"], strict=True):
            # `is None`, since a file of no bytes is bytes too
            image = file["path"] if file["bytes"] is None else file["bytes"]
            pixels[:] = prepare(read_rgb(image), self.how).numpy()
        return out


class ImageDataset(torch.utils.data.Dataset[Any]):
    """Images as the network wants them, made when they are asked for.

    Args:
        dataset: columns `image`, `label` and `file_name`, as `load_images` gives them.
        to: size, crop and normalisation; a number is the side in pixels with the defaults.
        augmentation: a key of `AUGMENTATIONS`.
        seed: of the augmentation.
        source: where the pixels of `dataset` come from, such as a cache; decoded from `image` by default.
        known: labels and `image_keys` of the images, (n,) each; read from `dataset` by default.
    """

    def __init__(
        self,
        dataset: datasets.Dataset,
        to: Preprocessing | int,
        augmentation: str = "none",
        seed: int = 0,
        source: PixelSource | None = None,
        known: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        if augmentation not in AUGMENTATIONS:
            raise InputError(f"`augmentation` is {augmentation!r}, but has to be one of {sorted(AUGMENTATIONS)}.")
        self.how = as_preprocessing(to)
        self.source = DecodedPixels(dataset, self.how) if source is None else source
        if known is None:
            labels: np.ndarray = np.fromiter(stream(dataset, "label"), np.int64, len(dataset))
            known = labels, image_keys(stream(dataset, "file_name"))
        self.labels, self.keys = known
        self.augmentation = augmentation
        self.seed = seed
        # In shared memory, so that workers that live through all epochs see a new one too.
        self.epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is next; the Trainer's data loader calls it."""
        self.epoch[0] = epoch

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        """Return (n, 3, image_size, image_size) uint8, resized and augmented."""
        rows = np.asarray(indices, dtype=np.int64)
        pixels, augment = torch.from_numpy(self.source.take(rows)), AUGMENTATIONS[self.augmentation]
        if augment is None:
            return pixels
        return augment(pixels, draw_numbers(self.keys[rows], self.seed, int(self.epoch)))

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Return `pixel_values` (3, image_size, image_size) float32 and `labels` int of each image."""
        values = normalize(self.batch(indices), how=self.how)
        return [
            {"pixel_values": value, "labels": int(self.labels[i])} for value, i in zip(values, indices, strict=True)
        ]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one image; see `__getitems__`."""
        result: dict[str, Any] = self.__getitems__([index])[0]
        return result


class WholeBatches(ImageDataset):
    """The same images, but `__getitems__` gives a batch in one piece: nothing is stacked image by image.

    A data loader needs `collate_fn=whole_batch`. The pixels stay uint8, a quarter of the bytes on the way from a
    worker and to the device: whoever takes the batch calls `normalize` there.
    """

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Return `pixel_values` (n, 3, image_size, image_size) uint8 and `labels` (n,) int64."""
        labels = torch.from_numpy(self.labels[np.asarray(indices, dtype=np.int64)])
        return {"pixel_values": self.batch(indices), "labels": labels}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one image; its label is a tensor without axes."""
        return {name: value[0] for name, value in self.__getitems__([index]).items()}


def whole_batch(batch: Any) -> dict[str, torch.Tensor]:
    """Return the batch as it is: the `collate_fn` of `WholeBatches`."""
    result: dict[str, torch.Tensor] = batch
    return result


def stream(dataset: datasets.Dataset, column: str) -> Iterator[Any]:
    """Yield the values of a column; only some thousands are in memory at a time."""
    for part in dataset.select_columns([column]).iter(batch_size=10_000):
        yield from part[column]


def _colors_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)
