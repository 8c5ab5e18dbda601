"""What is done to an image before the network: size, crop, interpolation, mean and standard deviation."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from transformers import ViTImageProcessor

from hf_breakhis.data.pixels.stains import STAIN_NORMALIZATIONS
from hf_breakhis.files import InputError

# Of ImageNet, which most published backbones were trained on.
MEAN = (0.485, 0.456, 0.406)
SD = (0.229, 0.224, 0.225)
# Numbers of Pillow, as an image processor stores them.
RESAMPLE = {"bilinear": 2, "bicubic": 3}
STAIN = "stain_normalization"


@dataclass(frozen=True)
class Preprocessing:
    """From a decoded image to the input of the network.

    Attributes:
        image_size: side of the square in pixels.
        crop: "none" resizes the whole frame to the square; "center" resizes the shorter side and keeps the central
            square.
        interpolation: of the resize, always with antialiasing, on uint8.
        mean: of each color channel, between 0 and 1.
        sd: standard deviation of each color channel, above 0.
        stain_normalization: key of `STAIN_NORMALIZATIONS`; of the resized image.
    """

    image_size: int
    crop: Literal["none", "center"] = "none"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, float, float] = MEAN
    sd: tuple[float, float, float] = SD
    stain_normalization: str = "none"

    @property
    def pixel_words(self) -> str:
        """What is done to the pixels until they are cached, in words, as the keys of caches have it."""
        crop = "" if self.crop == "none" else ", center crop"
        stain = "" if self.stain_normalization == "none" else f", {self.stain_normalization}"
        return f"{self.interpolation}, antialias, uint8{crop}{stain}"

    @property
    def is_imagenet(self) -> bool:
        """Whether mean and standard deviation are those of ImageNet."""
        return (self.mean, self.sd) == (MEAN, SD)

    def sentence(self) -> str:
        """Return the preprocessing as the end of a sentence that begins with "the image is"."""
        side = f"{self.image_size}x{self.image_size} pixels"
        how = (
            f"resized to {side} ({self.interpolation}, antialiased, aspect ratio not kept)"
            if self.crop == "none"
            else f"resized until its shorter side has {self.image_size} pixels ({self.interpolation}, antialiased), "
            f"cropped to its central {side}"
        )
        values = (
            "ImageNet's mean and standard deviation"
            if self.is_imagenet
            else f"mean {_numbers(self.mean)} and standard deviation {_numbers(self.sd)}"
        )
        stain = (
            ""
            if self.stain_normalization == "none"
            else f", normalised to a reference stain ({self.stain_normalization.capitalize()})"
        )
        return f"{how}{stain}, and normalised with {values}"


def as_preprocessing(given: Preprocessing | int) -> Preprocessing:
    """Return the preprocessing; a number is the side of a square with the defaults."""
    return given if isinstance(given, Preprocessing) else Preprocessing(given)


def image_processor(given: Preprocessing | int) -> ViTImageProcessor:
    """Return the processor to save with a model: it does to a raw PNG what evaluation does.

    No processor of transformers normalises a stain. The file then names the method for this package.
    """
    one = as_preprocessing(given)
    square = {"height": one.image_size, "width": one.image_size}
    more: dict[str, Any] = {"do_center_crop": True, "crop_size": square} if one.crop == "center" else {}
    if one.stain_normalization != "none":
        more[STAIN] = one.stain_normalization
    return ViTImageProcessor(
        do_resize=True,
        size={"shortest_edge": one.image_size} if one.crop == "center" else square,
        resample=RESAMPLE[one.interpolation],
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(one.mean),
        image_std=list(one.sd),
        **more,
    )


def read_processor(saved: Any) -> Preprocessing | None:
    """Return the preprocessing of a `preprocessor_config.json`; None if it does anything else than `Preprocessing`.

    Args:
        saved: the content of the file.
    """
    if not isinstance(saved, dict) or saved.get("do_resize") is not True or saved.get("do_normalize") is not True:
        return None
    interpolation = next((name for name, number in RESAMPLE.items() if saved.get("resample") == number), None)
    mean, sd = three_numbers(saved.get("image_mean")), three_numbers(saved.get("image_std"))
    crop: Literal["none", "center"] = "center" if saved.get("do_center_crop") else "none"
    size, cropped = saved.get("size"), saved.get("crop_size")
    if not isinstance(size, dict) or mean is None or sd is None or interpolation is None or min(sd) <= 0:
        return None
    if crop == "center" and isinstance(cropped, dict):
        sides = [size.get("shortest_edge"), cropped.get("height"), cropped.get("width")]
    else:
        sides = [size.get("height"), size.get("width")] if crop == "none" else [None]
    if any(type(side) is not int or side < 1 or side != sides[0] for side in sides):
        return None
    stain = saved.get(STAIN, "none")
    if stain not in STAIN_NORMALIZATIONS:
        return None
    return Preprocessing(sides[0], crop, interpolation, mean, sd, stain)  # type: ignore[arg-type]


def require_portable(how: Preprocessing) -> None:
    """Refuse what only this package does to an image, where other software runs the network.

    Raises:
        InputError: the stain is normalised.
    """
    if how.stain_normalization != "none":
        raise InputError(
            f"This model normalises stains ({how.stain_normalization}), which no image processor of transformers and "
            "no ONNX file does: other software would give it other images than training did. Use `predict` and "
            "`evaluate`, or train with --stain_normalization none."
        )


def three_numbers(value: Any) -> tuple[float, float, float] | None:
    """Return three finite numbers of a JSON file; None if it has something else."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    if any(isinstance(one, bool) or not isinstance(one, int | float) or not math.isfinite(one) for one in value):
        return None
    return float(value[0]), float(value[1]), float(value[2])


def _numbers(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else " ".join(f"{value:g}" for value in values)
