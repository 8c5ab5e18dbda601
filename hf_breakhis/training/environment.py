"""The environment of a run in its files, and the checks before a run is resumed or deleted."""

import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from hf_breakhis.files import InputError, write_json, write_text
from hf_breakhis.folders import FolderKind, replace_folder
from hf_breakhis.hardware import device_name, keeps_memory, peak_memory
from hf_breakhis.recipe import Recipe, resolved_fields
from hf_breakhis.run import (
    AUDIT,
    CHECKPOINTS,
    CHECKSUMS,
    COST,
    EXAMPLES,
    EXPLAINED,
    FIGURES,
    FINISHED,
    FOLD_PREFIX,
    HISTORY,
    INDEX,
    INPUTS,
    MEMBER_PREFIX,
    METRICS,
    MODEL,
    PREDICTIONS,
    RECIPE,
    REFIT,
    REPEAT_PREFIX,
    REPORT,
    SCORES,
    TENSORBOARD,
    Run,
)
from hf_breakhis.settings import versions_of
from hf_breakhis.training_arguments import BreakHisTrainingArguments

PACKAGES = (
    "hf-breakhis transformers datasets evaluate accelerate huggingface-hub torch torchvision "
    "scikit-learn numpy pandas pillow safetensors"
).split()
# Settings that are chosen from the hardware unless the recipe sets them.
SETTINGS = (
    "bf16 fp16 tf32 channels_last torch_compile dataloader_num_workers dataloader_prefetch_factor "
    "dataloader_pin_memory"
).split()
# Fields that do not change the result of a run; they may differ when a run is resumed.
FREE_FIELDS = (
    "data_dir cache fold output_dir restart disable_tqdm log_level log_level_replica report_to run_name project "
    "trackio_space_id trackio_bucket_id trackio_static_space_id "
    "log_on_each_node local_rank use_cpu ddp_timeout ddp_backend dataloader_num_workers dataloader_prefetch_factor "
    "dataloader_pin_memory dataloader_persistent_workers num_threads save_total_limit per_device_eval_batch_size "
    "resume_from_checkpoint push_to_hub hub_model_id hub_private_repo hub_revision hub_strategy hub_token"
).split()
# What runs did before these fields existed.
FORMER_VALUES = {
    "normalization": "imagenet", "crop": "none", "interpolation": "bilinear", "loss": "cross_entropy",
    "stain_normalization": "none",
    "mixup": 0.0, "cutmix": 0.0, "train_share": 1.0,
    "train_magnifications": [], "test_magnifications": [], "members": 1, "tta": "none",
}  # fmt: skip


def _is_recipe_of_run(path: Path) -> bool:
    """Return whether `write_recipe` wrote the file; other recipes have no environment."""
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError):
        return False
    if not isinstance(recipe, dict) or not {"output_dir", "dataset", "model_name_or_path"} <= recipe.keys():
        return False
    environment = recipe.get("environment")
    packages = environment.get("packages") if isinstance(environment, dict) else None
    return isinstance(packages, dict) and "hf-breakhis" in packages


_FOLD_NAMES = (
    *(HISTORY, PREDICTIONS, METRICS, CHECKSUMS, "carried.pt", ".lock", "checkpoints/**"),
    *(f"{MODEL}/*.json", f"{MODEL}/*.safetensors", f"{EXAMPLES}/*.png", f"{EXAMPLES}/{INDEX}"),
    *(f"{EXPLAINED}/*.png", f"{EXPLAINED}/{INDEX}", "onnx/model*.onnx", "onnx/export.json"),
    f"{TENSORBOARD}/events.out.tfevents.*",
)
FOLD = FolderKind("fold", (*_FOLD_NAMES, *(f"{MEMBER_PREFIX}[0-9]*/{name}" for name in _FOLD_NAMES)))
_RUN_NAMES = (
    *(*INPUTS, *SCORES, FINISHED, CHECKSUMS, COST, AUDIT, REPORT, ".lock"),
    *(f"{FIGURES}/*.svg", f"{FIGURES}/*.png", "publish/**", "publish-everything/**"),
    *("comparison/comparison.json", "comparison/comparison.html", "comparison/figures/*"),
    *(f"{folder}/{name}" for folder in (f"{FOLD_PREFIX}[0-9]*", REFIT) for name in FOLD.names),
)
RUN = FolderKind(
    "run", (*_RUN_NAMES, *(f"{REPEAT_PREFIX}[0-9]*/{name}" for name in _RUN_NAMES)), RECIPE, _is_recipe_of_run
)


def copy_run(run: Path, folder: Path) -> None:
    """Copy the files of a run, without checkpoints, to a new folder, or replace an earlier copy.

    Raises:
        InputError: `run` is not a run, one folder is within the other, or `folder` contains other files.
    """
    if Run(run).is_imported:
        raise InputError(
            f"--output_dir copies a run that was trained, but {run} has predictions of another program or evaluates a "
            "model. Leave --output_dir out, or copy the folder."
        )
    if not RUN.recognises(run):
        raise InputError(f"{run} is not a run. Give the folder that `train` wrote, for example outputs/c3.")
    source, target = run.resolve(), folder.resolve()
    if source.is_relative_to(target) or target.is_relative_to(source):
        raise InputError(f"--output_dir {folder} is within the run {run}, or contains it. Give another folder.")

    def fill(part: Path) -> None:
        for path in sorted(source.rglob("*")):
            name = path.relative_to(source)
            if path.is_file() and CHECKPOINTS not in name.parts and path.name != ".lock":
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, part / name)

    replace_folder(folder, fill, RUN)


