"""Curves beside the bound: rate of the optimizer, examples per second, and the KL of each latent dimension."""

from __future__ import annotations

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from vae_lab.training.lightning_loop import logged_step
from vae_lab.training.logs.tensorboard import KL_OF_DIMENSIONS, tensorboard_writer
from vae_lab.training.trainer_parts import log_interval

_MAX_DIMENSIONS = 64
"""Largest number of latent dimensions that have a curve each."""


class FurtherCurves(Callback):
    """Logs ``train/lr`` and ``train/examples_per_second`` and, in TensorBoard, the KL of each latent dimension.

    A hierarchy has curves of its levels instead of those of dimensions.

    Args:
        examples_per_step: mean number of examples in an optimizer step, of all processes together.
    """

    pass_safe = True

    def __init__(self, examples_per_step: float) -> None:
        self.examples_per_step = examples_per_step
        self._last: tuple[int, float] | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        interval = log_interval(trainer)
        if not interval or trainer.global_step % interval:
            return
        step, now = trainer.global_step, time.monotonic()
        pl_module.log("train/lr", pl_module.last_rate, batch_size=1)  # type: ignore[arg-type]
        if self._last and step > self._last[0] and now > self._last[1]:
            steps, seconds = step - self._last[0], now - self._last[1]
            pl_module.log("train/examples_per_second", steps * self.examples_per_step / seconds, batch_size=1)
        self._last = (step, now)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = tensorboard_writer(trainer) if trainer.is_global_zero else None
        levels: Any = pl_module.active_units
        if writer is None or trainer.sanity_checking or len(levels) > 1:
            return
        kl = levels[0].kl_of_dimensions
        if kl is not None and kl.numel() <= _MAX_DIMENSIONS:
            width = len(str(kl.numel() - 1))
            for number, value in enumerate(kl.flatten().tolist()):
                writer.add_scalar(f"{KL_OF_DIMENSIONS}/{number:0{width}}", value, logged_step(trainer))
