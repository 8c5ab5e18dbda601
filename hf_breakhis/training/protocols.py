"""The leakage study: one recipe under several protocols, to measure their effect on the score."""

import dataclasses
from pathlib import Path
from typing import Literal

from hf_breakhis.files import InputError
from hf_breakhis.recipe import Recipe
from hf_breakhis.training.optim import can_carry_schedule

Carry = Literal["none", "model", "all"]
Level = Literal["image", "patient", "specimen"]
LEVELS: tuple[Level, ...] = ("image", "patient", "specimen")
LENGTHS = (2, 3)  # a model carried over three folds was trained three times as long


def protocols(recipe: Recipe, folder: Path, levels: tuple[Level, ...] = LEVELS) -> dict[str, Recipe]:
    """Return the recipe under every protocol, by name: "image-fresh", "image-carried", "image-2x", "image-3x", ...

    "fresh" trains a new model in each fold; "carried" carries the model over from fold to fold; "2x" and "3x" train
    new models for two and three times the epochs, since a carried model is also trained longer. Every split is
    stratified: otherwise the class proportions of the folds would depend on the level, which lowers scores by specimen
    and looks like leakage. The protocol that equals the recipe keeps the folder of the recipe, so its run is used.

    Args:
        recipe: its `split_by`, `stratify` and `carry_over` are replaced.
        folder: parent folder of the other runs.
        levels: those of `LEVELS` that the source has groups for.

    Raises:
        InputError: the recipe trains only some of its folds, or repeats them.
    """
    data, model, training = recipe.data, recipe.model, recipe.training
    if data.fold != "all":
        raise InputError(f"`fold` is {data.fold}, but a study needs all folds; use --fold all.")
    if data.repeats != 1:
        raise InputError(f"`repeats` is {data.repeats}, but a study trains each protocol once; set repeats to 1.")
    # with a schedule of fixed length only the weights can be carried over
    carried: Carry = "all" if can_carry_schedule(training) else "model"
    carried = model.carry_over if model.carry_over != "none" else carried
    found: dict[str, Recipe] = {}
    for level in levels:
        split = dataclasses.replace(data, split_by=level, stratify=True)
        ways: dict[str, tuple[Carry, int]] = {"fresh": ("none", 1)}
        if data.num_folds > 1:
            ways["carried"] = (carried, 1)
        ways |= {f"{length}x": ("none", length) for length in LENGTHS}
        for way, (carry_over, length) in ways.items():
            name = f"{level}-{way}"
            is_own = (level, True, carry_over, length) == (data.split_by, data.stratify, model.carry_over, 1)
            found[name] = Recipe(
                split,
                dataclasses.replace(model, carry_over=carry_over),
                dataclasses.replace(
                    training,
                    num_train_epochs=length * training.num_train_epochs,
                    output_dir=training.output_dir if is_own else str(folder / name),
                ),
            )
    return found
