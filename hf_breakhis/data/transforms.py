"""From a PNG to what the network sees: decode, resize, augment, normalise; one definition of each."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F
from transformers import ViTImageProcessor

from hf_breakhis.data.augmentations import AUGMENTATIONS, NUM_DRAWS
from hf_breakhis.files import InputError

# Of ImageNet, which the published backbones were trained on.
MEAN = (0.485, 0.456, 0.406)
SD = (0.229, 0.224, 0.225)


def read_rgb(image: bytes | str | Path) -> torch.Tensor:
    """Decode a PNG, given as its bytes or its path, to (3, height, width) uint8.

    Raises:
        InputError: it cannot be decoded, or is not RGB; nothing is converted.
    """
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as picture:
            if picture.mode != "RGB":
                raise InputError(f"{_called(image)} is of mode {picture.mode}; convert it to 8-bit RGB.")
            pixels = np.array(picture)
    except (OSError, SyntaxError) as error:
        raise InputError(f"{_called(image)} cannot be decoded ({error}); fetch the original file again.") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def resize(pixels: torch.Tensor, image_size: int) -> torch.Tensor:
    """Resize the whole frame, (..., 3, height, width) uint8, to a square of `image_size` uint8.

    This is the definition everywhere: bilinear with antialiasing, on uint8 (rounded), aspect ratio given up as in
    the paper. Pillow and other processors round some pixels otherwise by one level of 255.
    """
    return F.resize(pixels, [image_size, image_size], InterpolationMode.BILINEAR, antialias=True)


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Turn (..., 3, height, width) uint8 into float32 with ImageNet's mean and standard deviation."""
    mean = torch.tensor(MEAN, device=pixels.device)[:, None, None] * 255
    sd = torch.tensor(SD, device=pixels.device)[:, None, None] * 255
    return (pixels.float() - mean) / sd


def image_processor(image_size: int) -> ViTImageProcessor:
    """Return the processor to save with a model: it does to a raw PNG what evaluation does."""
    return ViTImageProcessor(
        do_resize=True,
        size={"height": image_size, "width": image_size},
        resample=2,  # bilinear
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(MEAN),
        image_std=list(SD),
    )


def image_keys(names: Sequence[str]) -> np.ndarray:
    """Return (n_images,) uint64: a number for each name, the same on every machine."""
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), dtype="<u8")


def draw(keys: np.ndarray, seed: int, epoch: int) -> torch.Tensor:
    """Return (n_images, NUM_DRAWS) float64 in [0, 1), which depend on seed, epoch and key of each image alone.

    So neither workers, nor processes, nor the order of the images, nor resuming in mid-epoch change an augmentation.
    """
    run = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
    rows = [np.random.Generator(np.random.Philox(key=[run, key])).random(NUM_DRAWS) for key in keys]
    return torch.from_numpy(np.array(rows).reshape(len(keys), NUM_DRAWS))


class ImageDataset(torch.utils.data.Dataset):
    """Images as the network wants them, made when they are asked for.

    Args:
        dataset: columns `image`, `label` and `file_name`, as `load_images` gives them.
        image_size: side of the square.
        augmentation: a key of `AUGMENTATIONS`.
        seed: of the augmentation.
    """

    def __init__(self, dataset: datasets.Dataset, image_size: int, augmentation: str = "none", seed: int = 0) -> None:
        if augmentation not in AUGMENTATIONS:
            raise InputError(f"`augmentation` is {augmentation!r}, but has to be one of {sorted(AUGMENTATIONS)}.")
        self.files = dataset.select_columns(["image"]).cast_column("image", datasets.Image(decode=False))
        self.labels = np.array(dataset["label"])
        self.keys = image_keys(list(dataset["file_name"]))
        self.image_size = image_size
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

    def pixels(self, indices: Sequence[int]) -> torch.Tensor:
        """Return (n, 3, image_size, image_size) uint8, resized and not augmented."""
        files = self.files[list(indices)]["image"]
        return torch.stack([resize(read_rgb(file["bytes"] or file["path"]), self.image_size) for file in files])

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        """Return (n, 3, image_size, image_size) uint8, resized and augmented."""
        pixels, augment = self.pixels(indices), AUGMENTATIONS[self.augmentation]
        if augment is None:
            return pixels
        return augment(pixels, draw(self.keys[list(indices)], self.seed, int(self.epoch)))

    def __getitems__(self, indices: Sequence[int]) -> list[dict]:
        """Return `pixel_values` (3, image_size, image_size) float32 and `labels` int of each image."""
        values = normalize(self.batch(indices))
        return [
            {"pixel_values": value, "labels": int(self.labels[i])} for value, i in zip(values, indices, strict=True)
        ]

    def __getitem__(self, index: int) -> dict:
        """Return one image; see `__getitems__`."""
        return self.__getitems__([index])[0]


def _called(image: bytes | str | Path) -> str:
    return "An image in the archive" if isinstance(image, bytes) else f"The image {image}"
