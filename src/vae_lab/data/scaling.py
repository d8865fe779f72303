"""Means and spreads of training examples, in one or two passes in bounded memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.arrays import Arrays, Examples, Indices, chunks, release
from vae_lab.types import Scaling, listed

_Numbers = NDArray[np.float64]
_RESOLVED = 100
"""Steps of float32 that a standard deviation must hold."""


def as_single(rows: NDArray[Any], names: Sequence[str], source: object) -> NDArray[np.float32]:
    """Returns numbers as float32; NaN stays.

    Args:
        rows: numbers, (N, columns, ...).
        names: names of the columns, for messages; empty: their numbers.
        source: file of the numbers, for messages.

    Raises:
        ValueError: for a number beyond 32 bits, and a column whose different numbers are one number of 32 bits.
    """
    with np.errstate(over="ignore"):
        single: NDArray[np.float32] = rows.astype(np.float32)
    if np.can_cast(rows.dtype, np.float32):
        return single
    axes = (0, *range(2, rows.ndim))
    low, high = np.fmin.reduce(rows, axes), np.fmax.reduce(rows, axes)
    least, most = np.fmin.reduce(single, axes), np.fmax.reduce(single, axes)
    beyond = np.flatnonzero(np.isinf(least) | np.isinf(most))
    if len(beyond):
        value = high[beyond[0]] if np.isinf(most[beyond[0]]) else low[beyond[0]]
        raise ValueError(f"{source}: {_named(names, beyond[0])}: {value:g}, must be a finite number of 32 bits")
    lost = (low < high) & (least == most)
    if lost.any():
        column = int(lost.argmax())
        raise ValueError(
            f"{source}: {_named(names, column)}: values around {low[column]:g} that the 32 bits of a float do not tell"
            " apart; subtract their mean before saving them"
        )
    return single


def mean_example(arrays: Arrays, rows: Indices, threshold: bool = False) -> _Numbers:
    """Returns the mean of what is known of some rows, (*shape); of uint8 values as numbers in [0, 1].

    With ``threshold`` numbers above one half count as 1, others as 0.
    """
    return _mean_and_known(arrays, rows, threshold)[0]


def _mean_and_known(arrays: Arrays, rows: Indices, threshold: bool = False) -> tuple[_Numbers, _Numbers]:
    """Returns `mean_example`, which is 0 where nothing is known, and how many values are known, (*shape) each."""
    total, known = np.zeros(arrays.x.shape[1:]), np.zeros(arrays.x.shape[1:])
    white = 255 if arrays.x.dtype == np.uint8 else 1
    for part in _parts(arrays.x, rows):
        values = white * (part > white / 2) if threshold else part
        total += np.nansum(values, 0, dtype=np.float64)
        known += len(part) - np.isnan(part).sum(0)
    return total / np.maximum(known, 1) / white, known


def scaling_of(arrays: Arrays, rows: Indices, columns: Sequence[str] = (), one_hot: int = 0) -> Scaling:
    """Returns the mean and the standard deviation of each index of the first axis of some rows.

    A constant one gets the scale 1, with a warning.

    Args:
        arrays: arrays; uint8 values k count as k / 255.
        rows: rows of the training split.
        columns: name of each index, for messages.
        one_hot: number of the last columns that are one-hot, which keep the mean 0 and the scale 1.

    Raises:
        ValueError: for numbers that float32 does not tell apart, because they are far from 0.
    """
    places = tuple(range(1, arrays.x.ndim - 1))  # axes of an example but its first
    means, known = _mean_and_known(arrays, rows)
    complete = bool((known == known.max()).all())
    mean = means.mean(places) if complete else (means * known).sum(places) / np.maximum(known.sum(places), 1)
    centre = mean.reshape(-1, *[1] * len(places))
    white = 255 if arrays.x.dtype == np.uint8 else 1
    squares = np.zeros(arrays.x.shape[1:])
    for part in _parts(arrays.x, rows):
        squares += np.nansum(np.square(part / white - centre), 0)
    over = np.mean if complete else np.sum  # a place that is never known counts nothing
    deviation = np.sqrt(over(squares, places) / np.maximum(over(known, places), 1))
    kept = np.arange(len(mean)) >= len(mean) - one_hot
    return scaling_from(np.where(kept, 0.0, mean), np.where(kept, 1.0, deviation), columns)


def scaling_from(mean: _Numbers, deviation: _Numbers, columns: Sequence[str] = (), source: str = "") -> Scaling:
    """Returns means and standard deviations as a scaling, 1 of a constant column, with a warning.

    Raises:
        ValueError: for numbers that float32 does not tell apart, because they are far from 0.
    """
    constant = deviation <= _step(mean)
    coarse = np.flatnonzero(~constant & (deviation < _RESOLVED * _step(mean)))
    if len(coarse):
        first = int(coarse[0])
        values = f"values around {mean[first]:g} that differ by {deviation[first]:g}"
        raise ValueError(
            f"{source}{_named(columns, first)}: {values}, which the 32 bits of a float hardly tell apart; subtract"
            " their mean before saving them"
        )
    if constant.any():
        places = np.flatnonzero(constant).tolist()
        named = listed([columns[place] if columns else str(place) for place in places])
        warnings.warn(f"constant in the training split: {named}; they say nothing of an example", stacklevel=2)
    return Scaling(tuple(mean.tolist()), tuple(np.where(constant, 1.0, deviation).tolist()))


def _named(columns: Sequence[str], column: int) -> str:
    return f"column {columns[column] if columns else column}"


def _step(mean: _Numbers) -> _Numbers:
    """Returns the distance of neighbouring numbers of float32."""
    step: _Numbers = np.abs(mean) * np.finfo(np.float32).eps
    return step


def numbers_spec(arrays: Arrays, rows: Indices, numbers: Sequence[str]) -> dict[str, Any]:
    """Returns scaling and range of a condition's numbers in some rows, as entries of a `DataSpec`.

    The numbers are the last columns of y; raises as `scaling_of`.
    """
    assert arrays.y is not None, "numbers are columns of y"
    values = np.asarray(arrays.y[:, -len(numbers) :], np.float32)
    limits = zip(values[rows].min(0).tolist(), values[rows].max(0).tolist(), strict=True)
    return {"numbers_scaling": scaling_of(Arrays(values), rows, numbers), "numbers_range": tuple(limits)}


def _parts(x: Examples, rows: Indices) -> Iterator[Examples]:
    row_bytes = x.itemsize * int(np.prod(x.shape[1:]))
    for chunk in chunks(len(rows), row_bytes):
        yield x[rows[chunk]]
        release(x)
