"""Data frames and AnnData as arrays: their columns by name, in the order of those of the training data."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.table_columns import one_hot, shown
from vae_lab.types import listed


def column_names(value: Any) -> tuple[str, ...]:
    """Returns the names of the columns of a data frame, or of the variables of an AnnData; empty for anything else."""
    return tuple(map(str, value.var_names if _is_anndata(value) else getattr(value, "columns", ())))


def numbers_of_frame(name: str, value: Any, wanted: Sequence[str] = ()) -> Any:
    """Returns the columns of a data frame or an AnnData, (N, columns), NaN where a number is missing.

    Anything else is returned as it is.

    Args:
        name: name of the value in messages.
        value: data frame, AnnData or anything else.
        wanted: names of the columns of the training data, in whose order the columns are returned; ``kind=a`` is where
            the column ``kind`` says a. Empty: all columns as they stand, as of a frame whose columns have no names but
            0, 1, 2, ...

    Raises:
        ValueError: for a column that is missing, occurs twice, or holds something else than numbers.
    """
    names = column_names(value)
    if not names:
        return value
    if not wanted or names == tuple(map(str, range(len(names)))):
        wanted = names
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: the column {next(each for each in names if names.count(each) > 1)} occurs twice")
    places = {each: place for place, each in enumerate(names)}
    of_category = {each: column for each in wanted if each not in places and (column := _categorical(each, places))}
    missing = [each for each in wanted if each not in places and each not in of_category]
    if missing:
        raise ValueError(f"{name}: no column {missing[0]}; the model was trained on {listed(wanted)}")
    if _is_anndata(value):
        x = value.X.toarray() if hasattr(value.X, "toarray") else value.X
        return x if wanted == names else x[:, [places[each] for each in wanted]]
    columns: dict[str, list[NDArray[Any]]] = {}
    for each in wanted:
        column = of_category.get(each, each)
        cells = value[value.columns[places[column]]]
        if each not in of_category:
            columns[each] = [_numbers(name, each, cells)]
        elif column not in columns:
            known = [other.removeprefix(f"{column}=") for other in wanted if of_category.get(other) == column]
            columns[column] = [*_one_hot(f"{name}: column {column}", cells, known).T]
    return np.stack([array for parts in columns.values() for array in parts], axis=1)


def is_missing(value: Any) -> bool:
    """True for None, NaN and the like, which are not equal to themselves."""
    try:
        return value is None or bool(value != value)  # noqa: PLR0124
    except TypeError:  # pandas.NA
        return True
    except ValueError:  # an array
        return False


def _is_anndata(value: Any) -> bool:
    return hasattr(value, "var_names") and hasattr(value, "X")


def _categorical(one_hot_name: str, columns: Collection[str]) -> str:
    """Returns the column ``kind`` that ``kind=a`` is one category of; empty if there is none."""
    words = one_hot_name.split("=")
    return next((name for end in range(1, len(words)) if (name := "=".join(words[:end])) in columns), "")


def _numbers(name: str, column: str, values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype.kind == "O":  # of whole numbers of which some are missing
        with contextlib.suppress(TypeError, ValueError):
            array = np.array([np.nan if is_missing(each) else each for each in array], np.float64)
    if array.dtype.kind not in "buif":
        raise ValueError(
            f"{name}: column {column} holds {array.dtype} and not numbers; save the table and use data=table,"
            " which reads categories, or leave the column out"
        )
    return array


def _one_hot(where: str, values: Any, known: Sequence[str]) -> NDArray[Any]:
    cells = np.asarray(values, object).tolist()
    texts = [None if is_missing(cell) else shown(cell) for cell in cells]
    distinct = sorted({text for text in texts if text is not None})
    places = {text: place for place, text in enumerate(distinct)}
    return one_hot(distinct, np.array([-1 if text is None else places[text] for text in texts]), known, where)
