"""One pass over an array: its range, and the first value that is not a finite number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae_lab.data import missing_values
from vae_lab.data.arrays import Indices, chunks, release

_MAX_LEVEL = 255
_DARK = 128


class Range(NamedTuple):
    """Range of an array, and how many values are missing at each place.

    Attributes:
        low, high: smallest and largest known value.
        whole: True if all known values are whole numbers.
        missing: number of missing values by place, (*shape); None: all are known.
    """

    low: float
    high: float
    whole: bool
    missing: NDArray[np.int64] | None = None

    @property
    def levels(self) -> bool:
        """True for whole numbers that look like the grey values of 8 bits."""
        return self.whole and self.low >= 0 and (_DARK <= self.high <= _MAX_LEVEL or self.high <= 1)

    @property
    def real(self) -> bool:
        """True if the values are neither in [0, 1] nor grey values of 8 bits."""
        return not (self.levels or (self.low >= 0 and self.high <= 1))


def scanned(array: NDArray[Any], source: object, columns: Sequence[str] = (), mask: bool = False) -> Range:
    """Returns the range of an array; that of bytes and booleans without a look at them.

    Args:
        array: array (N, *shape).
        source: file of the array, for messages.
        columns: names of the columns of a table; empty: their numbers.
        mask: take NaN for a missing value.

    Raises:
        ValueError: naming the first row that holds NaN, an infinite value, or one beyond 32 bits.
    """
    if array.dtype in (np.uint8, np.bool_):
        return Range(0, 1 if array.dtype == np.bool_ else _MAX_LEVEL, whole=True)
    low, high, whole = np.inf, -np.inf, True
    missing, first = np.zeros(array.shape[1:], np.int64), ""
    limit = float(np.finfo(np.float32).max)
    for rows in chunks(len(array), array[0].nbytes):
        part = known = array[rows]
        if np.isnan(part.min()):
            nan = np.isnan(part)
            first = first or first_bad(nan, part, range(rows.start, rows.stop), columns)[0]
            missing += nan.sum(0)
            known = part[~nan]
            if not known.size:
                continue
        least, most = float(known.min()), float(known.max())
        if not (-limit <= least and most <= limit):
            where, value = first_bad(np.abs(part) > limit, part, range(rows.start, rows.stop), columns)
            raise ValueError(f"{source}: {where}: {value}, must be a finite number of 32 bits")
        low, high = min(low, least), max(high, most)
        whole = whole and (part.dtype.kind in "ui" or bool((known == np.floor(known)).all()))
        release(array)
    if not first:
        return Range(low, high, whole)
    if not mask:
        table = array.ndim == 2
        counts = {_named(columns, int(i)): int(missing[i]) for i in np.flatnonzero(missing)} if table else None
        raise ValueError(missing_values.refusal(int(missing.sum()), first, source, counts))
    return Range(low, high, whole, missing)


def refuse_empty(values: Range, num: int, source: object, columns: Sequence[str]) -> None:
    """Raises ValueError if no value at all is known, or none of a column of a table, of ``num`` rows."""
    missing = np.zeros(1) if values.missing is None else values.missing
    empty = np.flatnonzero(missing == num)
    if missing.ndim == 1 and len(empty):
        raise ValueError(f"{source}: column {_named(columns, int(empty[0]))} has no value at all; leave it out")
    if len(empty) == missing.size:
        raise ValueError(f"{source}: every value is missing")


def _named(columns: Sequence[str], column: int) -> str:
    return columns[column] if column < len(columns) else str(column)


def first_bad(
    wrong: NDArray[np.bool_], rows: NDArray[Any], numbers: Sequence[int] | Indices, columns: Sequence[str] = ()
) -> tuple[str, float]:
    """Returns where the first wrong value lies, in words, and the value.

    Args:
        wrong: True for each wrong value.
        rows: some rows of an array.
        numbers: number of each of these rows.
        columns: names of the columns of a table; empty: their numbers.
    """
    place = np.unravel_index(int(wrong.argmax()), wrong.shape)
    row, rest = int(numbers[int(place[0])]), [int(index) for index in place[1:]]
    inside = f"column {_named(columns, rest[0])}" if len(rest) == 1 else f"place {', '.join(map(str, rest))}"
    return f"row {row}, {inside}", rows[place].item()
