"""Checkpoints that are whole, and the state that goes on from fold to fold."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_breakhis.files import InputError, read_json, write_json, write_whole
from hf_breakhis.run import CHECKSUMS

# Without one of these the Trainer would go on with a fresh one and say nothing.
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")
ARGUMENTS = "training_args.bin"  # a pickle that nobody reads; the recipe has the arguments


class Checksums(TrainerCallback):
    """Seal each checkpoint with the sha256 of its files, written last."""

    def on_save(self, args, state, control, **kwargs: Any) -> None:
        """Write the checksums when every process has written its part."""
        if args.world_size > 1:
            torch.distributed.barrier()
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            (checkpoint / ARGUMENTS).unlink(missing_ok=True)
            names = sorted(path.name for path in checkpoint.iterdir() if path.is_file() and path.name != CHECKSUMS)
            write_json(checkpoint / CHECKSUMS, {name: _sha256(checkpoint / name) for name in names})


def last_whole_checkpoint(folder: Path, say: Callable[[str], Any]) -> Path | None:
    """Return the newest checkpoint in `folder` that is as it was written, or None; newer ones are deleted.

    Left where they are, their numbers would make the Trainer take the next one written for the oldest.

    Args:
        folder: of a fold's checkpoints.
        say: is told of each damaged one.
    """
    for checkpoint in sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step, reverse=True):
        damage = damage_of(checkpoint)
        if damage is None:
            return checkpoint
        say(f"warning: {checkpoint} is deleted: {damage}; going on from the one before.")
        shutil.rmtree(checkpoint)
    return None


def damage_of(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint in a few words; None when it is whole."""
    try:
        sums = read_json(checkpoint / CHECKSUMS)
    except InputError:
        return "it was not written to the end"
    if not isinstance(sums, dict) or not set(FILES) <= set(sums):
        return f"its {CHECKSUMS} is damaged"
    for name, expected in sums.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if _sha256(path) != expected:
            return f"{name} is not as it was written"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
