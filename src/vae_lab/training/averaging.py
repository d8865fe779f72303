"""Averages weights; Lightning's `WeightAveraging` and `EMAWeightAveraging` are validated, saved and tested alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn

from vae_lab.training.sharding import whole_weights
from vae_lab.training.trainer_parts import all_callbacks, callbacks_of


class WeightAverage(WeightAveraging):
    """Averages the weights exponentially (Polyak and Juditsky 1992); a skipped step does not count.

    The average a <- d a + (1 - d) w has d = min(decay, (1 + n) / (10 + n)) after n steps, so that the first weights
    soon lose their influence. Validation, pictures, the test and `vae_lab.load_run` see the average; training goes on
    with w. Buffers are averaged, too: the statistics of batch normalisation under the trained weights are not those
    under the average.

    Args:
        decay: weight of the former average, such as 0.999.

    Raises:
        ValueError: for a decay outside (0, 1).
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"average={decay}: must lie between 0 and 1, such as 0.999, or be null")
        super().__init__(use_buffers=True, multi_avg_fn=self._lerp)
        self.decay = decay
        self.steps = -1  # the first update copies the weights

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:  # the module itself is converted later
            self._average_model = trainer.precision_plugin.convert_module(self._average_model)  # type: ignore[assignment]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
        if pl_module.skipped_last_step:
            self._latest_update_step = trainer.global_step  # saved: a resumed run must not count the step, either
        else:
            super().on_train_batch_end(trainer, pl_module, *args)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        due = super().should_update(step_idx, epoch_idx)
        self.steps += due
        return due

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.steps = state_dict["steps"]

    @torch.no_grad()
    def _lerp(self, averages: Sequence[Tensor], weights: Sequence[Tensor], num_averaged: Any) -> None:
        if not averages[0].is_floating_point():  # a counter
            torch._foreach_copy_(list(averages), list(weights))
            return
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(averages), list(weights), 1 - decay)


def keep_trained_weights(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Has a run that no longer averages go on with the trained weights, not with their average."""
    if trainer.training and not averages(trainer) and "current_model_state" in checkpoint:
        checkpoint["state_dict"] = checkpoint["current_model_state"]


def end_averaging(trainer: Trainer, module: LightningModule) -> None:
    """Gives the module the average after the training, and removes the callbacks.

    Lightning gives it at the end of a training, which does not come if a resumed run has nothing left to train. The
    callbacks would load weights of a checkpoint that are not averaged.
    """
    for callback in averages(trainer):
        callback.on_train_end(trainer, module)
        all_callbacks(trainer).remove(callback)


def averages(trainer: Trainer) -> list[WeightAveraging]:
    """Returns the callbacks that average weights."""
    return callbacks_of(trainer, WeightAveraging)


@contextmanager
def shown_weights(trainer: Trainer, module: LightningModule, model: nn.Module) -> Iterator[None]:
    """Context manager in which the model has the weights that are validated; every process must enter it.

    Args:
        trainer: Trainer of the run.
        module: trained module.
        model: model in that module, all of whose methods can be called.
    """
    callbacks = averages(trainer)
    with whole_weights(model):
        for average in callbacks:
            average.on_validation_epoch_start(trainer, module)  # swaps the weights of the module and their average
        try:
            yield
        finally:
            for average in reversed(callbacks):
                average.on_validation_epoch_end(trainer, module)
