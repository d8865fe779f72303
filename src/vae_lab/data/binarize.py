"""Binary values from those in [0, 1]: a grey value is the probability of a one."""

from __future__ import annotations

from typing import Literal

import numpy as np

from vae_lab.data.arrays import Examples, Indices, allocate, chunks, release

Binarization = Literal["none", "dynamic", "static", "threshold"]
"""Never; training images at each reading, evaluation images once; all images once; above one half."""


def binarized(x: Examples, rows: Indices, seed: int, memory_limit_gb: float) -> Examples:
    """Returns a sample of 0 or 255 for each number of ``x[rows]``, the same for the same seed on any machine.

    R. Salakhutdinov, I. Murray, "On the Quantitative Analysis of Deep Belief Networks" (2008).
    """
    rng = np.random.default_rng(seed)
    sample = allocate((len(rows), *x.shape[1:]), memory_limit_gb)
    for chunk in chunks(len(rows)):
        grey = x[rows[chunk]]
        # A whole number below 255 is smaller than g with probability g / 255, exactly.
        draw = rng.integers(0, 255, grey.shape, np.uint8) if x.dtype == np.uint8 else rng.random(grey.shape, np.float32)
        sample[chunk] = np.where(draw < grey, np.uint8(255), np.uint8(0))
        release(sample)
    return sample
