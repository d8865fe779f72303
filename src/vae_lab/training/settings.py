"""What a Trainer may be set to: kinds of numbers, processes, callbacks."""

from __future__ import annotations

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher
from torch import nn

from vae_lab.errors import RunError

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
"""By Lightning's names. Weights of 16 bits are too coarse for the small steps of an optimizer."""


def check_trainer(trainer: Trainer) -> None:
    """Checks what a Trainer was made for, before any data are read.

    Raises:
        RunError: for a precision that is none of `PRECISIONS`, processes that are forked or spawned from this one,
            Lightning's own scheduler of accumulation, or an interval of validation that is no number of batches.
    """
    if trainer.precision not in PRECISIONS:
        choice = ", ".join(PRECISIONS)
        raise RunError(f"trainer.precision={trainer.precision}: weights of 16 bits are not supported; choose {choice}")
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise RunError("trainer.strategy: processes that are spawned or forked cannot share a run; use trainer=ddp")
    if any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise RunError("callbacks: GradientAccumulationScheduler is not supported; use trainer.accumulate_grad_batches")
    interval = trainer.val_check_interval
    if (isinstance(interval, int) and interval < 1) or (isinstance(interval, float) and not 0 < interval <= 1):
        raise RunError(
            f"trainer.val_check_interval={interval}: must be a number of batches, 1 or more, or a fraction of an epoch "
            "(trainer.limit_val_batches=0 leaves out validation)"
        )


def dtype_of(precision: str, model: nn.Module) -> torch.dtype:
    """Returns the dtype of the pictures that a model computes with under a precision of Lightning's."""
    is_double = precision == "64-true" or any(weight.dtype == torch.float64 for weight in model.parameters())
    return torch.float64 if is_double else torch.float32
