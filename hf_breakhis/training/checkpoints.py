"""Complete checkpoints, and the state that is carried over from fold to fold."""

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

# If one of these is missing, the Trainer silently resumes with a new one.
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")
ARGUMENTS = "training_args.bin"  # a pickle that is never read, since the recipe has the arguments


class Checksums(TrainerCallback):
    """Write the sha256 of the files of each checkpoint, after all of them."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the checksums once every process has written its files."""
        if args.world_size > 1:
            torch.distributed.barrier()
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            (checkpoint / ARGUMENTS).unlink(missing_ok=True)
            names = sorted(path.name for path in checkpoint.iterdir() if path.is_file() and path.name != CHECKSUMS)
            write_json(checkpoint / CHECKSUMS, {name: _sha256(checkpoint / name) for name in names})


def last_whole_checkpoint(folder: Path, say: Callable[[str], Any]) -> Path | None:
    """Return the newest undamaged checkpoint in `folder`, or None, and delete newer ones.

    If they stayed, the Trainer would delete the next checkpoint as the oldest, since its number is lower.

    Args:
        folder: of the checkpoints of a fold.
        say: called with one line for each damaged checkpoint.
    """
    for checkpoint in sorted(folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=_step, reverse=True):
        damage = damage_of(checkpoint)
        if damage is None:
            return checkpoint
        say(f"warning: {checkpoint} is damaged ({damage}) and was deleted. Resuming from the previous checkpoint.")
        shutil.rmtree(checkpoint)
    return None


def damage_of(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint in a few words; None if it is complete and unchanged."""
    try:
        sums = read_json(checkpoint / CHECKSUMS)
    except InputError:
        return "it is incomplete"
    if not isinstance(sums, dict) or not set(FILES) <= set(sums):
        return f"its {CHECKSUMS} is damaged"
    for name, expected in sums.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if _sha256(path) != expected:
            return f"{name} has changed"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_carried(path: Path, trainer: Trainer) -> None:
    """Write the state of optimizer and scheduler for the next fold."""
    parts: dict[str, Any] = {"optimizer": trainer.optimizer, "scheduler": trainer.lr_scheduler}
    state = {name: part.state_dict() for name, part in parts.items()}
    write_whole(path, lambda part: torch.save(state, part))


def load_carried(path: Path) -> dict[str, Any]:
    """Read the file of `save_carried`: tensors and numbers only, no code."""
    result: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return result


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1
