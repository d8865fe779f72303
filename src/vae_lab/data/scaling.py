"""Means and spreads of training examples, in one or two passes in bounded memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.arrays import Arrays, Examples, Indices, chunks, release
from vae_lab.types import Scaling, listed

_Numbers = NDArray[np.float64]
_RESOLVED = 100
"""Steps of float32 that a standard deviation must hold."""


def mean_example(arrays: Arrays, rows: Indices) -> _Numbers:
    """Returns the mean of some rows, (*shape); of uint8 values as numbers in [0, 1]."""
    total = np.zeros(arrays.x.shape[1:])
    for part in _parts(arrays.x, rows):
        total += part.sum(0, dtype=np.float64)
    mean: _Numbers = total / len(rows) / (255 if arrays.x.dtype == np.uint8 else 1)
    return mean


def scaling_of(arrays: Arrays, rows: Indices, columns: Sequence[str] = ()) -> Scaling:
    """Returns the mean and the standard deviation of each index of the first axis of some rows.

    A constant one gets the scale 1, with a warning.

    Args:
        arrays: float32 arrays.
        rows: rows of the training split.
        columns: name of each index, for messages.

    Raises:
        ValueError: for numbers that float32 does not tell apart, because they are far from 0.
    """
    places = tuple(range(1, arrays.x.ndim - 1))  # axes of an example but its first
    mean = mean_example(arrays, rows).mean(places)
    centre = mean.reshape(-1, *[1] * len(places))
    squares = np.zeros(arrays.x.shape[1:])
    for part in _parts(arrays.x, rows):
        squares += np.square(part - centre).sum(0)
    deviation = np.sqrt(squares.mean(places) / len(rows))
    step = np.abs(mean) * np.finfo(np.float32).eps
    constant = deviation <= step
    coarse = np.flatnonzero(~constant & (deviation < _RESOLVED * step))
    names = [*columns] or [str(number) for number in range(len(mean))]
    if len(coarse):
        first = coarse[0]
        raise ValueError(
            f"column {names[first]}: values around {mean[first]:g} that differ by {deviation[first]:g}, which the 32"
            " bits of a float hardly tell apart; subtract their mean before saving them"
        )
    if constant.any():
        named = listed([names[number] for number in np.flatnonzero(constant)])
        warnings.warn(f"constant in the training split: {named}; they say nothing of an example", stacklevel=2)
    return Scaling(tuple(mean.tolist()), tuple(np.where(constant, 1.0, deviation).tolist()))


def _parts(x: Examples, rows: Indices) -> Iterator[Examples]:
    row_bytes = x.itemsize * int(np.prod(x.shape[1:]))
    for chunk in chunks(len(rows), row_bytes):
        yield x[rows[chunk]]
        release(x)
