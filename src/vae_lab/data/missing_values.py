"""Missing values of tables and arrays: refused with their number and the first one, or left out of the likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from vae_lab.types import listed

Missing = Literal["refuse", "mask"]
"""Missing values are an error, or NaN that the likelihood leaves out."""


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
