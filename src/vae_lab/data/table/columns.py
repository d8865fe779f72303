"""Columns of a table as arrays, each value checked: an error names the file, the column and the row."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.types import listed

Column = NDArray[Any]
_FEW_ROWS = 20
"""Rows that may count up by chance."""
_MAX_VALUES = 1000
"""Values of a categorical column; more are a mistake, such as a name."""
_OTHER_FORM = {"False": "0", "True": "1", "0": "False", "1": "True"}
"""The form in which a file with missing values, or another file, holds booleans."""


def numbers_of(table: Any, name: str, path: Path) -> NDArray[np.float64]:
    """Returns a column of numbers, NaN where a value is missing.

    Raises:
        ValueError: for values that are not numbers, or are infinite.
    """
    values = column(table, name, path)
    if values.dtype.kind in "bui":
        return values.astype(np.float64)
    if values.dtype.kind != "f":
        raise ValueError(f"{path}: column {name}: {_first_text(values, path)}")
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise ValueError(f"{path}: column {name}, row {infinite[0] + 1}: {values[infinite[0]]} is not a finite number")
    return values.astype(np.float64)


def condition_of(table: Any, name: str, path: Path, flags: bool = False) -> NDArray[np.float64]:
    """Returns a column that is a number of the condition, or with ``flags`` an attribute.

    Raises:
        ValueError: for a missing value, or an attribute other than 0 and 1.
    """
    values = numbers_of(table, name, path)
    wrong = np.isnan(values) | (((values != 0) & (values != 1)) if flags else False)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = "no value" if np.isnan(values[row]) else f"{shown(float(values[row]))}, and an attribute is 0 or 1"
        raise ValueError(
            f"{path}: column {name}, row {row + 1}: {found}; correct or leave out {such_rows(int(wrong.sum()))}"
        )
    return values


def leave_out(name: str) -> str:
    """Returns the words that say how a column is not used."""
    return f"leave it out: data.images.leave_out=[{name}]"


def such_rows(num: int) -> str:
    """Returns the words for a row that was named and the others of ``num`` like it: ``this row and 2 others``."""
    return "this row" + (f" and {num - 1} other{'s' * (num > 2)}" if num > 1 else "")


def categories_of(table: Any, name: str, path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Returns the distinct values of a column, as strings in order, and the place of each row's; -1: missing.

    Their order is the one that the column declares, as ordered categories of pandas do.
    """
    values = column(table, name, path)
    known = known_of(values)
    distinct, places = np.unique(values[known], return_inverse=True)
    if len(distinct) > _MAX_VALUES:
        raise ValueError(
            f"{path}: column {name} has {len(distinct)} values, more than {_MAX_VALUES}; {leave_out(name)}"
        )
    found = distinct.tolist()
    order = [value for value in declared_order(table, name) if value in found] or found
    rows = np.full(len(values), -1)
    rows[known] = np.array([order.index(value) for value in found], np.int64)[places]
    return list(map(shown, order)), rows


def declared_order(table: Any, name: str) -> list[Any]:
    """Returns all values that a column of ordered categories declares, in order; empty for any other column."""
    found = table[name]
    if not getattr(found.type, "ordered", False):
        return []
    values: list[Any] = found.unify_dictionaries().chunk(0).dictionary.to_pylist()
    return values


def classes_of(table: Any, name: str, labels: Column) -> tuple[Any, ...]:
    """Returns the label of each class: all that the column declares, in order, or those that occur, sorted."""
    found = np.unique(labels).tolist()
    declared = declared_order(table, name)
    if declared and isinstance(found[0], str):
        return tuple(shown(value).strip() for value in declared)
    return tuple(declared or found)


def of_run(columns: Sequence[str], name: str, values: list[str]) -> list[str]:
    """Returns the values of a categorical column in the order of a run that knows all of them; else as they are."""
    known = [column.removeprefix(f"{name}=") for column in columns if column.startswith(f"{name}=")]
    return known if {*values} <= {*known} else values


def one_hot(values: Sequence[str], places: NDArray[np.int64], known: Sequence[str], where: str) -> Column:
    """Returns one-hot rows over the known categories, NaN where the value is missing.

    Args:
        values: distinct values of the column.
        places: place of each row's value among them; -1: missing.

    Raises:
        ValueError: for a value that the training split does not have.
    """
    values = [value if value in known else _OTHER_FORM.get(value, value) for value in values]
    new = [value for value in values if value not in known]
    if new:
        row = int(np.flatnonzero(places == values.index(new[0]))[0])
        raise ValueError(f"{where}, row {row + 1}: {new[0]} is not one of the categories in training ({listed(known)})")
    of_known = np.array([*(known.index(value) for value in values), -1])[places]
    rows: Column = np.eye(len(known), dtype=np.float32)[of_known]
    rows[of_known < 0] = np.nan
    return rows


