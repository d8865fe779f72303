"""One pass over an array: its range, and the first value that is not a finite number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.arrays import Indices, chunks, release

_MAX_LEVEL = 255
_DARK = 128


class Range(NamedTuple):
    """Smallest and largest value, and whether all values are whole numbers."""

    low: float
    high: float
    whole: bool

    @property
    def levels(self) -> bool:
        """True for whole numbers that look like the grey values of 8 bits."""
        return self.whole and self.low >= 0 and (_DARK <= self.high <= _MAX_LEVEL or self.high <= 1)

    @property
    def real(self) -> bool:
        """True if the values are neither in [0, 1] nor grey values of 8 bits."""
        return not (self.levels or (self.low >= 0 and self.high <= 1))


def scanned(array: NDArray[Any], source: object) -> Range:
    """Returns the range of an array; that of bytes and booleans without a look at them.

    Raises:
        ValueError: naming the first row that holds NaN, an infinite value, or one beyond 32 bits.
    """
    if array.dtype in (np.uint8, np.bool_):
        return Range(0, 1 if array.dtype == np.bool_ else _MAX_LEVEL, whole=True)
    low, high, whole = np.inf, -np.inf, True
    limit = float(np.finfo(np.float32).max)
    for rows in chunks(len(array), array[0].nbytes):
        part = array[rows]
        least, most = float(part.min()), float(part.max())
        if not (-limit <= least and most <= limit):  # also for NaN
            wrong = ~(np.isfinite(part) & (np.abs(part) <= limit))
            where, value = first_bad(wrong, part, range(rows.start, rows.stop))
            raise ValueError(f"{source}: {where}: {value}, must be a finite number of 32 bits")
        low, high = min(low, least), max(high, most)
        whole = whole and (part.dtype.kind in "ui" or bool((part == np.floor(part)).all()))
        release(array)
    return Range(low, high, whole)


def first_bad(wrong: NDArray[np.bool_], rows: NDArray[Any], numbers: Sequence[int] | Indices) -> tuple[str, float]:
    """Returns where the first wrong value lies, in words, and the value.

    Args:
        wrong: True for each wrong value.
        rows: some rows of an array.
        numbers: number of each of these rows.
    """
    place = np.unravel_index(int(wrong.argmax()), wrong.shape)
    row, rest = int(numbers[int(place[0])]), [int(index) for index in place[1:]]
    where = f"row {row}, column {rest[0]}" if len(rest) == 1 else f"row {row}, place {', '.join(map(str, rest))}"
    return where, rows[place].item()
