"""Images are checked and put into the pixel cache in one pass, so that a new image is decoded once before a run."""

import math
import os
import shutil
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from threading import Lock
from typing import IO

import datasets
import numpy as np
import torch
from PIL import Image

from hf_breakhis.data.images import Images
from hf_breakhis.data.integrity.check_images import Findings, check_images
from hf_breakhis.data.pixels.cache import cache_path, describe_cache, is_intact, lock_cache, say_size, write_about
from hf_breakhis.data.pixels.preprocessing import Preprocessing
from hf_breakhis.data.pixels.transforms import prepare
from hf_breakhis.data.sources.datasets_cache import cache_folder
from hf_breakhis.files import InputError, temporary

NAME = "pixels-new.npy"


def check_and_cache(images: Images, to: Preprocessing | None) -> Findings:
    """Check images as `check_images` does, and write those that are decoded for it to the cache of their pixels.

    A cache is kept if every image was decoded here and can be used. Otherwise `open_cache` builds it.

    Args:
        images: what `load_images` returned.
        to: size, crop and interpolation of the cache; None for no cache.
    """
    if to is None or not images.has_files:
        return check_images(images)
    with CheckedPixels(images.dataset, to) as pixels:
        findings = check_images(images, use=pixels.put)
        pixels.keep(findings.manifest_sha256)
    return findings


class CheckedPixels(AbstractContextManager["CheckedPixels"]):
    """The pixels of images on their way to a cache, whose name is known only after all images were checked.

    Where the disk is full or cannot be written to, nothing is kept; `open_cache` then says what is wrong.

    Args:
        dataset: columns `image` and `file_name`.
        to: size, crop and interpolation.
    """

    def __init__(self, dataset: datasets.Dataset, to: Preprocessing) -> None:
        self.dataset, self.to = dataset, to
        self._shape = (len(dataset), 3, to.image_size, to.image_size)
        self._count = 0
        self._lock = Lock()  # images are checked by several threads
        self._stack = ExitStack()
        self._part: Path | None = None
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> "CheckedPixels":
        """Open a temporary file, which is deleted at the end unless it was kept."""
        with suppress(OSError), ExitStack() as stack:
            cache_folder().mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(cache_folder()).free < math.prod(self._shape):
                return self
            self._part = stack.enter_context(temporary(cache_folder() / NAME))
            self._offset = np.lib.format.open_memmap(self._part, "w+", np.uint8, self._shape).offset
            self._stream = stack.enter_context(self._part.open("r+b"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        """Close and delete the temporary file."""
        self._stream = None
        with suppress(OSError):
            self._stack.close()

    def put(self, row: int, picture: Image.Image) -> None:
        """Write the pixels of the image in a row of the data set; called once a row, from any thread."""
        if self._stream is None:
            return
        pixels = prepare(torch.from_numpy(np.array(picture)).permute(2, 0, 1), self.to).numpy()
        content = np.ascontiguousarray(pixels).data
        with self._lock:
            try:
                if self._stream is not None:
                    self._stream.seek(self._offset + row * content.nbytes)
                    self._stream.write(content)
                    self._count += 1
            except OSError:
                self._stream = None

    def keep(self, manifest_sha256: str) -> None:
        """Turn the file into the cache that `open_cache` opens, if it has every image and there is no cache yet."""
        if self._stream is None or self._part is None or self._count < len(self.dataset):
            return
        about = describe_cache(self.dataset, self.to, manifest_sha256)
        path = cache_path(about)
        with suppress(OSError, InputError), lock_cache(path):
            if not is_intact(path):
                self._stream.flush()
                os.fsync(self._stream.fileno())  # the name must not outlive a power cut that the pixels do not
                write_about(path, about, self._part)
                os.replace(self._part, path)
                say_size(path, math.prod(self._shape))
