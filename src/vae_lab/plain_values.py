"""Reads integers, names and arrays in any form that a user gives, or reports in one line what is wrong with them."""

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


def are_pictures(values: Any) -> bool:
    """True for a list that holds pictures of Pillow."""
    return isinstance(values, list | tuple) and any(type(each).__module__.startswith("PIL.") for each in values)


def refuse_other_rows(name: str, y: Any, of: str, x: Any) -> None:
    """Raises ValueError for labels of pandas, or parts of them, whose index says other rows than that of examples.

    An index 0, 1, 2, ... beside one of other rows says nothing, as of an array.
    """
    for kind, part in y.items() if isinstance(y, Mapping) else ():
        refuse_other_rows(f"{name}[{kind}]", part, of, x)
    own = _row_index(y)
    wanted = _row_index(x) if own else own
    if own == wanted or len(own) != len(wanted):
        return
    if list(map(str, range(len(own)))) in (own, wanted) and set(own) != set(wanted):
        return
    row = next(row for row, pair in enumerate(zip(own, wanted, strict=True)) if pair[0] != pair[1])
    raise ValueError(
        f"{name}: row {row} has the index {own[row]}, but in {of} it is {wanted[row]}; sort it with .loc[x.index], or"
        " give .to_numpy() if the rows go together as they stand"
    )


def _row_index(value: Any) -> list[str]:
    """Returns the index of a pandas object or an AnnData as strings; empty for anything else."""
    return list(map(str, getattr(value, "obs_names", value.index if hasattr(value, "iloc") else ())))
