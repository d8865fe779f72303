"""Reads integers, names and arrays that a user gives in any form, or says in one line why it is none."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def whole_number(name: str, value: Any) -> int:
    """Returns an integer as Python's own; raises TypeError for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):  # NumPy's integers have it, too
        raise TypeError(f"{name}={value!r}: a {type(value).__name__}, must be an integer")
    return operator.index(value)


def whole_numbers(key: str, values: Any, example: str) -> tuple[int, ...]:
    """Returns integers as a tuple; raises TypeError, which shows the example, for anything else."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | set | Mapping):
        raise TypeError(f"{key}={values!r}: a {type(values).__name__}, must be integers, such as {example}")
    return tuple(whole_number(f"{key}={tuple(values)}: size", size) for size in values)


def names(key: str, given: Any) -> tuple[str, ...]:
    """Returns strings as a tuple; raises TypeError for anything else."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | set):
        raise TypeError(f"{key}={given!r}: a {type(given).__name__}, must be strings, such as ('cat', 'dog')")
    plain: tuple[Any, ...] = tuple(given)
    odd = next((name for name in plain if not isinstance(name, str)), None)
    if odd is not None:
        raise TypeError(f"{key}: {odd!r} is a {type(odd).__name__}, must be a string")
    return plain


def as_array(values: Any) -> NDArray[Any]:
    """Returns the array of anything that holds one; what a masked array hides becomes NaN, or an empty string."""
    if isinstance(values, list | tuple) and any(isinstance(each, np.ma.MaskedArray) for each in values):
        values = np.ma.array(values)
    if not np.ma.is_masked(values):
        return np.asarray(values)
    known = values.astype(np.float64) if values.dtype.kind in "bui" else values
    hidden = np.nan if known.dtype.kind in "fO" else known.dtype.type()
    filled: NDArray[Any] = known.filled(hidden)
    return filled