def column(table: Any, name: str, path: Path) -> Column:
    """Returns the values of a column: numbers, or objects of which None is missing.

    Raises:
        ValueError: for a column that the table does not have, or values that are neither numbers nor strings.
    """
    check_column(table, name, path)
    found = table[name]
    kind = str(found.type)
    if kind.startswith("dictionary"):
        found = found.cast(found.type.value_type)
    elif kind.startswith("decimal"):
        found = found.cast("float64")
    elif kind in ("null",):
        return np.full(len(found), np.nan)
    elif not kind.startswith(("int", "uint", "float", "halffloat", "double", "bool", "string", "large_string")):
        raise ValueError(
            f"{path}: column {name} has values of type {kind}; save numbers or strings, or {leave_out(name)}"
        )
    if kind == "bool" and found.null_count:
        found = found.cast("uint8")
    values: Column = found.to_numpy()
    return values


def check_column(table: Any, name: str, path: Path) -> None:
    """Raises ValueError for a column that the table does not have."""
    if name not in table.column_names:
        raise ValueError(f"{path}: has no column {name}; its columns are {listed(table.column_names)}")


def refuse_numbers_as_names(names: Sequence[str], path: Path) -> None:
    """Raises ValueError if the first line of a CSV has a number, which may be the name of a column or a value."""
    if numbers := [name for name in names if _is_number(name)]:
        raise ValueError(
            f"{path}: the first line has numbers ({listed(numbers, 5)}); set data.images.header=false if they are"
            " values, or data.images.header=true if they are the names of the columns"
        )


def is_row_index(name: str) -> bool:
    """True for the names under which pandas, R and `datasets` save the number of each row."""
    return re.fullmatch(r"(Unnamed: 0(\.\d+)?|__index_level_\d+__)?", name) is not None


def counters_in_words(table: Any, names: Sequence[str]) -> str:
    """Returns which columns count the rows, in words; empty if none does."""
    whole = [name for name in names if str(table[name].type).startswith(("int", "uint")) and not table[name].null_count]
    steps = {name: np.diff(table[name].to_numpy().astype(np.float64)) for name in whole if len(table) > _FEW_ROWS}
    counters = [name for name, found in steps.items() if (found == 1).all()]
    left_out = f"data.images.leave_out=[{','.join(counters)}] leaves {'it' if len(counters) == 1 else 'them'} out"
    return f"{listed(counters)}, modelled like any other column; {left_out}" if counters else ""


def others_in_words(names: Sequence[str], used: Collection[str]) -> list[str]:
    """Returns which columns are not used, in words; empty if all are."""
    others = [name for name in names if name not in used]
    indices = [repr(name) for name in others if is_row_index(name)]
    plain = [name for name in others if not is_row_index(name)]
    return [
        *([f"{len(plain)} other column{'s' * (len(plain) > 1)} ({listed(plain)})"] if plain else []),
        *([f"row numbers that were saved as a column ({listed(indices)})"] if indices else []),
    ]


def shown(value: object) -> str:
    """Returns a value as a name: whole floats without a point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def known_of(values: Column) -> NDArray[np.bool_]:
    """Returns True for each value that is not missing."""
    if values.dtype.kind == "f":
        return ~np.isnan(values)
    if values.dtype.kind == "O":
        return np.array([value is not None for value in values], bool)
    return np.ones(len(values), bool)


def _first_text(values: Column, path: Path) -> str:
    """Returns which value is not a number, or that none is."""
    for row, value in enumerate(values):
        if value is not None and not _is_number(value):
            others = sum(_is_number(other) for other in values if other is not None)
            if _is_number(str(value).replace(",", ".")):
                remedy = "save it with decimal points; pandas.read_csv(FILE, decimal=',') reads decimal commas"
            elif others > len(values) / 2:
                remedy = "correct it"
            else:
                remedy = (
                    "name the column in data.images.categorical or data.images.leave_out; if it is the class, set"
                    " data.images.label to its name"
                )
            return f"{value!r} in row {row + 1} is not a number; {remedy}"
    return "not numbers; name it in data.images.leave_out"


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
