"""Averaged weights (Lightning's `WeightAveraging` and `EMAWeightAveraging`): validated, saved and tested alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor

from vae_lab.errors import RunError
from vae_lab.training.callbacks import LastCheckpoint


class WeightAverage(WeightAveraging):
    """Averages the weights exponentially (Polyak and Juditsky 1992); a skipped step does not count.

    The average a <- d a + (1 - d) w has d = min(decay, (1 + n) / (10 + n)) after n steps, so that the first weights are
    soon forgotten. Validation, pictures, the test and `vae_lab.load_run` see the average; training goes on with w.

    Args:
        decay: weight of the former average, such as 0.999.

    Raises:
        ValueError: for a decay outside (0, 1).
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"average={decay}: must lie between 0 and 1, such as 0.999, or be null")
        super().__init__(use_buffers=False, multi_avg_fn=self._lerp)
        self.decay = decay
        self.steps = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        if not pl_module.skipped_last_step:
            super().on_train_batch_end(trainer, pl_module, *args)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.steps = state_dict["steps"]

    @torch.no_grad()
    def _lerp(self, averages: Sequence[Tensor], weights: Sequence[Tensor], num_averaged: Any) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(averages), list(weights), 1 - decay)


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


def keep_trained_weights(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Lets a run that no longer averages go on with the weights that were trained, not with their average."""
    if trainer.training and not _averages(trainer) and "current_model_state" in checkpoint:
        checkpoint["state_dict"] = checkpoint["current_model_state"]


def end_averaging(trainer: Trainer) -> None:
    """Takes the callback away after the training: it would load the weights of a checkpoint that are not averaged."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in _averages(trainer):
        callbacks.remove(callback)


def _averages(trainer: Trainer) -> list[WeightAveraging]:
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, WeightAveraging)]
