"""Checkpoints that are whole, and the state that goes on from fold to fold."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_breakhis.files import write_whole

# trainer_state.json is written last; without the others the Trainer would go on with fresh ones and say nothing.
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in `folder` that holds all of its files, or None."""
    found = sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step, reverse=True)
    return next((checkpoint for checkpoint in found if is_whole(checkpoint)), None)


def is_whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint holds all of its files and readable weights."""
    if not all((checkpoint / name).is_file() for name in FILES):
        return False
    try:
        with safe_open(checkpoint / "model.safetensors", framework="pt"):
            return True
    except (SafetensorError, OSError):
        return False


def save_carried(path: Path, trainer: Trainer) -> None:
    """Write the state of optimizer and schedule that the next fold goes on with."""
    parts: dict[str, Any] = {"optimizer": trainer.optimizer, "scheduler": trainer.lr_scheduler}
    state = {name: part.state_dict() for name, part in parts.items()}
    write_whole(path, lambda beside: torch.save(state, beside))


def load_carried(path: Path) -> dict[str, Any]:
    """Read what `save_carried` wrote: tensors and numbers, no code."""
    return torch.load(path, map_location="cpu", weights_only=True)


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
