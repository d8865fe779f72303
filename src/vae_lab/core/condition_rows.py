"""Checks the rows of a condition: one-hot class, attributes and numbers of each example."""

from __future__ import annotations

from torch import Tensor

from vae_lab.types import DataSpec, listed

_MAX_NAMED = 8
"""Columns that a message names."""


def check_rows(spec: DataSpec, y: Tensor, num: int) -> None:
    """Checks shape and dtype of the condition of ``num`` examples.

    Raises:
        TypeError: for integers.
        ValueError: for another shape than (num, C).
    """
    size = spec.context_features
    if y.dim() == 1 and len(y) == size and num == 1:
        raise ValueError(f"y: shape {tuple(y.shape)} has no batch axis, must be (1, {size}); y[None] adds it")
    if y.dim() != 2 or y.shape[1] != size:
        raise ValueError(f"y: shape {tuple(y.shape)}, must be ({num}, {size}){columns(spec)}")
    if not y.is_floating_point():
        raise TypeError(f"y: dtype {str(y.dtype).removeprefix('torch.')}, must be floats; y.float() makes them")
    if len(y) != num:
        raise ValueError(f"y: {num} examples with {len(y)} labels; give one row for each")


def check_values(spec: DataSpec, y: Tensor) -> None:
    """Checks that numbers are finite, attributes 0 or 1, and classes one-hot; reads y, which waits for a GPU.

    Raises:
        ValueError: naming the first value that is not, with its row and column.
    """
    flags = spec.context_features - len(spec.numbers)
    wrong = ~y.isfinite()
    wrong[:, :flags] |= (y[:, :flags] != 0) & (y[:, :flags] != 1)
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        allowed = "0 or 1" if column < flags else "a finite number"
        name = spec.context_names[column]
        raise ValueError(f"y: {y[row, column].item():g} in row {row}, column {name}: must be {allowed}")
    several = y[:, : spec.num_classes].sum(1) != 1
    if spec.num_classes and several.any():
        row = int(several.nonzero()[0])
        classes = spec.context_names[: spec.num_classes]
        found = [classes[i] for i in y[row, : spec.num_classes].nonzero().flatten().tolist()]
        raise ValueError(
            f"y: row {row} has the classes {listed(found, _MAX_NAMED) or 'none'}: must have 1 in one of the columns"
            f" {listed(classes, _MAX_NAMED)}"
        )


def columns(spec: DataSpec) -> str:
    """Returns the columns of a row, as the end of a message."""
    return f"; its columns are {listed(spec.context_names, _MAX_NAMED)}"