def environment(args: BreakHisTrainingArguments) -> dict[str, Any]:
    """Return versions, commit, command line and hardware."""
    return {
        "command": command_line([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "packages": versions_of(PACKAGES),
        "git_commit": git_commit(),
        "platform": platform.platform(),
        "device": device_name(args.device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "keeps_freed_memory": args.device.type == "cpu" and keeps_memory(),
        "settings": {name: getattr(args, name) for name in SETTINGS},
        "processes": args.world_size,
        "gradient_accumulation_steps": args.gradient_accumulation_steps,
        "per_device_train_batch_size": args.per_device_train_batch_size,
    }


def command_line(words: Sequence[str]) -> str:
    """Return a command as one line without its tokens, since every report shows it."""
    shown = []
    for before, word in zip(["", *words], words, strict=False):
        flag, equals, _ = word.partition("=")
        if equals and flag.startswith("-") and "token" in flag:
            shown.append(f"{flag}=...")
        else:
            shown.append("..." if before.startswith("-") and "token" in before and "=" not in before else word)
    return re.sub(r"hf_\w{8,}", "...", shlex.join(shown))


def git_commit() -> str | None:
    """Return the commit of the checkout of the package, with "+" if files differ; None if it is not a checkout."""
    git, here = shutil.which("git"), Path(__file__).parent
    if git is None:
        return None
    head = subprocess.run([git, "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)  # noqa: S603
    if head.returncode != 0:
        return None
    status = subprocess.run([git, "status", "--porcelain", "."], cwd=here, capture_output=True, text=True, check=False)  # noqa: S603
    return head.stdout.strip() + ("+" if status.stdout.strip() else "")


def write_recipe(run: Path, recipe: Recipe) -> None:
    """Write `recipe.yaml`: all fields but `restart`, so that training from it resumes, then the environment."""
    resolved = {name: value for name, value in resolved_fields(recipe).items() if name != "restart"}
    values = {**resolved, "environment": environment(recipe.training)}
    write_text(run / RECIPE, yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000))


def require_run(run: Path) -> None:
    """Refuse a folder that exists and is not a run, so that its files are neither mixed with a run nor deleted.

    Raises:
        InputError: names the other files.
    """
    if run.exists() and not run.is_dir():
        raise InputError(f"{run} is not a folder. Give another --output_dir.")
    if run.is_dir() and not (run / RECIPE).is_file():
        names = sorted(entry.name for entry in run.iterdir())
        if names:
            raise InputError(
                f"{run} contains {', '.join(names[:3])} and no {RECIPE}, so it is not a run. "
                "Give another --output_dir."
            )
        return
    if run.is_dir() and not RUN.recognises(run):
        raise InputError(f"{run / RECIPE} was not written by a run. Give another --output_dir.")


def check_continues(run: Path, recipe: Recipe) -> None:
    """Refuse to resume a run of another recipe, since its checkpoints would silently override the new values.

    Raises:
        InputError: fields that change the result differ.
    """
    if not Run(run).exists:
        return
    before, now = Run(run).recipe, resolved_fields(recipe)
    changed = changed_fields(before, now)
    if changed:
        if list(changed) == ["bf16"]:  # perhaps chosen from other hardware
            flag = f"--bf16 {str(before.get('bf16')).lower()}"
            raise InputError(f"{run} contains a run of other precision ({changed['bf16']}). Add {flag} to resume it.")
        raise InputError(
            f"{run} contains a run of another recipe ({few_changes(changed)}). Give another --output_dir, "
            "or add --fold all --restart to train all of it again."
        )


def changed_fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields whose change gives another result, each with "NAME BEFORE -> NOW".

    Args:
        before: fields of a recipe, as read from a file.
        now: the resolved fields of a recipe.
    """
    before, now = FORMER_VALUES | dict(before), yaml.safe_load(yaml.safe_dump(dict(now)))
    names = [name for name in {**before, **now} if name not in FREE_FIELDS]
    changed = [name for name in names if before.get(name) != now.get(name)]
    if 1 not in (before.get("repeats"), now.get("repeats")):  # the number of repeats may change
        changed = [name for name in changed if name != "repeats"]
    return {name: f"{name} {before.get(name)!r} -> {now.get(name)!r}" for name in changed}


def few_changes(changed: Mapping[str, str], most: int = 4) -> str:
    """Return the first changed fields in one line, and the number of the others."""
    more = f" and {len(changed) - most} more" if len(changed) > most else ""
    return ", ".join(list(changed.values())[:most]) + more


def add_cost(run: Path, fold: str, numbers: dict[str, float], device: torch.device) -> None:
    """Add the seconds and the memory of one fold to `cost.json`, the only file that differs between equal runs."""
    path = run / COST
    cost = Run(run).cost if path.exists() else {"folds": {}}
    cost["folds"][fold] = {**numbers, "peak_memory_gib": round(peak_memory(device) / 2**30, 3)}
    cost["total_seconds"] = sum(f["train_seconds"] + f["predict_seconds"] for f in cost["folds"].values())
    cost["date"] = datetime.now(UTC).date().isoformat()
    cost["hardware"] = {"device": device_name(device), "threads": torch.get_num_threads()}
    write_json(path, cost)
