"""Conditions of examples as arrays: one-hot classes, attributes and numbers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.arrays import Indices
from vae_lab.data.scaling import as_single

Rows = NDArray[np.float32]


def condition_rows(
    labels: Indices | None, num_classes: int, attributes: Rows | None = None, numbers: Rows | None = None
) -> Indices | Rows | None:
    """Returns y of a data set: the labels alone, (N,), or rows of one-hot classes, attributes and numbers, (N, C).

    Args:
        labels: class of each example; None for data without classes.
        num_classes: number of classes.
        attributes: attributes as 0 and 1, (N, A); None for data without attributes.
        numbers: numbers in the user's units, (N, M); None for data without numbers.
    """
    parts = [part for part in (attributes, numbers) if part is not None]
    if not parts:
        return labels
    one_hot = [] if labels is None else [np.eye(num_classes, dtype=np.float32)[labels]]
    return np.concatenate([*one_hot, *parts], axis=1)


def attribute_values(array: NDArray[Any], names: Sequence[str], source: object) -> Rows:
    """Returns attributes as 0 and 1, (N, A).

    Args:
        array: booleans or numbers, (N, A) or (N,).
        names: names of the A attributes.
        source: file of the attributes, for errors.

    Raises:
        ValueError: naming the row and the column of a value other than 0 and 1.
    """
    columns = _columns(array, names, source)
    _refuse((columns != 0) & (columns != 1), columns, names, source, "an attribute is 0 or 1")
    return columns.astype(np.float32)


def number_values(array: NDArray[Any], names: Sequence[str], source: object) -> Rows:
    """Returns numbers, (N, M), from numbers (N, M) or (N,).

    Raises:
        ValueError: naming the row and the column of a value that is not finite; as `as_single`.
    """
    columns = _columns(array, names, source)
    in_range = np.abs(columns) <= np.finfo(np.float32).max  # False for NaN
    _refuse(~in_range, columns, names, source, "must be a finite number; leave such examples out")
    return as_single(columns, names, source)


def check_rows(y: Any, num: int, classes: int, attributes: int, numbers: int, name: str) -> None:
    """Checks the condition of ``num`` examples of a source, by the number of its classes, attributes and numbers.

    Raises:
        ValueError: for another shape or dtype, or values that are not those of such columns.
    """
    width = classes + attributes + numbers
    if not isinstance(y, np.ndarray) or y.dtype != np.float32 or y.shape != (num, width):
        found = f"{y.dtype} {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise ValueError(f"{name}: the condition is {found}, expected float32 ({num}, {width})")
    flags = y[:, : classes + attributes]
    if not np.isfinite(y).all() or not ((flags == 0) | (flags == 1)).all():
        raise ValueError(f"{name}: a condition that is not finite, or has flags other than 0 and 1")
    if classes and not (flags[:, :classes].sum(1) == 1).all():
        raise ValueError(f"{name}: a condition whose classes are not one-hot")


def width_of(array: NDArray[Any]) -> int:
    """Returns the number of columns of an array, (N, M) or (N,)."""
    return array.shape[1] if array.ndim > 1 else 1


def written_names(path: Path, num: int | None = None) -> tuple[str, ...]:
    """Returns the lines of a file of names; empty if there is no such file.

    Args:
        path: path of the file.
        num: number of names that there must be; None: any.

    Raises:
        ValueError: for a file without one different name per line, or with another number of names.
    """
    if not path.exists():
        return ()
    try:
        names = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error})") from error
    if not names or not all(names) or len(set(names)) < len(names):
        raise ValueError(f"{path}: must have one name per line, in the order of the labels, each of them once")
    if num is not None and len(names) != num:
        raise ValueError(f"{path}: {len(names)} names for {num} columns")
    return tuple(names)


def _columns(array: NDArray[Any], names: Sequence[str], source: object) -> NDArray[Any]:
    columns = array[:, None] if array.ndim == 1 else array
    if columns.ndim != 2 or columns.dtype.kind not in "buif" or columns.shape[1] != len(names):
        wanted = f"numbers, (N, {len(names)})"
        raise ValueError(f"{source}: {array.dtype} {array.shape}, expected {wanted}, a row for each example")
    return columns


def _refuse(wrong: NDArray[np.bool_], values: NDArray[Any], names: Sequence[str], source: object, wanted: str) -> None:
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(f"{source}: {values[row, column]} in row {row}, column {names[column]}: {wanted}")
