"""Batches of any loader: x, (x,), (x, y) or `Batch`."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_lab.types import Batch, Shard


def as_batch(batch: Any, rank: int = 0, world: int = 1) -> Batch:
    """Returns a batch of a loader as a `Batch`.

    Args:
        batch: x, (x,), (x, y) or `Batch`.
        rank: rank of this process.
        world: number of processes, each with as many examples: each draws noise of its own for them.

    Raises:
        TypeError: in one line, for anything else.
    """
    if isinstance(batch, Batch):
        return batch
    parts = list(batch) if isinstance(batch, tuple | list) else [batch]
    if not 1 <= len(parts) <= 2 or not all(isinstance(part, Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        found = f"({kinds})" if isinstance(batch, tuple | list) else kinds
        raise TypeError(f"batch: a loader gave {found}, must give x, (x,), (x, y) or Batch, of tensors")
    x, y = parts[0], parts[1] if len(parts) == 2 else None
    return Batch(x, y, Shard(rank, world, len(x) * world) if world > 1 else None)
