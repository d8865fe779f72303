"""Batches of any loader: x, (x,), (x, y), `Batch` or `StoredRows`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from vae_lab.types import Batch, Shard


class StoredRows(NamedTuple):
    """A batch that is still row numbers of data on a device, to be read there as part of a training step.

    Attributes:
        rows: row numbers on the device, (B,).
        shard: place of these rows in the batch that all processes share.
        take: row numbers -> examples and labels.
    """

    rows: Tensor
    shard: Shard
    take: Callable[[Tensor], tuple[Tensor, Tensor | None]]

    def read(self) -> Batch:
        """Returns the examples and labels."""
        x, y = self.take(self.rows)
        return Batch(x, y, self.shard)


def as_batch(batch: Any, rank: int = 0, world: int = 1) -> Batch:
    """Returns a batch of a loader as a `Batch`.

    Args:
        batch: x, (x,), (x, y), `Batch` or `StoredRows`.
        rank: rank of this process.
        world: number of processes, each with as many examples: each draws noise of its own for them.

    Raises:
        TypeError: in one line, for anything else.
    """
    if isinstance(batch, Batch):
        return batch
    if isinstance(batch, StoredRows):
        return batch.read()
    parts = list(batch) if isinstance(batch, tuple | list) else [batch]
    if not 1 <= len(parts) <= 2 or not all(isinstance(part, Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        found = f"({kinds})" if isinstance(batch, tuple | list) else kinds
        raise TypeError(f"batch: a loader gave {found}, must give x, (x,), (x, y) or Batch, of tensors")
    x, y = parts[0], parts[1] if len(parts) == 2 else None
    return Batch(x, y, Shard(rank, world, len(x) * world) if world > 1 else None)
