"""Combinations of options in which every pair occurs: far fewer than all, and a fault of two options shows in one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations, product
from typing import Any


def pairwise(*axes: Iterable[Any], allowed: Callable[..., bool] = lambda *row: True) -> list[tuple[Any, ...]]:
    """Chooses rows with one value of each axis, so that any two values of two axes meet in a row.

    Greedy: each row is the first of those that have the most pairs that no row before has. The same rows each time.

    Args:
        axes: values that an option takes, one iterable per option.
        allowed: function of the values of a row, False if they exclude each other. Pairs of no such row are omitted.

    Returns:
        The chosen rows, in the order in which they were chosen.
    """
    rows = [row for row in product(*axes) if allowed(*row)]
    bits: dict[Any, int] = {}
    masks = [sum(1 << bits.setdefault(pair, len(bits)) for pair in combinations(enumerate(row), 2)) for row in rows]
    chosen, missing = [], (1 << len(bits)) - 1
    while missing:
        best = max(range(len(rows)), key=lambda i: (masks[i] & missing).bit_count())
        chosen.append(rows[best])
        missing &= ~masks[best]
    return chosen
