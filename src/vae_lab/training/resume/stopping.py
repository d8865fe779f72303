"""Finds why a run ends before its last epoch, and if that still holds when it is resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping

from vae_lab.training.trainer_parts import callbacks_of

_KEPT_BY_STOP = {"stopped_epoch": 0, "stopping_reason": 0, "stopping_reason_message": None}
"""State of early stopping that records a stop, as it is without one."""


def monitored_values(trainer: Trainer) -> dict[str, float]:
    """Returns the last value that each early stopping has seen, by the key of its state."""
    return {
        callback.state_key: float(trainer.callback_metrics[callback.monitor])
        for callback in callbacks_of(trainer, EarlyStopping)
        if callback.monitor in trainer.callback_metrics
    }


def settle_early_stopping(trainer: Trainer, checkpoint: Mapping[str, Any]) -> bool:
    """Returns True if early stopping, as it is asked for now, ends the run at once.

    If it does not, the checkpoint is changed as if the run had never been stopped.

    Args:
        trainer: Trainer of the resumed run.
        checkpoint: content of the run's checkpoint, migrated.
    """
    stops = False
    for callback in callbacks_of(trainer, EarlyStopping):
        state = checkpoint["callbacks"].get(callback.state_key)
        if state:
            state["patience"] = callback.patience  # it would come back with the rest
        if state and state.get("stopped_epoch"):
            if _still_stops(callback, state, checkpoint["progress"]["monitored"].get(callback.state_key)):
                stops = True
            else:
                state.update({key: value for key, value in _KEPT_BY_STOP.items() if key in state})
    return stops


def _still_stops(callback: EarlyStopping, state: Mapping[str, Any], value: float | None) -> bool:
    if state["wait_count"] >= callback.patience:
        return True
    if value is None:  # not saved: the format is old
        return False
    if not math.isfinite(value):
        return callback.check_finite
    current, threshold, divergence = torch.tensor(value), callback.stopping_threshold, callback.divergence_threshold
    return bool(
        (threshold is not None and callback.monitor_op(current, threshold))
        or (divergence is not None and callback.monitor_op(-current, -divergence))
    )


def why_nothing_is_left(trainer: Trainer) -> str:
    """Returns why a run that was resumed has ended without a step, naming the key that would let it go on."""
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return f"trainer.max_steps={trainer.max_steps} is reached"
    if trainer.max_epochs not in (None, -1) and trainer.current_epoch >= trainer.max_epochs:
        return f"trainer.max_epochs={trainer.max_epochs} is reached"
    for callback in callbacks_of(trainer, EarlyStopping):
        if callback.stopped_epoch:
            waits = f"{callback.monitor} has not improved for {callback.wait_count} validations"
            return (
                f"early stopping ended the run ({waits}); a larger callbacks.early_stopping.patience than "
                f"{callback.patience}, or callbacks.early_stopping=null, goes on"
            )
    return "trainer.max_time is over" if trainer.should_stop else "there are no batches to train on"
