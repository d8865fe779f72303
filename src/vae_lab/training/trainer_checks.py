"""Checks the settings of a Trainer: kinds of numbers, processes, callbacks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    Callback,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn

from vae_lab.errors import RunError
from vae_lab.training.lightning_loop import starts_processes
from vae_lab.training.trainer_parts import callbacks_of

_PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
"""Precisions by Lightning's names; weights of 16 bits are too coarse for the small steps of an optimizer."""

_UNSUPPORTED: dict[type[Callback], str] = {
    BaseFinetuning: "init_from starts from the weights of another run",
    BatchSizeFinder: "set data.batch_size",
    GradientAccumulationScheduler: "use trainer.accumulate_grad_batches",
    LearningRateFinder: "set optimizer.lr, or try several values with -m",
    StochasticWeightAveraging: "use average=0.999, or Lightning's EMAWeightAveraging or WeightAveraging",
}
"""Lightning's callbacks that would change the run behind its config, and what to do instead."""

_UNNAMED = {
    "accelerator": "accelerator|gpu backend|torch_xla|MPS",
    "max_time": "Timer",
    "devices": "`devices`|requested gpu",
    "strategy": "strategy",
}
"""Patterns of Lightning's errors that name no key of its Trainer, by the key that they are about."""

_REMEDIES = {
    "accelerator": "use trainer.accelerator=auto, or cpu",
    "devices": "give a number of processes, 1 or more",
    "max_time": "give days, hours, minutes and seconds, such as 00:02:00:00, or null",
}
"""Remedies by key of the Trainer."""


def naming_the_key(reason: str, settings: Mapping[str, Any]) -> str:
    """Returns why a Trainer cannot be made, as ``trainer.KEY=VALUE: REASON; REMEDY``.

    Args:
        reason: message of Lightning's.
        settings: arguments that the Trainer was to be made with.
    """
    about = (key for key, words in _UNNAMED.items() if re.search(words, reason))
    key = next((key for key in settings if re.search(rf"\b{key}\b", reason)), None)
    key = next(about, key)
    if key is None or key not in settings:
        return f"trainer: {reason}"
    value = settings[key]
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    remedy = f"; {_REMEDIES[key]}" if key in _REMEDIES else ""
    return f"trainer.{key}={shown}: {reason.rstrip('.!')}{remedy}"


def check_trainer(trainer: Trainer) -> None:
    """Checks the settings of a Trainer, before any data are read.

    Raises:
        RunError: for a precision that is none of `_PRECISIONS`, processes that are forked or spawned from this one,
            `_UNSUPPORTED` callbacks, averages of sharded weights, a second writer of last.ckpt, an interval of
            validation that is not a number of batches, a least number of epochs or steps above the largest, no time at
            all, or several nodes of which nothing says which one this is.
    """
    if trainer.precision not in _PRECISIONS:
        choice = ", ".join(_PRECISIONS)
        raise RunError(f"trainer.precision={trainer.precision}: weights of 16 bits are not supported; choose {choice}")
    if starts_processes(trainer):
        raise RunError("trainer.strategy: processes that are spawned or forked cannot share a run; use trainer=ddp")
    refuse_callbacks(trainer)
    if callbacks_of(trainer, WeightAveraging) and isinstance(trainer.strategy, ModelParallelStrategy):
        raise RunError("callbacks: WeightAveraging cannot average sharded weights; use trainer=ddp")
    if any(saver.save_last for saver in callbacks_of(trainer, ModelCheckpoint)):
        raise RunError(
            "callbacks: ModelCheckpoint with save_last=true would write last.ckpt within an epoch, from which a run "
            "does not go on exactly; leave save_last out, because callbacks.last_checkpoint writes last.ckpt"
        )
    _check_nodes(trainer)
    if any(timer.time_remaining() == 0 for timer in callbacks_of(trainer, Timer)):
        raise RunError(f"trainer.max_time=00:00:00:00: leaves no time to train; {_REMEDIES['max_time']}")
    for unit in ("epochs", "steps"):
        least, most = getattr(trainer, f"min_{unit}"), getattr(trainer, f"max_{unit}")
        if least is not None and most not in (None, -1) and least > most:
            raise RunError(f"trainer.min_{unit}={least}: more than trainer.max_{unit}={most}, which ends the run first")
    interval = trainer.val_check_interval
    if (isinstance(interval, int) and interval < 1) or (isinstance(interval, float) and not 0 < interval <= 1):
        raise RunError(
            f"trainer.val_check_interval={interval}: must be a number of batches, 1 or more, or a fraction of an epoch "
            "(trainer.limit_val_batches=0 leaves out validation)"
        )


def refuse_callbacks(trainer: Trainer) -> None:
    """Raises RunError for an `_UNSUPPORTED` callback."""
    for kind, remedy in _UNSUPPORTED.items():
        if callbacks_of(trainer, kind):
            raise RunError(f"callbacks: {kind.__name__} is not supported; {remedy}")


def _check_nodes(trainer: Trainer) -> None:
    """Raises RunError for several nodes where this process would wait for the others without end."""
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.num_nodes < 2 or not isinstance(environment, LightningEnvironment):
        return
    if not {"MASTER_ADDR", "NODE_RANK"} <= set(os.environ):
        raise RunError(
            f"trainer.num_nodes={trainer.num_nodes}: nothing has started the other nodes; start the command on each of "
            "them by srun or torchrun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK there"
        )


def dtype_of(precision: str, model: nn.Module) -> torch.dtype:
    """Returns the dtype of the pictures that a model computes with under a precision of Lightning's."""
    is_double = precision == "64-true" or any(weight.dtype == torch.float64 for weight in model.parameters())
    return torch.float64 if is_double else torch.float32
