"""The texts of cards: in `model_cards/` of a checkout, inside the package in a wheel."""

from importlib.resources import files
from pathlib import Path

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
