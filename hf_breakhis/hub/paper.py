"""Which classifier of the paper a run restates, told by its fields and not by its name."""

from dataclasses import MISSING, fields
from typing import Any

from hf_breakhis.hub.templates import card_text
from hf_breakhis.recipe import ARGUMENT_CLASSES, load_recipe

PAPER_RECIPES = ("c1", "c2", "c3")
# A run that differs in one of these is none of the paper's classifiers.
DECIDING = (
    "target", "magnifications", "tumor_types", "num_folds", "test_size", "test_patients", "validation_size",
    "image_size", "augmentation", "model_name_or_path", "model_revision", "model_kwargs", "init", "freeze_backbone",
    "optimizer_name", "optimizer_kwargs", "learning_rate", "weight_decay", "decay_norm_and_bias", "scheduler_name",
    "scheduler_kwargs", "metric_for_best_model", "load_best_model_at_end", "num_train_epochs", "max_steps",
    "batch_size", "max_grad_norm", "class_weights", "sampler", "early_stopping_patience", "label_smoothing_factor",
)  # fmt: skip
# How the images are divided: the classifier is the paper's still, and the words name the difference.
TOLD = ("split_by", "stratify", "reserve_size", "carry_over")


def paper_words(recipe: dict[str, Any]) -> str:
    """Return what is particular to the paper's classifiers, where the fields of a run are those of one; else nothing.

    Args:
        recipe: every resolved field of the run.
    """
    for name in PAPER_RECIPES:
        stated = default_fields() | load_recipe(name)
        if all(recipe.get(field) == stated[field] for field in DECIDING):
            changed = [
                f"`{field}` is {_shown(recipe.get(field))} instead of {_shown(stated[field])}"
                for field in TOLD
                if recipe.get(field) != stated[field]
            ]
            words = card_text(f"{name}.md").rstrip()
            if changed:
                words += f"\n\nThis run differs from that recipe in how images are divided: {', '.join(changed)}."
            return words
    return ""


def default_fields() -> dict[str, Any]:
    """Return what each field is where a recipe does not name it."""
    known = {field.name: field for group in ARGUMENT_CLASSES for field in fields(group)}
    return {
        name: field.default_factory() if field.default_factory is not MISSING else field.default
        for name, field in known.items()
    }


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
