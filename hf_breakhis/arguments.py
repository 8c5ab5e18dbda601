"""Fields of a recipe for the data, the split and the network; imports no library."""

from dataclasses import dataclass, field
from typing import Any, Literal

from hf_breakhis.files import InputError

MAGNIFICATIONS = ("40X", "100X", "200X", "400X")
OFFICIAL_FOLDS = 5
SplitBy = Literal["image", "patient", "specimen", "official", "folders"]
CarryOver = Literal["none", "model", "all"]
# Fields of peft's LoraConfig in `lora`; the others are for language models or need data of their own.
LORA_FIELDS = (
    "r lora_alpha lora_dropout target_modules exclude_modules bias lora_bias use_rslora use_dora init_lora_weights "
    "modules_to_save layers_to_transform layers_pattern rank_pattern alpha_pattern"
).split()


def described(default: Any, text: str) -> Any:
    """Return a dataclass field with its help text; lists get a fresh copy."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


def require(holds: bool, message: str) -> None:
    """Raise `InputError` with this message unless the condition holds."""
    if not holds:
        raise InputError(message)


@dataclass
class DataArguments:
    """Data set and split."""

    dataset: str = described(
        "breakhis",
        "Data set: breakhis, rcl7500, twin, rcl7500_twin, imagefolder, or a Hub id. "
        "A twin is synthetic: generated images with the names and counts of the data set.",
    )
    data_dir: str | None = described(
        None,
        "Images on this machine: BreaKHis_v1.tar.gz, the folder BreaKHis_v1, a folder of Parquet files, or an "
        "imagefolder. Default: breakhis is downloaded once.",
    )
    features: list[str] = described(
        [],
        "Files of feature vectors (.parquet, .csv, .npz, .h5, or a folder of .h5): only a head is trained on them. "
        "With breakhis and no data_dir no images are needed. Default: the network sees the images.",
    )
    allow_missing: bool = described(False, "Leave out images that have no feature vector.")
    dataset_revision: str | None = described(None, "Commit of a data set on the Hub. Default: the latest.")
    twin_kwargs: dict | None = described(  # type: ignore[type-arg]
        None,
        "Settings of a synthetic twin as JSON: seed, scale, width, height, class_signal, patient_effect, noise, "
        "stain. Default: the size of the data set.",
    )
    target: Literal["malignancy", "tumor_type"] = described(
        "malignancy", "Classes: malignancy (benign, malignant) or tumor_type (eight tumor types)."
    )
    magnifications: list[str] = described(list(MAGNIFICATIONS), "Magnifications to use: any of 40X 100X 200X 400X.")
    tumor_types: list[str] = described(
        [], "Tumor types to use, in the order of the classes: any of A F PT TA DC LC MC PC. Default: all."
    )
    positive_class: str | None = described(
        None,
        "Class that sensitivity is computed for, one of two. Default: malignant, or guessed from the class names with "
        "a warning.",
    )
    split_by: SplitBy = described(
        "specimen",
        "Unit that is kept within one part of a split: image (leaks), patient, specimen, official (the five folds of "
        "the authors), or folders (train/ and test/ in the data, may leak).",
    )
    num_folds: int = described(5, "Number of cross-validation folds; 1 is a single hold-out of test_size.")
    test_size: float = described(0.2, "Share of the test set if num_folds is 1.")
    test_patients: list[str] = described(
        [],
        "Patients of the test set, such as SOB_M_DC-14-2523; requires num_folds 1. Default: drawn with split_seed.",
    )
    repeats: int = described(1, "Number of repetitions, each with a new split seed and a new training seed.")
    reserve_size: float = described(0.0, "Share that is set aside before the split and scored separately.")
    validation_size: float = described(
        0.0, "Share of the training groups used as validation set, to monitor training and to select checkpoints."
    )
    train_share: float = described(
        1.0,
        "Share of the training groups of each fold that is used, above 0; the groups of a smaller share are part of "
        "every larger one.",
    )
    train_magnifications: list[str] = described(
        [], "Magnifications of the training and validation images. Default: those of magnifications."
    )
    test_magnifications: list[str] = described(
        [], "Magnifications of the test images. Default: those of magnifications."
    )
    stratify: bool = described(True, "Keep the class proportions in every part of a split.")
    split_seed: int = described(42, "Random seed of the split.")
    fold: str = described("all", "Folds to train: all, one number from 0, or refit (train on all but the reserve).")
    image_size: int = described(224, "Side in pixels of the square that every image is resized to.")
    crop: Literal["none", "center"] = described(
        "none",
        "Part of the image that is used: none (the whole frame is resized to the square) or center (the shorter side "
        "is resized and the central square is kept).",
    )
    interpolation: Literal["bilinear", "bicubic", "backbone"] = described(
        "bilinear", "Interpolation of the resize: bilinear, bicubic, or backbone (as the network's own preprocessing)."
    )
    normalization: Literal["backbone", "imagenet"] = described(
        "backbone",
        "Mean and standard deviation of the pixels: backbone (those of the network's own preprocessing; ImageNet's if "
        "it has none or init is random) or imagenet.",
    )
    stain_normalization: Literal["none", "macenko", "reinhard"] = described(
        "none", "Normalisation of the stain of every image to a published reference: none, macenko or reinhard."
    )
    cache: bool = described(True, "Decode the images once and keep their pixels in the datasets cache.")
    augmentation: str = described(
        "none",
        "Augmentation of the training images: none, flips, dihedral, stain, color, dihedral_stain, randaugment, "
        "trivialaugment.",
    )
    tta: str = described(
        "none",
        "Test-time augmentation of every scored image: none, or dihedral (mean probability over the eight flips and "
        "quarter turns). Training and the choice of a checkpoint do not use it.",
    )

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        wrong = [name for name in self.magnifications if name not in MAGNIFICATIONS]
        require(not wrong, f"`magnifications` has {wrong}; choose from {list(MAGNIFICATIONS)}.")
        require(bool(self.magnifications), f"`magnifications` is empty; choose from {list(MAGNIFICATIONS)}.")
        for name in ("train_magnifications", "test_magnifications"):
            wrong = [one for one in getattr(self, name) if one not in self.magnifications]
            require(not wrong, f"`{name}` has {wrong}; choose from `magnifications`, {self.magnifications}.")
        alone = not self.train_magnifications or self.fold != "refit"
        require(alone, "`fold` is refit, which trains on all images; leave `train_magnifications` out.")
        for name in (
            *("magnifications", "train_magnifications", "test_magnifications", "tumor_types", "test_patients"),
        ):
            value = getattr(self, name)
            twice = next((item for item in value if value.count(item) > 1), "")
            require(not twice, f"`{name}` contains {twice} twice. Remove one.")
        self._check_test_patients()
        for name, lowest in {"num_folds": 1, "repeats": 1, "image_size": 8, "split_seed": 0}.items():
            value = getattr(self, name)
            require(value >= lowest, f"`{name}` is {value}, but has to be at least {lowest}.")
        require(0 < self.test_size < 1, f"`test_size` is {self.test_size}, but a share lies between 0 and 1.")
        share = self.train_share
        require(0 < share <= 1, f"`train_share` is {share}, but has to be above 0 and at most 1.")
        refit = "`fold` is refit, which trains on all images; set `train_share` to 1."
        require(share == 1 or self.fold != "refit", refit)
        for name in ("reserve_size", "validation_size"):
            share = getattr(self, name)
            require(0 <= share < 1, f"`{name}` is {share}, but a share is at least 0 and below 1.")
        if self.split_by == "official":
            allowed = f"`num_folds` is {self.num_folds}, but the official split has {OFFICIAL_FOLDS} folds of its own."
            require(self.num_folds == OFFICIAL_FOLDS, allowed)
            require(not self.reserve_size, "`reserve_size` is not supported with split_by=official; set it to 0.")
        if self.split_by == "folders":
            fixed = "the folders train/ and test/ are one hold-out"
            require(self.num_folds == 1, f"`num_folds` is {self.num_folds}, but {fixed}; set num_folds to 1.")
            for name in ("reserve_size", "validation_size"):
                require(
                    not getattr(self, name), f"`{name}` is not supported with split_by=folders: {fixed}; set it to 0."
                )
        if self.fold not in ("all", "refit"):
            number = int(self.fold) if self.fold.isdecimal() else -1
            allowed = (
                f"`fold` is {self.fold}, but num_folds={self.num_folds} allows all, refit or 0..{self.num_folds - 1}."
            )
            require(0 <= number < self.num_folds, allowed)
        require(self.fold == "all" or self.repeats == 1, f"`fold` is {self.fold}; with `repeats` it has to be all.")

    def _check_test_patients(self) -> None:
        if not self.test_patients:
            return
        wrong = f"`num_folds` is {self.num_folds}, but `test_patients` requires 1."
        require(self.num_folds == 1, wrong)
        wrong = f"`split_by` is {self.split_by}, but `test_patients` requires patient or specimen."
        require(self.split_by in ("patient", "specimen"), wrong)


@dataclass
class ModelArguments:
    """Network and initial weights."""

    model_name_or_path: str = described(
        "microsoft/resnet-50",
        "Hub id or local folder of the network: an image classifier of transformers, or of timm (extra timm).",
    )
    model_revision: str = described("main", "Branch, tag or commit of the network on the Hub.")
    model_kwargs: dict | None = described(  # type: ignore[type-arg]
        None, "Changes to the configuration of the network as JSON, for example to its size. Default: none."
    )
    activation: str | None = described(
        None,
        "Activation function, by its name in transformers: relu, gelu, silu, mish and others. A ResNet of "
        "transformers has it after the stem and after each residual block, and keeps relu within a block. Default: "
        "the network's own.",
    )
    init: Literal["pretrained", "random"] = described("pretrained", "Initial weights: pretrained or random.")
    carry_over: CarryOver = described(
        "none",
        "State carried over to the next fold: none, model, or all (also optimizer and scheduler). Both model and all "
        "leak.",
    )
    freeze_backbone: bool = described(
        False,
        "Train the classification head only; everything else behaves as in evaluation, including batch normalization "
        "and dropout.",
    )
    lora: dict | None = described(  # type: ignore[type-arg]
        None,
        "Train low-rank adapters and the head, as JSON: r (rank), lora_alpha, lora_dropout, target_modules and "
        "other fields of peft's LoraConfig (extra peft); {} takes its defaults. The saved model has them merged. "
        "Default: none.",
    )
