"""How much huggingface_hub says while it fetches and pushes."""

import sys

from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, logging


def quiet_hub() -> None:
    """Leave out warnings of single attempts, since a fault is told once, and bars where nobody watches."""
    logging.set_verbosity_error()
    # A user who sets the variable to 0 asks for bars in any case.
    if not sys.stderr.isatty() and constants.HF_HUB_DISABLE_PROGRESS_BARS is not False:
        disable_progress_bars()
