"""Missing values of tables and arrays: refused with their number and the first one, or left out of the likelihood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vae_lab.types import listed

Missing = Literal["refuse", "mask"]
"""Missing values are an error, or NaN that the likelihood leaves out."""
_CODES = (-99, -999, -9999, -99999)
"""Numbers that stand for a missing value in many tables; 99 and the like are prices, too."""


def is_masked(missing: Missing) -> bool:
    """True if missing values are to be masked; raises ValueError for neither of the two options."""
    if missing not in get_args(Missing):
        raise ValueError(f"missing={missing}: choose one of {', '.join(get_args(Missing))}")
    return missing == "mask"


def refusal(num: int, first: str, source: object, by_column: Mapping[str, int] | None = None) -> str:
    """Returns the message that refuses ``num`` missing values.

    Args:
        first: place of the first one, in words.
        by_column: number of missing values in each column that has some; None: there are no columns.
    """
    counts = remedy = ""
    if by_column is not None:
        counts = f" ({listed([f'{name} {count}' for name, count in by_column.items()])})"
        remedy = ", leave the columns out"
    message = f"{source}: {_counted(num)}, the first in {first}{counts}"
    return f"{message}; fill them in{remedy}, or set data.missing=mask"


def note(num: int, size: int, source: object) -> str:
    """Returns what the start of a run says of ``num`` missing values among ``size`` that are masked."""
    them = "it" if num == 1 else "them"
    return f"{_counted(num)} in {source} ({num / size:.1%}): the likelihood leaves {them} out"


def _counted(num: int) -> str:
    return f"{num} missing value{'s'[: num != 1]}"


def suspected(x: NDArray[Any], names: Sequence[str]) -> str:
    """Returns which columns hold a number that is likely to stand for a missing value, in words; empty if none does.

    Args:
        x: examples, (N, C, ...).
        names: name of each index of the first axis; empty: their numbers.
    """
    columns = np.moveaxis(x.reshape(*x.shape[:2], -1), 1, 0).reshape(x.shape[1], -1)
    coded, found = np.isin(columns, _CODES), []
    for place in np.flatnonzero(coded.any(1)).tolist():
        others = columns[place, ~coded[place] & ~np.isnan(columns[place])]
        codes, counts = np.unique(columns[place, coded[place]], return_counts=True)
        low, high, code = others.min(initial=np.inf), others.max(initial=-np.inf), codes[counts.argmax()]
        if low - code > high - low >= 0:
            share = counts.max() / columns.shape[1]
            found.append(f"{names[place] if names else place}: {code:g} in {share:.1%}, others {low:g} to {high:g}")
    remedy = "if that stands for missing values, save NaN (in a CSV nothing) and set data.missing=mask"
    return f"{listed(found, 3)}; {remedy}" if found else ""
