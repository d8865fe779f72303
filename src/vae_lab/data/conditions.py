"""Conditions of examples: labels in the forms in which people save them, attributes and numbers; choice by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.arrays import Indices
from vae_lab.data.scaling import as_single
from vae_lab.types import DataSpec, NoExampleError, listed

Rows = NDArray[np.float32]
Values = NDArray[Any]
"""Labels as integers or strings, (N,)."""
_MAX_NAMED = 8
_NO_CLASS = "numbers and yes/no attributes are arrays of their own (train_numbers; in Python y={'numbers': ...})"
"""Remedy for a condition that is not one class."""


def condition_rows(labels: Indices | None, num_classes: int, columns: Sequence[NDArray[Any]]) -> Indices | Rows | None:
    """Returns y of a data set: the labels alone, (N,), or rows of one-hot classes, attributes and numbers, (N, C).

    Args:
        labels: class of each example; None for data without classes.
        num_classes: number of classes.
        columns: attributes as 0 and 1, then numbers in the user's units, (N,) or (N, columns) each; may be empty.
    """
    if not columns:
        return labels
    one_hot = [] if labels is None else [np.eye(num_classes, dtype=np.float32)[labels]]
    return np.column_stack([*one_hot, *columns]).astype(np.float32)


def attribute_values(array: NDArray[Any], names: Sequence[str], source: object) -> Rows:
    """Returns attributes as 0 and 1, (N, A), from booleans or numbers, (N, A) or (N,).

    Raises:
        ValueError: naming the row and the column of a value other than 0 and 1, and their file, the source.
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


def written_names(path: Path) -> tuple[str, ...]:
    """Returns the lines of a file of names; empty if there is no such file.

    Raises:
        ValueError: for a file without one different name per line.
    """
    if not path.exists():
        return ()
    try:
        names = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error})") from error
    if not names or not all(names) or len(set(names)) < len(names):
        raise ValueError(f"{path}: must have one name per line, in the order of the labels, each of them once")
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


def missing_labels(array: NDArray[Any], source: object) -> str:
    """Returns how many labels are missing, in words, if some are and some are not: -1, NaN or an empty string.

    Raises:
        ValueError: for labels of -1 and 1 alone, which may be two classes.
    """
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1:
        return ""
    if flat.dtype.kind in "US":
        text = np.char.strip(np.char.decode(flat, "utf-8") if flat.dtype.kind == "S" else flat)
        missing, shown = (text == "") | (text == "nan"), "empty"
    elif flat.dtype.kind in "if":
        missing, shown = (flat == -1) | np.isnan(flat), "-1 or NaN"
        if set(np.unique(flat).tolist()) == {-1, 1}:
            raise ValueError(f"{source}: labels of -1 and 1: two classes, or is -1 missing? Save 0 and 1, or strings")
    else:
        return ""
    if not missing.any() or missing.all():
        return ""
    first = int(missing.argmax())
    return f"{int(missing.sum())} of {len(flat)} in {source} are missing ({shown}, first in row {first})"


def label_values(array: NDArray[Any], source: object) -> Values:
    """Returns one integer or string for each example.

    Args:
        array: integers, whole floats, booleans or strings, (N,) or (N, 1), or one-hot rows (N, C).
        source: file of the labels, for errors.

    Raises:
        ValueError: for anything else, and for negative numbers.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "buif":
        array = _from_one_hot(array, source)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "buifUS":
        raise ValueError(
            f"{source}: {array.dtype} {array.shape}, expected the class of each image, (N,): whole numbers or strings"
        )
    if array.dtype.kind in "US":
        return np.char.strip(np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array)
    wrong = np.flatnonzero(~((array >= 0) & (array < 2**53) & (array == np.floor(array))))
    if len(wrong):
        raise ValueError(
            f"{source}: label {array[wrong[0]]} of example {wrong[0]} is not a class;"
            f" save whole numbers of 0 or more, or strings, and leave out examples without a class; {_NO_CLASS}"
        )
    return array.astype(np.int64)


def class_names(classes: Sequence[Any], labels: NDArray[Any]) -> tuple[str, ...]:
    """Returns the name of each class, its label; none if these are 0, 1, 2, ... themselves and no booleans."""
    if tuple(classes) == (0, 1) and labels.dtype == np.bool_ and labels.size == len(labels):
        return ("False", "True")
    return () if tuple(classes) == tuple(range(len(classes))) else tuple(map(str, classes))


def as_indices(labels: Values, classes: Sequence[Any], source: object) -> Indices:
    """Returns the place of each label among the classes, (N,).

    Raises:
        ValueError: naming a label that is not a class of the training set.
    """
    places = {value: place for place, value in enumerate(classes)}
    distinct, inverse = np.unique(labels, return_inverse=True)
    unknown = [value for value in distinct.tolist() if value not in places]
    if unknown:
        named = listed(list(map(str, classes)), _MAX_NAMED)
        raise ValueError(f"{source}: label {unknown[0]} is not one of the {len(classes)} classes ({named})")
    indices: Indices = np.array([places[value] for value in distinct.tolist()], np.int64)[inverse.reshape(-1)]
    return indices


def _from_one_hot(array: NDArray[Any], source: object) -> NDArray[Any]:
    if not (((array == 0) | (array == 1)).all() and (array.sum(1) == 1).all()):
        raise ValueError(
            f"{source}: {array.dtype} {array.shape} has rows that are not one-hot;"
            f" save the one class of each image, (N,), or leave the labels out; {_NO_CLASS}"
        )
    indices: Indices = array.argmax(1)
    return indices


def chosen_places(
    spec: DataSpec, y: NDArray[Any], wanted: Sequence[int | Mapping[int, float]], split: str
) -> NDArray[np.int64]:
    """Returns the places of the wanted examples in a split; NoExampleError if there are none.

    Args:
        y: class of each example, (N,), or its condition, (N, C).
    """
    found = np.zeros(len(y), bool)
    for each in wanted:
        columns = {each: 1.0} if isinstance(each, int) else each
        if y.ndim == 1:
            found |= np.isin(y, list(columns))
        else:
            found |= np.all([y[:, column] == value for column, value in columns.items()], axis=0)
    if not found.any():
        raise NoExampleError(listed([_wanted_name(spec, each) for each in wanted]), split)
    return np.flatnonzero(found)


def _wanted_name(spec: DataSpec, wanted: int | Mapping[int, float]) -> str:
    if isinstance(wanted, int):
        return spec.name_of(wanted)
    names = spec.context_names
    return "+".join(names[column] if value else f"{names[column]}:{value:g}" for column, value in wanted.items())
