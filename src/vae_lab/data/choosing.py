"""Chooses examples by their class, or by columns of their condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.types import DataSpec, NoExampleError, listed


def chosen_places(
    spec: DataSpec, y: NDArray[Any], wanted: Sequence[int | Mapping[int, float]], split: str
) -> NDArray[np.int64]:
    """Returns the places of the wanted examples in a split.

    Args:
        spec: spec of the data.
        y: class of each example, (N,), or its condition, (N, C).
        wanted: examples that are wanted.
        split: name of the split, for the error.

    Raises:
        NoExampleError: if there is none.
    """
    found = np.zeros(len(y), bool)
    for each in wanted:
        columns = {each: 1.0} if isinstance(each, int) else each
        if y.ndim == 1:
            found |= np.isin(y, list(columns))
        else:
            found |= np.all([y[:, column] == value for column, value in columns.items()], axis=0)
    if not found.any():
        raise NoExampleError(listed([_name(spec, each) for each in wanted]), split)
    return np.flatnonzero(found)


def _name(spec: DataSpec, wanted: int | Mapping[int, float]) -> str:
    if isinstance(wanted, int):
        return spec.name_of(wanted)
    names = spec.context_names
    return "+".join(names[column] if value else f"{names[column]}:{value:g}" for column, value in wanted.items())
