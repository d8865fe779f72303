"""Checks the plan of a run once its data are read, before the first step and before the run folder is written to."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint, Timer
from torch.nn.modules.batchnorm import _BatchNorm

from vae_lab.data.protocol import DataModule
from vae_lab.errors import RunError
from vae_lab.training.logs.monitors import why_unvalidated
from vae_lab.training.module import VariationalModule
from vae_lab.training.trainer_parts import callbacks_of


class Plan(NamedTuple):
    """Batches of a run.

    Attributes:
        train: number of examples in each training batch of an epoch, over all processes together.
        validates: True if anything is left to validate on.
        tests: True if anything is left to test on.
    """

    train: list[int]
    validates: bool
    tests: bool


def check_plan(trainer: Trainer, module: VariationalModule, data: DataModule) -> Plan:
    """Returns the plan of a run whose data are read; logs at least once an epoch.

    Raises:
        RunError: for limits that leave nothing to train on, intervals that never end, a schedule without an end, or
            batch normalisation over a single example.
    """
    plan = _plan(trainer, data)
    if trainer.max_epochs != 0:
        _check_length(trainer, module)
        _check_batches(trainer, module, data, plan.train)
        if trainer.is_global_zero and (reason := why_unvalidated(trainer)) and _wants_best(trainer):
            print(f"{reason}: nothing validates, so that no best.ckpt is written and the last weights are tested")
    steps = math.ceil(len(plan.train) / module.optimization.accumulate_grad_batches)
    trainer.log_every_n_steps = max(1, min(trainer.log_every_n_steps, steps))  # type: ignore[attr-defined]
    return plan


def _wants_best(trainer: Any) -> bool:
    """True if a callback keeps the checkpoint that is best in the validation."""
    return any((saver.monitor or "").startswith("val/") for saver in callbacks_of(trainer, ModelCheckpoint))


def _plan(trainer: Any, data: DataModule) -> Plan:
    if data.batch_size % trainer.world_size:
        raise RunError(
            f"data.batch_size={data.batch_size}: must be a multiple of the {trainer.world_size} processes that share "
            "each batch; change it, or trainer.devices"
        )
    sizes = data.train_sizes(trainer.world_size)
    train = sizes[: _limited(trainer, "train", len(sizes))]
    return Plan(train, _evaluates(trainer, data, "val"), _evaluates(trainer, data, "test"))


def _evaluates(trainer: Any, data: DataModule, split: Literal["val", "test"]) -> bool:
    limit = getattr(trainer, f"limit_{split}_batches")
    if isinstance(limit, int) or limit in (0.0, 1.0):  # then the split is not read for it
        return bool(limit > 0)
    return _limited(trainer, split, math.ceil(data.size(split) / data.batch_size)) > 0


def _limited(trainer: Any, split: str, batches: int) -> int:
    """Returns the number of batches that the limit leaves.

    Raises:
        RunError: for a fraction of less than one batch, which Lightning refuses, but late.
    """
    limit = getattr(trainer, f"limit_{split}_batches")
    key = "overfit_batches" if trainer.overfit_batches and split != "test" else f"limit_{split}_batches"
    if isinstance(limit, int):
        return min(limit, batches)
    if limit > 0 and int(limit * batches) == 0 < batches:
        raise RunError(
            f"trainer.{key}={limit}: leaves none of the {batches} batches; give a number of batches, 1 or more"
        )
    return int(limit * batches)


def _check_length(trainer: Any, module: VariationalModule) -> None:
    endless = trainer.max_epochs == -1 and trainer.max_steps == -1
    if endless and module.optimization.scheduler is not None:
        raise RunError("scheduler: needs a run with an end; set trainer.max_epochs or trainer.max_steps")
    timed = bool(callbacks_of(trainer, Timer))  # what Lightning makes of max_time
    if endless and not timed and trainer.is_global_zero:
        print("trainer.max_epochs=-1: trains without end; Ctrl-C saves and stops it")


def _check_batches(trainer: Any, module: VariationalModule, data: DataModule, sizes: list[int]) -> None:
    if not sizes:
        if trainer.limit_train_batches == 0:
            raise RunError("trainer.limit_train_batches=0: nothing to train on; trainer.max_epochs=0 trains nothing")
        number = data.size("train")
        raise RunError(f"data.batch_size={data.batch_size}: no batch is left of {number} training images")
    interval = trainer.val_check_interval
    per_epoch = trainer.check_val_every_n_epoch is not None and trainer.limit_val_batches != 0
    if per_epoch and isinstance(interval, int) and interval > len(sizes):
        raise RunError(f"trainer.val_check_interval={interval}: an epoch has only {len(sizes)} batches")
    if trainer.limit_val_batches != 0 and isinstance(interval, int | float):
        _check_interval(trainer, module.optimization.accumulate_grad_batches, len(sizes))
    normalised = any(isinstance(part, _BatchNorm) for part in module.model.modules())
    alone = [size for size in sizes if size == trainer.world_size]
    if normalised and alone:
        last = sizes[0] > alone[0]
        raise RunError(
            f"data.batch_size={data.batch_size}: leaves {'the last batch' if last else 'each batch'} of an epoch with "
            f"one example{' per process' if trainer.world_size > 1 else ''}, which network.batch_norm=true cannot "
            f"normalise; set {'data.drop_last=true, or ' if last else ''}another data.batch_size"
        )


def _check_interval(trainer: Any, accumulate: int, batches: int) -> None:
    """Refuses an interval that ends within a step, after which nothing validates: Lightning counts batches."""
    interval, per_epoch = trainer.val_check_interval, trainer.check_val_every_n_epoch is not None
    every = interval if isinstance(interval, int) else int(interval * batches)
    if every % accumulate and not (per_epoch and every >= batches):
        raise RunError(
            f"trainer.val_check_interval={interval}: {every} batches, must be a multiple of "
            f"trainer.accumulate_grad_batches={accumulate}, because a run validates between two steps"
        )
    if batches % accumulate and not per_epoch:
        raise RunError(
            f"trainer.check_val_every_n_epoch=null: an epoch of {batches} batches ends with a shorter step of "
            f"trainer.accumulate_grad_batches={accumulate}, so that the count misses intervals; set "
            "trainer.limit_train_batches to a multiple, or give a number of epochs"
        )
