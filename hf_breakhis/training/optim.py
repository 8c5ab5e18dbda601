"""Optimizers and learning rate schedules by name; lengths of schedules are in epochs."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR
from transformers import (
    SchedulerType,
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from hf_breakhis.files import InputError, nearest, reason_of
from hf_breakhis.training_arguments import BreakHisTrainingArguments

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adagrad": Adagrad,
    "adam": Adam,
    "adamax": Adamax,
    "adamw": AdamW,
    "nadam": NAdam,
    "radam": RAdam,
    "rmsprop": RMSprop,
    "sgd": SGD,
}


@dataclass(frozen=True)
class Clock:
    """Length of training of a fold: the Trainer steps a schedule once per optimizer update, recipes count epochs.

    Attributes:
        num_steps: optimizer updates of the whole fold.
        steps_per_epoch: optimizer updates of one epoch.
        mode: "min" if the watched metric is a loss, "max" if it is a score; for the plateau schedule.
    """

    num_steps: int
    steps_per_epoch: int
    mode: Literal["min", "max"] = "min"

    def updates(self, epochs: float) -> int:
        """Convert a length in epochs to optimizer updates."""
        return round(epochs * self.steps_per_epoch)


def constant(optimizer: Optimizer, clock: Clock, warmup: float = 0) -> LRScheduler:
    """Keep the learning rate constant, after a linear warmup of `warmup` epochs."""
    result: LRScheduler = get_constant_schedule_with_warmup(optimizer, clock.updates(warmup))
    return result


def linear(optimizer: Optimizer, clock: Clock, warmup: float = 0) -> LRScheduler:
    """Decrease linearly to zero, after a linear warmup of `warmup` epochs."""
    result: LRScheduler = get_linear_schedule_with_warmup(optimizer, clock.updates(warmup), clock.num_steps)
    return result


def cosine(optimizer: Optimizer, clock: Clock, warmup: float = 0) -> LRScheduler:
    """Decrease along half a cosine to zero, after a linear warmup of `warmup` epochs."""
    result: LRScheduler = get_cosine_schedule_with_warmup(optimizer, clock.updates(warmup), clock.num_steps)
    return result


def one_cycle(optimizer: Optimizer, clock: Clock, pct_start: float = 0.3, div_factor: float = 25.0) -> LRScheduler:
    """Increase to the learning rate of the recipe, then decrease, over the whole fold (Smith, arXiv 1803.09820)."""
    peak = [group["lr"] for group in optimizer.param_groups]
    cycles = "momentum" in optimizer.defaults or "betas" in optimizer.defaults
    return OneCycleLR(
        optimizer, peak, clock.num_steps, pct_start=pct_start, div_factor=div_factor, cycle_momentum=cycles
    )


def step(optimizer: Optimizer, clock: Clock, step_size: float = 3, gamma: float = 0.1) -> LRScheduler:
    """Multiply the learning rate by `gamma` after every `step_size` epochs."""
    if step_size <= 0:
        raise ValueError(f"step_size is {step_size}, but has to be above 0")
    return StepLR(optimizer, max(1, clock.updates(step_size)), gamma)


def plateau(
    optimizer: Optimizer,
    clock: Clock,
    patience: int = 10,
    factor: float = 0.1,
    threshold: float = 1e-4,
    min_lr: float = 0,
) -> ReduceLROnPlateau:
    """Multiply the learning rate by `factor` after more than `patience` evaluations without improvement."""
    return ReduceLROnPlateau(
        optimizer, clock.mode, factor=factor, patience=patience, threshold=threshold, min_lr=min_lr
    )


SCHEDULERS: dict[str, Callable[..., LRScheduler]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "one_cycle": one_cycle,
    "plateau": plateau,
    "step": step,
}
# Schedules of fixed length, which cannot be carried over to the next fold.
FIXED_LENGTH = ("cosine", "linear", "one_cycle")


def lookup(table: Mapping[str, Any], name: str, what: str) -> Any:
    """Return `table[name]`.

    Raises:
        InputError: the name is unknown; the message lists the names.
    """
    if name not in table:
        raise InputError(f"Unknown {what} `{name}`.{nearest(name, list(table))} Choose from {', '.join(table)}.")
    return table[name]


def can_carry_schedule(args: BreakHisTrainingArguments) -> bool:
    """Return whether the schedule can continue in the next fold."""
    return args.scheduler_name is not None and args.scheduler_name not in FIXED_LENGTH


def check_optim(args: BreakHisTrainingArguments, carry_over: str = "none") -> None:
    """Refuse unknown names and arguments before any data is read.

    Raises:
        InputError: an optimizer, a schedule or one of their arguments is unknown, or the schedule cannot be carried.
    """
    if carry_over == "all" and not can_carry_schedule(args):
        able = ", ".join(name for name in SCHEDULERS if name not in FIXED_LENGTH)
        name = args.scheduler_name or SchedulerType(args.lr_scheduler_type).value
        raise InputError(f"`carry_over` is all, but {name} has a fixed length; set `scheduler_name` to one of {able}.")
    if args.optimizer_name is not None:
        optimizer_cls = lookup(OPTIMIZERS, args.optimizer_name, "optimizer")
        # Learning rate and weight decay are fields of their own.
        _check_kwargs(
            "optimizer", args.optimizer_name, optimizer_cls, args.optimizer_kwargs, {"params", "lr", "weight_decay"}
        )
    if args.scheduler_name is not None:
        build = lookup(SCHEDULERS, args.scheduler_name, "schedule")
        _check_kwargs("scheduler", args.scheduler_name, build, args.scheduler_kwargs, {"optimizer", "clock"})
    _try_out(args)


def _try_out(args: BreakHisTrainingArguments) -> None:
    # Optimizer and schedule for a single parameter refuse the same values as for a network, before data are read.
    parameter = nn.Parameter(torch.zeros(1))
    optimizer: Optimizer = SGD([parameter], lr=args.learning_rate)
    what, given = "optimizer_kwargs", args.optimizer_kwargs
    try:
        if args.optimizer_name is not None:
            optimizer_cls = OPTIMIZERS[args.optimizer_name]
            optimizer = optimizer_cls([parameter], lr=args.learning_rate, **(given or {}))  # type: ignore[call-arg]
        what, given = "scheduler_kwargs", args.scheduler_kwargs
        if args.scheduler_name is not None:
            SCHEDULERS[args.scheduler_name](optimizer, Clock(100, 10), **(given or {}))
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise InputError(f"`{what}` is {given}, which is not valid ({reason_of(error)}). Change it.") from error


def _check_kwargs(
    what: str, name: str, build: Callable[..., Any], kwargs: dict[str, Any] | None, taken: set[str]
) -> None:
    allowed = [key for key in inspect.signature(build).parameters if key not in taken]
    for key in kwargs or {}:
        if key not in allowed:
            hint = nearest(key, allowed)
            raise InputError(
                f"`{what}_kwargs` has `{key}`, which {name} does not accept.{hint} Choose from {', '.join(allowed)}."
            )
