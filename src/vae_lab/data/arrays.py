"""A decoded data set of any kind as arrays in memory, or on disk if it is too large for memory."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

Examples = NDArray[Any]
"""Examples of any shape as uint8, of which 255 stands for 1, or as float32; at least one axis."""
Images = NDArray[np.uint8]
Indices = NDArray[np.int64]

GIGABYTE = 10**9
CHUNK = 4096
"""Rows handled at once where a whole array would need too much working memory."""
_CHUNK_BYTES = 2**28
_MAX_BYTES = 10**9
"""Bytes of examples that a digest reads; of a larger split it holds examples that are evenly spread over it."""


@dataclass(frozen=True)
class Arrays:
    """One split of a data set, decoded.

    Attributes:
        x: examples, (N, *shape); an array or a memory map. uint8 values k stand for k / 255, float32 for themselves.
        y: class indices, int64, (N,); with attributes or numbers one-hot classes, attributes and numbers side by side,
            float32, (N, C); None for data without labels.
        factors: index of the value of each generative factor, int64, (N, F); None where they are not known.
        names: name of the file of each example, (N,); None if all are in one file.
        rows: row of each example in that file, (N,); None: its place here.
    """

    x: Examples
    y: NDArray[Any] | None = None
    factors: Indices | None = None
    names: NDArray[np.str_] | None = None
    rows: Indices | None = None

    def __len__(self) -> int:
        return len(self.x)


def allocate(shape: Sequence[int], memory_limit_gb: float, dtype: Any = np.uint8) -> Examples:
    """Returns an uninitialised array; above the limit, a memory map of an unnamed file in ``$TMPDIR``.

    The file is deleted with the array.
    """
    if np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize <= memory_limit_gb * GIGABYTE:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        array = np.memmap(file, dtype, "w+", shape=tuple(shape))
        reserve(file.fileno(), tempfile.gettempdir())
        return array


def reserve(descriptor: int, name: str) -> None:
    """Reserves the disk for all of a file that is mapped: on a full disk its first writing would end the process.

    Args:
        descriptor: descriptor of the file, which has its final size.
        name: name of the file in an error.

    Raises:
        OSError: if the disk has too little left.
    """
    size = os.fstat(descriptor).st_size
    if not size or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # others are of file systems that cannot reserve
            error.filename = name
            raise


def release(x: Examples) -> None:
    """Drops the pages of a memory map from this process' memory; they stay in the file and in the system's cache.

    Without it every page that was ever read counts as resident, until the whole file does.
    """
    owner: object = x
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def chunks(size: int, row_bytes: int = 1) -> Iterator[slice]:
    """Returns consecutive slices that cover ``size`` rows, of at most `CHUNK` rows and about `_CHUNK_BYTES` each."""
    step = max(1, min(CHUNK, _CHUNK_BYTES // row_bytes))
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def evenly_spread(rows: Indices, num: int) -> Indices:
    """Returns at most ``num`` of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(num, len(rows))).round().astype(np.int64)]


def fingerprint(arrays: Arrays, rows: Indices) -> str:
    """Returns a digest of the number, shape, values and labels of some rows of a data set."""
    shape = arrays.x.shape[1:]
    digest = blake2b(repr((len(rows), shape)).encode(), digest_size=16)
    if arrays.y is not None:
        digest.update(arrays.y[rows].tobytes())
    row_bytes = int(np.prod(shape)) * arrays.x.itemsize
    picked = evenly_spread(rows, max(1, _MAX_BYTES // row_bytes))
    for chunk in chunks(len(picked), row_bytes):
        digest.update(arrays.x[picked[chunk]].tobytes())
        release(arrays.x)
    return digest.hexdigest()
