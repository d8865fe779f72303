"""Whole batches from arrays in memory, on disk or on a GPU, shared out over the processes of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vae_lab.data.arrays import Arrays, Indices, release
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


class EpochSampler:
    """The order of the rows in each epoch: a function of seed and epoch only, so it is the same in every process.

    Lightning calls `set_epoch` before each epoch, and so must a loop of one's own: otherwise all epochs are in the
    order of the first.

    Args:
        rows: rows of the arrays that belong to the split, (N,).
        seed: seed of the orders; None: always as they are.
    """

    def __init__(self, rows: Indices, seed: int | None = None) -> None:
        self.rows = rows
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def order(self) -> Indices:
        """Returns the rows in the order of the epoch, (N,)."""
        if self.seed is None:
            return self.rows
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)


class BalancedSampler(EpochSampler):
    """Every class equally often, to one example; an epoch has as many examples as the split.

    Of a frequent class each epoch takes another part, and the examples of a rare class are repeated, each of them
    equally often, to one time. The order is a function of seed and epoch only.

    Args:
        rows: rows of the arrays that belong to the split, (N,).
        labels: class of each of these rows, (N,).
        seed: seed of the orders.
    """

    def __init__(self, rows: Indices, labels: Indices, seed: int) -> None:
        super().__init__(rows, seed)
        self._members = [rows[labels == label] for label in np.unique(labels)]

    def order(self) -> Indices:
        rng = np.random.default_rng([self.seed or 0, self.epoch])
        size, more = divmod(len(self.rows), len(self._members))
        sizes = size + (rng.permutation(len(self._members)) < more)
        drawn = [_repeated(members, size, rng) for members, size in zip(self._members, sizes.tolist(), strict=True)]
        return rng.permutation(np.concatenate(drawn))


def _repeated(members: Indices, num: int, rng: np.random.Generator) -> Indices:
    """Returns ``num`` of the members in random order, each of them equally often, to one time."""
    rounds = [rng.permutation(members) for _ in range(math.ceil(num / len(members)))]
    return np.concatenate([members[:0], *rounds])[:num]


class BatchLoader:
    """Batches of examples, uint8 or float32 as they are stored, each by one index operation.

    ``batch_size`` counts the examples of all processes together: batch t is the rows t * batch_size onwards of the
    epoch's order, and each process takes its `Shard` of it. So N processes compute what one would compute.

    Args:
        arrays: decoded data.
        sampler: rows of the split, and their order.
        batch_size: number of examples in a batch of all processes together.
        rank: rank of this process.
        world: number of processes.
        even: every process gets equally many rows of every batch, as averaging gradients over processes assumes; the
            last batch loses the rows that do not divide.
        drop_last: skip a last batch that is not full.
        device: device that keeps the whole split, so that no batch is copied to it; None: the memory of the host.
        read: False: give `StoredRows` of a split on a device, instead of a `Batch`.

    Raises:
        ValueError: if an even ``batch_size`` is not a multiple of ``world``.
    """

    batch_sampler = None  # Lightning looks for it beside `sampler`

    def __init__(
        self,
        arrays: Arrays,
        sampler: EpochSampler,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        even: bool = False,
        drop_last: bool = False,
        device: torch.device | None = None,
        read: bool = True,
    ) -> None:
        if even and batch_size % world:
            raise ValueError(
                f"batch_size={batch_size}: must be a multiple of the {world} processes that share each batch"
            )
        self.arrays = arrays
        self.sampler = sampler
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        sizes = batch_sizes(len(sampler.rows), batch_size, world, even, drop_last)
        self._sizes = [size for size in sizes if size > rank]  # a process without a row of a batch has no such batch
        self._source = _HostRows(arrays) if device is None else DeviceRows(arrays, sampler.rows, device)
        self._read = read or device is None

    def __len__(self) -> int:
        """Returns the number of batches that this process sees in an epoch."""
        return len(self._sizes)

    def __iter__(self) -> Iterator[Batch | StoredRows]:
        rows = self._source.rows(self.sampler.order())
        for index, size in enumerate(self._sizes):
            start = index * self.batch_size
            places = slice(start + self.rank, start + size, self.world)
            stored = StoredRows(rows[places], Shard(self.rank, self.world, size), self._source.take)
            yield stored.read() if self._read else stored


def batch_sizes(num: int, batch_size: int, world: int = 1, even: bool = False, drop_last: bool = False) -> list[int]:
    """Returns the number of examples in each batch of an epoch of ``num``, all processes together; see `BatchLoader`.

    The last may be 0.
    """
    full, last = divmod(num, batch_size)
    if even:
        last -= last % world
    return [batch_size] * full + [last] * (not drop_last)


def resident_device(arrays: Arrays, num: int, device: torch.device | None) -> torch.device | None:
    """Returns the GPU that trains if rows of this number take no more than a quarter of what is free there."""
    if device is None or device.type != "cuda" or isinstance(arrays.x, np.memmap):
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return device if num * math.prod(arrays.x.shape[1:]) * arrays.x.itemsize <= free / 4 else None


class _HostRows:
    """Reads rows in host memory or from a memory map, whose resident pages stay few."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays

    def rows(self, order: Indices) -> Any:
        """Returns the row numbers in the order of an epoch, as `take` needs them."""
        return order

    def take(self, rows: Any) -> tuple[Tensor, Tensor | None]:
        y = self.arrays.y
        x = np.asarray(self.arrays.x[rows])
        release(self.arrays.x)
        return torch.from_numpy(x), None if y is None else torch.from_numpy(y[rows])


class DeviceRows:
    """Keeps a copy of the rows of a split on a device."""

    def __init__(self, arrays: Arrays, rows: Indices, device: torch.device) -> None:
        self.device = device
        self.x = torch.from_numpy(arrays.x[rows]).to(device)
        self.y = None if arrays.y is None else torch.from_numpy(arrays.y[rows]).to(device)
        self.place = np.empty(len(arrays), np.int64)
        self.place[rows] = np.arange(len(rows))

    def rows(self, order: Indices) -> Tensor:
        """Returns the row numbers in the order of an epoch, on the device: the only copy of an epoch."""
        return torch.from_numpy(self.place[order]).to(self.device)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        y = None if self.y is None else self.y.index_select(0, rows)
        return self.x.index_select(0, rows), y
