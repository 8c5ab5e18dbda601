"""The published numbers: Tables I to VI of the paper whose classifiers the recipes c1, c2 and c3 restate.

N. Dhariwal and X. Zhang, "Pixels to Prognosis: ResNet50 Analysis for Predicting Benign vs. Malignant Breast Cancer
from Biopsy Scans". Class 0 is benign, class 1 malignant; folds are counted from 1 there and from 0 here.
"""

from dataclasses import dataclass
from typing import Any

MEASURES = ("precision", "recall", "f1")
DATA = (
    "The supports of the paper's tables add up to 6,375 images, 85 % of 7,500, where BreakHis has 7,909: consistent "
    "with another data set, RCL-7500, and with a split by image that puts patients on both sides. The printed numbers "
    "have no intervals."
)
COMMON = {"weight_decay": 0.01, "dataloader_num_workers": 2, "image_size": 224}  # of all three, Table I


@dataclass(frozen=True)
class Fold:
    """One fold as printed.

    Attributes:
        benign: precision, recall, F1 and support.
        malignant: the same.
        accuracy: of the fold.
    """

    benign: tuple[float, float, float, int]
    malignant: tuple[float, float, float, int]
    accuracy: float

    def rows(self) -> dict[str, dict[str, float]]:
        """Return the classes as an image report names them."""
        both = {"benign": self.benign, "malignant": self.malignant}
        return {name: dict(zip((*MEASURES, "support"), values, strict=True)) for name, values in both.items()}


@dataclass(frozen=True)
class Classifier:
    """A classifier of the paper.

    Attributes:
        name: as the paper calls it.
        settings: Table I, by the fields of a recipe; "K-Folds N/A" is one hold-out.
        folds: Tables II, III and V.
        averages: means over classes and folds, Tables II (its macro averages), IV and VI.
        weighted: Table II's averages weighted by support; the others print none.
    """

    name: str
    settings: dict[str, Any]
    folds: tuple[Fold, ...]
    averages: dict[str, float]
    weighted: dict[str, float] | None = None


CLASSIFIERS = {
    "c1": Classifier(
        "Classifier 1",
        {
            **COMMON,
            "batch_size": 32,
            "learning_rate": 0.005,
            "num_train_epochs": 5,
            "optimizer_name": "sgd",
            "momentum": 0.9,
            "scheduler_name": "step",
            "step_size": 3,
            "gamma": 0.1,
            "num_folds": 1,
        },
        (Fold((0.85, 0.97, 0.91, 492), (0.96, 0.82, 0.88, 465), 0.90),),
        {"precision": 0.91, "recall": 0.89, "f1": 0.89, "accuracy": 0.90},
        {"precision": 0.90, "recall": 0.90, "f1": 0.89},
    ),
    "c2": Classifier(
        "Classifier 2",
        {
            **COMMON,
            "batch_size": 64,
            "learning_rate": 0.01,
            "num_train_epochs": 3,
            "optimizer_name": "sgd",
            "momentum": 0.9,
            "scheduler_name": "step",
            "step_size": 3,
            "gamma": 0.1,
            "num_folds": 3,
        },
        (
            Fold((0.93, 0.64, 0.75, 1055), (0.73, 0.95, 0.82, 1070), 0.79),
            Fold((0.91, 0.97, 0.94, 1053), (0.97, 0.90, 0.93, 1072), 0.93),
            Fold((0.90, 0.97, 0.93, 1060), (0.96, 0.90, 0.93, 1065), 0.93),
        ),
        {"precision": 0.90, "recall": 0.89, "f1": 0.88, "accuracy": 0.89},
    ),
    "c3": Classifier(
        "Classifier 3",
        {
            **COMMON,
            "batch_size": 64,
            "learning_rate": 0.0075,
            "num_train_epochs": 3,
            "optimizer_name": "adamw",
            "momentum": 0.92,
            "scheduler_name": "plateau",
            "step_size": 3,
            "gamma": 0.1,
            "num_folds": 3,
        },
        (
            Fold((0.86, 0.69, 0.76, 1063), (0.74, 0.89, 0.81, 1062), 0.79),
            Fold((0.99, 0.87, 0.93, 1061), (0.88, 0.99, 0.93, 1064), 0.93),
            Fold((0.96, 0.99, 0.97, 1044), (0.99, 0.96, 0.97, 1081), 0.97),
        ),
        {"precision": 0.90, "recall": 0.90, "f1": 0.90, "accuracy": 0.90},
    ),
}


def classifier_of(recipe: dict[str, Any]) -> Classifier | None:
    """Return the classifier of which a recipe has optimizer, rate, batch and epochs, whatever its data and split."""
    names = ("optimizer_name", "learning_rate", "batch_size", "num_train_epochs")
    for classifier in CLASSIFIERS.values():
        if all(recipe.get(name) == classifier.settings[name] for name in names):
            return classifier
    return None
