"""Gives the optimizer of a resumed run the state of its checkpoint and the options that are asked for now."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pytorch_lightning import Callback, Trainer
from torch import nn, zeros
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from vae_lab.training.lightning_loop import total_steps
from vae_lab.training.optimization import Optimization, OptimizerFactory
from vae_lab.training.trainer_parts import callbacks_of

Options = Sequence[Mapping[str, Any]]
"""The options of each parameter group."""


def description(trainer: Trainer, optimization: Optimization) -> dict[str, Any]:
    """Returns what a checkpoint says of the optimizer and the schedule, besides their state."""
    steps = int(total_steps(trainer, optimization.accumulate_grad_batches)) if optimization.scheduler else None
    return {"optimizer": _class_name(trainer.optimizers[0]), "schedule_steps": steps}


def _class_name(optimizer: Optimizer) -> str:
    """Returns the full name of the optimizer's class, for the checkpoint."""
    return f"{type(optimizer).__module__}.{type(optimizer).__qualname__}"


def options_of(optimizer: Optimizer) -> Options:
    """Returns the options of each parameter group, such as the learning rate."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


def keep_what_is_asked_for(
    trainer: Trainer, checkpoint: dict[str, Any], optimization: Optimization
) -> Mapping[str, Any]:
    """Removes from a checkpoint the state of what is no longer asked for, before Lightning restores the rest.

    Returns:
        The `description` in the checkpoint, for `bring_up_to_date`.
    """
    checkpoint["lr_schedulers"] = []  # functions of the step: see `bring_up_to_date`
    if reason := why_fresh(optimization.optimizer, checkpoint):
        checkpoint["optimizer_states"] = []
        if trainer.is_global_zero:
            print(f"optimizer: {reason}; it starts with a fresh state")
    return {key: checkpoint[key] for key in ("optimizer", "schedule_steps")}


def drop_absent_callbacks(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Removes from a checkpoint the state of callbacks that the run no longer has; Lightning would warn of each."""
    asked = {callback.state_key for callback in callbacks_of(trainer, Callback)}
    checkpoint["callbacks"] = {key: state for key, state in checkpoint["callbacks"].items() if key in asked}


def why_fresh(make: OptimizerFactory, checkpoint: Mapping[str, Any]) -> str | None:
    """Returns why the optimizer that is asked for cannot use the saved state; None if it can.

    Args:
        make: function that makes the optimizer that is asked for.
        checkpoint: content of the run's checkpoint, migrated.
    """
    (saved,) = checkpoint["optimizer_states"][:1] or [None]
    if not saved or not saved["state"]:
        return None  # nothing is lost
    parameter = nn.Parameter(zeros(1))
    optimizer = make([parameter])
    name = _class_name(optimizer)
    was = checkpoint["optimizer"] or _class_of(saved, optimizer)
    if name != was:
        return f"{name.rpartition('.')[2]} cannot go on with the state of {was.rpartition('.')[2]}"
    lacking = _state_keys(optimizer, parameter) - set().union(*(state.keys() for state in saved["state"].values()))
    return f"the options need {', '.join(sorted(lacking))}, which the checkpoint lacks" if lacking else None


def _class_of(saved: Mapping[str, Any], asked: Optimizer) -> str:
    """Returns the class if a checkpoint does not name it: the one asked for, if its options have the same names."""
    new, old = options_of(asked)[0], saved["param_groups"][0]
    decoupled = "decoupled_weight_decay"  # the one difference between Adam and AdamW
    same = old.keys() - {"params", "initial_lr"} == new.keys() - {"initial_lr"}
    return _class_name(asked) if same and old.get(decoupled) == new.get(decoupled) else "another class"


def _state_keys(optimizer: Optimizer, parameter: nn.Parameter) -> set[str]:
    """Returns the names of what the optimizer keeps for a parameter, found by a step of size 0."""
    parameter.grad = zeros(1)
    try:
        optimizer.step()
    except Exception:  # of another package, which wants more than a gradient
        return set()
    return set(optimizer.state[parameter])


def _schedule_changes(before: int | None, now: float, step: int) -> str | None:
    """Returns a line if the steps so far followed the schedule of a run of another length, else None.

    Args:
        before: steps of the run as planned by then; None: unknown, or there was no schedule.
        now: steps of the run as planned now.
        step: steps so far.
    """
    if before is None or before == now or not step:
        return None
    return f"scheduler: the {step} steps so far followed that of a run of {before} steps, the rest that of {now:.0f}"


def bring_up_to_date(trainer: Trainer, asked: Options, optimization: Optimization, before: Mapping[str, Any]) -> None:
    """Gives a restored optimizer the options that are asked for, and the schedule the run's step.

    Args:
        trainer: with the optimizer as restored from a checkpoint, and the schedule as made for the start of a run.
        asked: the options of the optimizer as made, before it was restored.
        optimization: the optimization that is asked for.
        before: the `description` in the checkpoint.
    """
    optimizer, step = trainer.optimizers[0], trainer.global_step
    constructor = inspect.signature(type(optimizer)).parameters
    restored = options_of(optimizer)
    for group, options in zip(optimizer.param_groups, asked, strict=True):
        # Options that the constructor does not take are state, such as the distance that Prodigy estimates.
        group.update({k: v for k, v in options.items() if k in constructor or k not in optimizer.defaults})
    if optimization.scheduler is not None and step:
        _advance(trainer.lr_scheduler_configs[0].scheduler, step)
        steps = total_steps(trainer, optimization.accumulate_grad_batches)
        line = _schedule_changes(before["schedule_steps"], steps, step)
        if line and trainer.is_global_zero:
            print(line)
    if options_of(optimizer) != restored:
        optimizer.load_state_dict(optimizer.state_dict())  # moves the state where a fused optimizer, say, wants it


def _advance(scheduler: LRScheduler, step: int) -> None:
    with warnings.catch_warnings(action="ignore"):  # that no step of the optimizer came between
        if isinstance(scheduler, LambdaLR):  # a pure function of the step
            scheduler.last_epoch, scheduler._step_count = step - 1, step
            scheduler.step()
        else:
            for _ in range(step):
                scheduler.step()
