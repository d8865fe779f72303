"""Whole batches from arrays in memory, shared out over the processes of a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from vae_lab.data.arrays import Arrays, Images, Indices
from vae_lab.types import Batch, Shard


class EpochSampler:
    """The order of the rows in each epoch: a function of the seed and the epoch alone, so the same in every process.

    Lightning calls `set_epoch` before each epoch, and so must a loop of one's own: otherwise all epochs are in the
    order of the first.

    Args:
        rows: the rows of the arrays that belong to the split, (N,).
        seed: of the orders; None: always as they are.
    """

    def __init__(self, rows: Indices, seed: int | None = None) -> None:
        self.rows = rows
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def order(self) -> Indices:
        """The rows in the order of the epoch, (N,)."""
        if self.seed is None:
            return self.rows
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)


class BatchLoader:
    """Batches of uint8 images, each by one index operation.

    ``batch_size`` counts the examples of all processes together: batch t is the rows t * batch_size onwards of the
    epoch's order, and each process takes its `Shard` of it. So N processes compute what one would compute.

    Args:
        arrays: the decoded data.
        sampler: which rows, in which order.
        batch_size: examples in a batch of all processes together.
        rank: of this process.
        world: the number of processes.
        even: every process gets equally many rows of every batch, as averaging gradients over processes assumes; the
            last batch loses the rows that do not divide.
        drop_last: leave out a last batch that is not full.

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
        self._sizes = self._batch_sizes(even, drop_last)

    def __len__(self) -> int:
        """The number of batches that this process sees in an epoch."""
        return len(self._sizes)

    def __iter__(self) -> Iterator[Batch]:
        order = self.sampler.order()
        for index, size in enumerate(self._sizes):
            start = index * self.batch_size
            shard = Shard(self.rank, self.world, size)
            yield self._batch(order[start : start + size][shard.rows], shard)

    def _batch_sizes(self, even: bool, drop_last: bool) -> list[int]:
        full, last = divmod(len(self.sampler.rows), self.batch_size)
        if even:
            last -= last % self.world
        sizes = [self.batch_size] * full + [last] * (not drop_last)
        return [size for size in sizes if size > self.rank]  # a process without a row of a batch has no such batch

    def _batch(self, rows: Indices, shard: Shard) -> Batch:
        labels = self.arrays.labels
        y = None if labels is None else torch.from_numpy(labels[rows])
        return Batch(torch.from_numpy(_read(self.arrays.images, rows)), y, shard)


def _read(images: Images, rows: Indices) -> Images:
    """A copy of the rows; from a file they are read in the order in which they lie there."""
    if not isinstance(images, np.memmap):
        return images[rows]
    order = np.argsort(rows)
    batch = np.empty((len(rows), *images.shape[1:]), np.uint8)
    batch[order] = images[rows[order]]
    return batch
