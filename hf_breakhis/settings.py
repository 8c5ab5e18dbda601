"""Versions and settings of libraries: those that are changed for a while, and those of the connection to the Hub."""

import gc
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata

from hf_breakhis import __version__
from hf_breakhis.files import InputError, reason_of
from hf_breakhis.hardware import kept_precision

LOGGERS = ("transformers.trainer_utils", "huggingface_hub", "huggingface_hub.utils._http")
RARE = 50_000  # new objects between two garbage collections; by default 700 or 2,000
_depth = 0  # of `frozen_objects`


@contextmanager
def restored_settings() -> Iterator[None]:
    """Restore progress bars, log levels, threads and the precision of float32 at the end, whatever happens inside.

    Whoever calls this package from a notebook or another program finds the libraries as they were.
    """
    import datasets
    import huggingface_hub.utils as hub
    import torch
    from transformers.utils import logging as transformers_logging

    hub_is_silent = hub.are_progress_bars_disabled()
    switches = (
        (transformers_logging.is_progress_bar_enabled(), transformers_logging.enable_progress_bar),
        (datasets.is_progress_bar_enabled(), datasets.enable_progress_bars),
        (not hub_is_silent, hub.enable_progress_bars),
    )
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    threads = torch.get_num_threads()
    try:
        with kept_precision():
            yield
    finally:
        for was_enabled, enable in switches:
            if was_enabled:
                enable()
        if hub_is_silent:
            hub.disable_progress_bars()  # transformers switches those of the Hub on with its own
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        torch.set_num_threads(threads)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let Python collect garbage less often inside.

    Importing torch and transformers makes half a million objects and hardly any garbage, and each collection visits
    many of them.
    """
    before = gc.get_threshold()
    gc.set_threshold(RARE, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def frozen_objects() -> Iterator[None]:
    """Let garbage collections inside skip the objects that exist at the start.

    The Trainer collects garbage several times per fold. Each time Python would visit all objects of the imported
    libraries, which takes a third of a second. The outermost of several makes them collectable again.
    """
    global _depth
    gc.freeze()
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            gc.unfreeze()


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages; that of this one also where it is used from a checkout and not installed."""
    return {name: __version__ if name == "hf-breakhis" else metadata.version(name) for name in packages}


def require_hub_settings() -> None:
    """Check the proxy and the token that huggingface_hub takes from the environment, before it is used.

    Raises:
        InputError: no client can be built with the proxy, or the token cannot be read or sent.
    """
    from huggingface_hub import constants, get_session, get_token

    try:
        get_session()
    except (ImportError, ValueError) as error:  # a proxy of another kind, or one for SOCKS without its package
        raise InputError(
            f"The proxy of the environment cannot be used ({reason_of(error)}). Check HTTPS_PROXY, HTTP_PROXY and "
            "ALL_PROXY."
        ) from error
    try:
        token = get_token()
    except (OSError, UnicodeDecodeError) as error:
        place = constants.HF_TOKEN_PATH
        raise InputError(f"The token in {place} cannot be read. Delete this file, or set HF_HOME.") from error
    if token is not None and not token.isascii():
        raise InputError(
            "The token of the Hub has characters that no token has. Run `hf auth login`, or set HF_TOKEN."
        )
