"""Class labels in the forms in which people save them, turned into indices 0, 1, 2, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.arrays import Indices
from vae_lab.types import listed

Values = NDArray[Any]
"""Labels as integers or strings, (N,)."""
_MAX_NAMED = 8
_NO_CLASS = "numbers and yes/no attributes are arrays of their own (train_numbers; in Python y={'numbers': ...})"
"""Remedy for a condition that is not one class."""


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
    """Returns the name of each class: its label, unless these are 0, 1, 2, ... themselves.

    Args:
        classes: label of each class, in order.
        labels: labels as they were saved; booleans are named False and True.
    """
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
