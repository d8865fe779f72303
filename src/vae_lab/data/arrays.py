"""A decoded data set as arrays in memory, or on disk if it is too large for memory."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Indices = NDArray[np.int64]

GIGABYTE = 10**9
CHUNK = 4096
"""Rows handled at once where a whole array would need too much working memory."""


@dataclass(frozen=True)
class Arrays:
    """One split of a data set, decoded.

    Attributes:
        images: uint8, (N, C, H, W); an array or a memory map.
        labels: class indices, int64, (N,); None for data without labels.
        factors: for rendered data, the index of each generative factor's value, int64, (N, F); else None.
    """

    images: Images
    labels: Indices | None = None
    factors: Indices | None = None

    def __len__(self) -> int:
        return len(self.images)


def allocate(shape: Sequence[int], memory_limit_gb: float) -> Images:
    """Returns an uninitialised uint8 array; above the limit, a memory map of an unnamed file in ``$TMPDIR``.

    The file is deleted with the array.
    """
    if np.prod(shape, dtype=np.int64) <= memory_limit_gb * GIGABYTE:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=tuple(shape))


def release(images: Images) -> None:
    """Drops the pages of a memory map from this process' memory; they stay in the file and in the system's cache.

    Without it every page that was ever read counts as resident, until the whole file does.
    """
    owner: object = images
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def chunks(size: int) -> Iterator[slice]:
    """Returns consecutive slices of at most `CHUNK` rows that cover ``size`` rows."""
    return (slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))
