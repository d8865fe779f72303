"""A digest of a split, by which a run recognises its own data wherever they lie."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from vae_lab.data.arrays import Arrays, Indices, chunks, release
from vae_lab.data.splits import evenly_spread

MAX_BYTES = 10**9
"""Bytes of examples that are read; of a larger split the digest holds examples that are evenly spread over it."""


def fingerprint(arrays: Arrays, rows: Indices) -> str:
    """Returns a digest of the number, shape, values and labels of some rows of a data set."""
    shape = arrays.x.shape[1:]
    digest = blake2b(repr((len(rows), shape)).encode(), digest_size=16)
    if arrays.y is not None:
        digest.update(arrays.y[rows].tobytes())
    row_bytes = int(np.prod(shape)) * arrays.x.itemsize
    picked = evenly_spread(rows, max(1, MAX_BYTES // row_bytes))
    for chunk in chunks(len(picked), row_bytes):
        digest.update(arrays.x[picked[chunk]].tobytes())
        release(arrays.x)
    return digest.hexdigest()
