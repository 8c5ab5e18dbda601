"""Fields of a recipe that describe the images, the split and the network; imports no library."""

from dataclasses import dataclass, field
from typing import Any, Literal

from hf_breakhis.files import InputError

MAGNIFICATIONS = ("40X", "100X", "200X", "400X")
OFFICIAL_FOLDS = 5


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
    """Where the images come from and how they are divided into folds."""

    dataset: str = described("breakhis", "A name in the table of sources (data/sources/table.py), or a Hub id.")
    data_dir: str | None = described(
        None, "BreaKHis_v1.tar.gz, or a folder from the parent of BreaKHis_v1 to breast/."
    )
    dataset_revision: str | None = described(None, "Commit of a Hub data set.")
    twin_kwargs: dict | None = described(None, "Settings of the twin as JSON: seed, scale, width, class_signal, ...")
    target: Literal["malignancy", "tumor_type"] = described("malignancy", "Two classes, or the eight tumour types.")
    magnifications: list[str] = described(list(MAGNIFICATIONS), "Subset of 40X 100X 200X 400X.")
    tumor_types: list[str] = described(
        [], "Subset of A F PT TA DC LC MC PC, in the order of the classes; none named: all."
    )
    positive_class: str | None = described(
        None, "Class that sensitivity is about, of two (default: malignant, else guessed from the names)."
    )
    split_by: Literal["image", "patient", "specimen", "official", "folders"] = described(
        "specimen",
        "What may not straddle a split; image leaks; official is the authors' five hold-outs; "
        "folders is the one hold-out that train/ and test/ in the data suggest, which may leak.",
    )
    num_folds: int = described(5, "Folds; 1 is a hold-out of test_size.")
    test_size: float = described(0.2, "Share held out when num_folds is 1.")
    test_patients: list[str] = described(
        [], "Slide folders to hold out, such as SOB_M_DC-14-2523; num_folds has to be 1."
    )
    repeats: int = described(1, "The whole again with the next split and initial seeds.")
    reserve_size: float = described(0.0, "Share set aside before anything else and reported apart.")
    validation_size: float = described(
        0.0, "Share of the training groups used to watch training and choose checkpoints."
    )
    stratify: bool = described(True, "Keep the shares of the classes in every part.")
    split_seed: int = described(42, "Seed of the split.")
    fold: str = described("all", "all, one number from 0, or refit (train on everything).")
    image_size: int = described(224, "Side in pixels of the square that the whole frame is resized to.")
    cache: bool = described(
        True, "Decode the images once, into a file of pixels at image_size; false: each time anew."
    )
    augmentation: str = described("none", "A name in the table of augmentations (data/pixels/transforms.py).")

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        wrong = [name for name in self.magnifications if name not in MAGNIFICATIONS]
        require(not wrong, f"`magnifications` has {wrong}; choose from {list(MAGNIFICATIONS)}.")
        require(bool(self.magnifications), f"`magnifications` is empty; choose from {list(MAGNIFICATIONS)}.")
        for name in ("magnifications", "tumor_types", "test_patients"):
            value = getattr(self, name)
            require(len(set(value)) == len(value), f"`{name}` names one twice.")
        self._check_test_patients()
        for name, lowest in {"num_folds": 1, "repeats": 1, "image_size": 8, "split_seed": 0}.items():
            value = getattr(self, name)
            require(value >= lowest, f"`{name}` is {value}, but has to be at least {lowest}.")
        require(0 < self.test_size < 1, f"`test_size` is {self.test_size}, but a share lies between 0 and 1.")
        for name in ("reserve_size", "validation_size"):
            share = getattr(self, name)
            require(0 <= share < 1, f"`{name}` is {share}, but a share is at least 0 and below 1.")
        if self.split_by == "official":
            allowed = f"`num_folds` is {self.num_folds}, but the official split has {OFFICIAL_FOLDS} folds of its own."
            require(self.num_folds == OFFICIAL_FOLDS, allowed)
            require(not self.reserve_size, "`reserve_size` does not go with split_by=official; set it to 0.")
        if self.split_by == "folders":
            fixed = "the folders train/ and test/ are one hold-out"
            require(self.num_folds == 1, f"`num_folds` is {self.num_folds}, but {fixed}; set num_folds to 1.")
            for name in ("reserve_size", "validation_size"):
                require(not getattr(self, name), f"`{name}` does not go with split_by=folders: {fixed}; set it to 0.")
        if self.fold not in ("all", "refit"):
            number = int(self.fold) if self.fold.isdecimal() else -1
            allowed = (
                f"`fold` is {self.fold}, but num_folds={self.num_folds} allows all, refit or 0..{self.num_folds - 1}."
            )
            require(0 <= number < self.num_folds, allowed)
        require(self.fold == "all" or self.repeats == 1, f"`fold` is {self.fold}; with `repeats` it has to be all.")

    def _check_test_patients(self) -> None:
        """Refuse named patients where the split is not one hold-out of patients."""
        if not self.test_patients:
            return
        told = "`test_patients` names the patients to hold out: "
        require(self.num_folds == 1, f"{told}`num_folds` is {self.num_folds}, but has to be 1.")
        grouped = self.split_by in ("patient", "specimen")
        require(grouped, f"{told}`split_by` is {self.split_by}, but has to be patient or specimen.")


@dataclass
class ModelArguments:
    """Which network is trained, and how it starts."""

    model_name_or_path: str = described("microsoft/resnet-50", "Hub id or local folder of the backbone.")
    model_revision: str = described("main", "Commit of the backbone on the Hub.")
    model_kwargs: dict | None = described(None, "Overrides of the model's configuration as JSON, for small networks.")
    init: Literal["pretrained", "random"] = described(
        "pretrained", "Start from published weights, or from random ones."
    )
    carry_over: Literal["none", "model", "all"] = described(
        "none", "What goes on from fold to fold: nothing, the weights, or optimizer and schedule too; both leak."
    )
    freeze_backbone: bool = described(False, "Train the classification head only; batch norm keeps its statistics.")
