"""Averaged weights (Lightning's `WeightAveraging` and `EMAWeightAveraging`): validated, saved and tested alike."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.strategies import ModelParallelStrategy

from vae_lab.errors import RunError
from vae_lab.training.callbacks import LastCheckpoint


def prepare_averaging(trainer: Trainer) -> None:
    """Lets the last checkpoint be written before the average replaces the weights: a longer run goes on from those.

    Raises:
        RunError: for an average that would not be that of the weights trained.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    if any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks):
        raise RunError(
            "callbacks: StochasticWeightAveraging changes a learning rate that Lightning itself must step; "
            "use pytorch_lightning.callbacks.EMAWeightAveraging or WeightAveraging"
        )
    if _averages(trainer):
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise RunError("callbacks: WeightAveraging cannot average sharded weights; use trainer=ddp")
        callbacks.sort(key=lambda callback: not isinstance(callback, LastCheckpoint))


def end_averaging(trainer: Trainer) -> None:
    """Takes the callback away after the training: it would load the weights of a checkpoint that are not averaged."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in _averages(trainer):
        callbacks.remove(callback)


def _averages(trainer: Trainer) -> list[WeightAveraging]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, WeightAveraging)]
