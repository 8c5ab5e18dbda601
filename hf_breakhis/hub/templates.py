"""The texts of cards: in `model_cards/` of a checkout, inside the package in a wheel."""

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template

from hf_breakhis.files import InputError


def card_text(name: str) -> str:
    """Return a file of `model_cards/`.

    Raises:
        InputError: it is not there.
    """
    packed = files("hf_breakhis") / "model_cards" / name
    if packed.is_file():
        return packed.read_text(encoding="utf-8")
    checkout = Path(__file__).parents[2] / "model_cards" / name
    if checkout.is_file():
        return checkout.read_text(encoding="utf-8")
    raise InputError(f"The text model_cards/{name} is not installed; install hf_breakhis again.")


@lru_cache
def markdown_template(name: str) -> Template:
    """Return a Markdown template of `model_cards/`, in which a value that is not given is an error.

    Raises:
        InputError: it is not there.
    """
    markdown = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined)  # noqa: S701
    return markdown.from_string(card_text(name))
