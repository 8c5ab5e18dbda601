"""Which classifier of the paper a run restates, by its fields and not by its name."""

from typing import Any

from hf_breakhis.hub.templates import card_text
from hf_breakhis.recipe import load_recipe
from hf_breakhis.results.paper import default_fields, paper_recipe_of

# How the images are divided. The classifier is still that of the paper, and the text names the difference.
OF_SPLIT = ("split_by", "stratify", "reserve_size", "carry_over")


def paper_words(recipe: dict[str, Any]) -> str:
    """Return what is particular to the paper's classifiers, where the fields of a run are those of one; else nothing.

    Args:
        recipe: every resolved field of the run.
    """
    name = paper_recipe_of(recipe)
    if name is None:
        return ""
    stated = default_fields() | load_recipe(name)
    changed = [
        f"`{field}` is {_shown(recipe.get(field))} instead of {_shown(stated[field])}"
        for field in OF_SPLIT
        if recipe.get(field) != stated[field]
    ]
    words = card_text(f"{name}.md").rstrip()
    if changed:
        words += f"\n\nThis run differs from that recipe in how images are divided: {', '.join(changed)}."
    return words


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
