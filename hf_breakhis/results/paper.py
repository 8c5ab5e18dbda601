"""The published numbers: Table I here, II to VI from `papers/`, of the paper that the recipes c1, c2 and c3 restate.

N. Dhariwal and X. Zhang, "Pixels to Prognosis: ResNet50 Analysis for Predicting Benign vs. Malignant Breast Cancer
from Biopsy Scans". Class 0 is benign, class 1 malignant; folds are counted from 1 there and from 0 here.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Any

from hf_breakhis.results.published import table
from hf_breakhis.yaml_files import find_yaml, packed_files, read_yaml

MEASURES = table.SCORES
PAPER = "pixels-to-prognosis"
DATA = (
    "The supports of the paper's tables add up to 6,375 images, 85 % of 7,500, where BreakHis has 7,909: consistent "
    "with another data set, RCL-7500, and with a split by image that puts patients on both sides. The printed numbers "
    f"have no intervals. `hf-breakhis check {PAPER}` compares them with each other."
)
COMMON = {"weight_decay": 0.01, "dataloader_num_workers": 2, "image_size": 224}  # of all three, Table I


PAPER_RECIPES = ("c1", "c2", "c3")
# A run that differs in one of these is none of the paper's classifiers.
DECIDING = (
    "target", "positive_class", "magnifications", "tumor_types",
    "num_folds", "test_size", "test_patients", "validation_size",
    "image_size", "crop", "interpolation", "stain_normalization", "augmentation",
    "model_name_or_path", "model_revision", "model_kwargs", "init", "freeze_backbone", "lora",
    "optimizer_name", "optimizer_kwargs", "learning_rate", "weight_decay", "decay_norm_and_bias", "scheduler_name",
    "scheduler_kwargs", "metric_for_best_model", "load_best_model_at_end", "num_train_epochs", "max_steps",
    "batch_size", "max_grad_norm", "class_weights", "sampler", "early_stopping_patience", "label_smoothing_factor",
)  # fmt: skip


@dataclass(frozen=True)
class PaperFold:
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
class PaperClassifier:
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
    folds: tuple[PaperFold, ...]
    averages: dict[str, float]
    weighted: dict[str, float] | None = None


def _printed(name: str) -> tuple[tuple[PaperFold, ...], dict[str, float], dict[str, float] | None]:
    """Return folds, averages and weighted averages of a classifier; a single fold is its own average."""
    found = next(one for one in table.read_paper(packed_files("papers")[PAPER]).tables if one.name == name)

    def values(row: dict[str, table.Printed]) -> dict[str, float]:
        return {key: printed.value for key, printed in row.items()}

    def row(fold: table.PublishedFold, label: str) -> tuple[float, float, float, int]:
        precision, recall, f1 = (fold.classes[label][key].value for key in MEASURES)
        return precision, recall, f1, fold.supports[label]

    folds = tuple(
        PaperFold(row(fold, "benign"), row(fold, "malignant"), fold.scores["accuracy"].value) for fold in found.folds
    )
    if found.averages is not None:
        return folds, values(found.averages.means[table.UNNAMED] | found.averages.scores), None
    (only,) = found.folds
    return folds, values(only.means["macro"] | only.scores), values(only.means["weighted"])


CLASSIFIERS = {
    "c1": PaperClassifier(
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
        *_printed("Classifier 1"),
    ),
    "c2": PaperClassifier(
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
        *_printed("Classifier 2"),
    ),
    "c3": PaperClassifier(
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
        *_printed("Classifier 3"),
    ),
}


def classifier_of(recipe: dict[str, Any]) -> PaperClassifier | None:
    """Return the classifier that a recipe restates, whatever its data and split; None where it restates none."""
    name = paper_recipe_of(recipe)
    return None if name is None else CLASSIFIERS[name]


def paper_recipe_of(recipe: dict[str, Any]) -> str | None:
    """Return which of c1, c2 and c3 has the same value in every field that makes a classifier what it is.

    Args:
        recipe: the fields of a run; one that is not named has its default.
    """
    for name in PAPER_RECIPES:
        stated = read_yaml(find_yaml(name, "recipe"), "a recipe is YAML like recipes/c3.yaml")
        if any(field in recipe and recipe[field] != stated[field] for field in DECIDING if field in stated):
            continue  # before transformers is imported, for the defaults
        defaults = default_fields()
        whole, stated = defaults | recipe, defaults | stated
        if all(whole[field] == stated[field] for field in DECIDING):
            return name
    return None


def default_fields() -> dict[str, Any]:
    """Return what each field is where a recipe does not name it."""
    from hf_breakhis.recipe import ARGUMENT_CLASSES

    known = {field.name: field for group in ARGUMENT_CLASSES for field in fields(group)}
    return {
        name: field.default_factory() if field.default_factory is not MISSING else field.default
        for name, field in known.items()
    }
