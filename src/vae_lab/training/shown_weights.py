"""The weights that pictures and codes are made of: whole, and averaged where the run averages them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from torch import nn

from vae_lab.training.sharding import whole_weights


@contextmanager
def shown_weights(trainer: Trainer, module: LightningModule, model: nn.Module) -> Iterator[None]:
    """Context manager in which the model has the weights that are validated; every process must enter it.

    Args:
        trainer: of the run.
        module: trained module.
        model: the model in it, each of whose methods can be called within.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    averages = [callback for callback in callbacks if isinstance(callback, WeightAveraging)]
    with whole_weights(model):
        for average in averages:
            average.on_validation_epoch_start(trainer, module)  # swaps the weights of the module and their average
        try:
            yield
        finally:
            for average in reversed(averages):
                average.on_validation_epoch_end(trainer, module)
