"""Which examples are held out, chosen by a seed."""

from __future__ import annotations

import numpy as np

from vae_lab.data.arrays import Indices


def held_out(size: int, num: int, seed: int) -> tuple[Indices, Indices]:
    """The rows 0..size-1 in two ascending parts: those that stay, and the ``num`` that the seed holds out."""
    shuffled = np.random.default_rng(seed).permutation(size)
    return np.sort(shuffled[num:]), np.sort(shuffled[:num])


def train_and_test_rows(size: int, test_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """The rows of the training set and of the test set, at least one of each.

    Raises:
        ValueError: for fewer than two rows.
    """
    if size < 2:
        raise ValueError(f"{size} example: at least 2 are needed for a training set and a test set")
    return held_out(size, min(max(round(test_fraction * size), 1), size - 1), seed)
