"""Reads the parts of a Trainer, whose attributes Lightning leaves without types."""

from __future__ import annotations

from typing import Any, TypeVar

from pytorch_lightning import Callback, LightningModule, Trainer

T = TypeVar("T", bound=Callback)


def all_callbacks(trainer: Any) -> list[Callback]:
    """Returns the list of callbacks itself, in the order in which they are called."""
    callbacks: list[Callback] = trainer.callbacks
    return callbacks


def callbacks_of(trainer: Trainer, kind: type[T]) -> list[T]:
    """Returns the callbacks of a kind, in the order in which they are called."""
    return [callback for callback in all_callbacks(trainer) if isinstance(callback, kind)]


def first_callback(trainer: Trainer, kind: type[T]) -> T | None:
    """Returns the first callback of a kind, None if there is none."""
    return next(iter(callbacks_of(trainer, kind)), None)


def has_trainer(module: LightningModule) -> bool:
    """True for a module that a Trainer works on; `load_from_checkpoint` reads the weights of one that has none."""
    try:
        return module.trainer is not None
    except RuntimeError:
        return False


def datamodule_of(trainer: Any) -> Any:
    """Returns the data module that the Trainer runs on, None if it was given loaders."""
    return trainer.datamodule


def log_interval(trainer: Any) -> int:
    """Returns the number of optimizer steps between two points of a curve; 0: nothing is logged."""
    return int(trainer.log_every_n_steps)


def is_trial(trainer: Any) -> bool:
    """True if the Trainer takes a few steps to try out a run, of which nothing is kept (``fast_dev_run``)."""
    return bool(trainer.fast_dev_run)
