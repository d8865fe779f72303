"""Checks the first batch of a loader that is not the lab's own."""

from __future__ import annotations

from typing import Any

from vae_lab.core.inputs import check_data
from vae_lab.data.loader import as_batch
from vae_lab.types import Batch


def known_batch(module: Any, batch: Any, first: bool) -> Batch:
    """Returns a batch of any loader as a `Batch`.

    Args:
        module: module that is trained or evaluated, with its Trainer.
        batch: batch on the device of the module.
        first: True for the first batch of a loader, whose values are checked unless the loader is the lab's own.

    Raises:
        TypeError, ValueError: in one line, for what the model cannot read.
    """
    known = as_batch(batch, module.trainer.global_rank, module.trainer.world_size)
    if first and known is not batch:
        check_data(module.model, known.x, module.labels(known))
    return known
