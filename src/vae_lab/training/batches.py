"""Checks the batches of a loader that is not the lab's own."""

from __future__ import annotations

from typing import Any

from vae_lab.core.inputs import check_data
from vae_lab.data.datamodule import ImageDataModule
from vae_lab.data.loader import as_batch
from vae_lab.data.own_loader.module import LoaderDataModule
from vae_lab.training.trainer_parts import datamodule_of
from vae_lab.types import Batch


def known_batch(module: Any, batch: Any, first: bool) -> Batch:
    """Returns a batch of any loader as a `Batch`.

    Args:
        module: module that is trained or evaluated, with its Trainer.
        batch: batch on the device of the module.
        first: True for the first batch of a loader. Unless the loader is the lab's own, its values are checked, and on
            a CPU those of every other batch; a GPU would have to wait for them.

    Raises:
        TypeError, ValueError: in one line, for what the model cannot read.
    """
    known = as_batch(batch, module.trainer.global_rank, module.trainer.world_size)
    if isinstance(datamodule_of(module.trainer), ImageDataModule | LoaderDataModule):  # which have checked all values
        return known
    if first or known.x.device.type == "cpu":
        check_data(module.model, known.x, module.labels(known))
    return known
