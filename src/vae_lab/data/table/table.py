"""The user's own tables: columns by name, of numbers and categories, one of them the label."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vae_lab.data import missing_values
from vae_lab.data.arrays import Arrays, Examples, Indices
from vae_lab.data.conditions import (
    Rows,
    as_indices,
    class_names,
    condition_rows,
    label_values,
    number_values,
)
from vae_lab.data.framing import ImageSize
from vae_lab.data.scaling import as_single
from vae_lab.data.splits import OwnData
from vae_lab.data.table.columns import (
    categories_of,
    check_column,
    classes_of,
    column,
    condition_of,
    counters_in_words,
    is_row_index,
    known_of,
    leave_out,
    numbers_of,
    of_run,
    one_hot,
    others_in_words,
    shown,
    such_rows,
)
from vae_lab.data.table.files import Header, find_tables, is_text, read_table, unread_tables
from vae_lab.types import SplitName, Support, listed


class Table(OwnData):
    """``train.csv`` under ``root`` and, if there are any, ``val.csv`` and ``test.csv``; or one table, split by chance.

    CSV (separated by commas, semicolons, tabs or bars), Parquet, Feather or Arrow.

    Args:
        root: folder of the tables, or one file.
        image_size, memory_limit_gb: not used; every source is given them.
        columns: names of the columns that are modelled; None: all that are not named as something else.
        label: name of the column that is the class; None: no classes.
        attributes: names of columns of 0 and 1 that are attributes of the condition.
        numbers: names of columns that are numbers of the condition.
        categorical: names of those of the columns that are categories, which become one-hot.
        missing: refuse missing values, or mask them: the likelihood sums over what was observed.
        test_fraction: fraction of the rows that become the test set if there is no table of its own.
        split_seed: seed of the choice of the test set.
        header: True: the first line of a CSV has the names of the columns; False: it has values, and the columns have
            the names 0, 1, 2, ...; auto: it has the names, and is refused if one of them is a number.
        leave_out: names of columns that are not used, such as the name of each row.

    Raises:
        ValueError: for an option outside its range, or a column that is named twice.
    """

    name = "table"

    def __init__(
        self,
        root: str = "data",
        image_size: ImageSize = None,
        memory_limit_gb: float = 4.0,
        columns: Sequence[str] | None = None,
        label: str | None = None,
        attributes: Sequence[str] = (),
        numbers: Sequence[str] = (),
        categorical: Sequence[str] = (),
        missing: missing_values.Missing = "refuse",
        test_fraction: float = 0.1,
        split_seed: int = 0,
        header: Header = "auto",
        leave_out: Sequence[str] = (),
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb, test_fraction, split_seed)
        self._asked = None if columns is None else list(columns)
        self._label = label
        self._attributes, self._numbers = tuple(attributes), tuple(numbers)
        self._categorical = list(categorical)
        self._header: Header = header
        self._left_out = tuple(leave_out)
        self._mask = missing_values.is_masked(missing)
        self._masked: dict[SplitName, str] = {}
        self._tables: dict[SplitName, Any] = {}
        self._check_names()

    def _check_names(self) -> None:
        asked = self._asked or []
        twice = next((name for name in asked if asked.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"columns={asked}: the column {twice} occurs twice")
        roles = {
            "label": [] if self._label is None else [self._label],
            "attributes": self._attributes,
            "numbers": self._numbers,
            "leave_out": self._left_out,
        }
        taken = [name for names in roles.values() for name in names]
        for role, names in roles.items():
            both = [name for name in names if name in asked or taken.count(name) > 1]
            if both:
                given = self._label if role == "label" else list(names)
                raise ValueError(f"{role}={given}: {both[0]} is named twice; a column has one use")
        other = [name for name in self._categorical if name in taken or (asked and name not in asked)]
        if other:
            raise ValueError(f"categorical={self._categorical}: {other[0]} is not one of the columns that are modelled")

    @property
    def support(self) -> Support:
        return "real"

    @cached_property
    def native_shape(self) -> tuple[int, ...]:
        return (len(self.columns),)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        one_hot_names = [f"{name}={value}" for name, values in self._known.items() for value in values]
        return (*self._numeric, *one_hot_names)

    @property
    def categories(self) -> tuple[int, ...]:
        return tuple(len(values) for values in self._known.values())

    @property
    def missing(self) -> bool:
        return self._mask

    @property
    def num_classes(self) -> int:
        return len(self._classes)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        if self._label is None:
            return ()
        return class_names(self._classes, column(self._table("train"), self._label, self._files["train"]))

    @property
    def attributes(self) -> tuple[str, ...]:
        return self._attributes

    @property
    def numbers(self) -> tuple[str, ...]:
        return self._numbers

    def origin(self, split: SplitName) -> str:
        return self._files[split].name if split in self._files else super().origin(split)

    def passed_over(self) -> list[str]:
        used = {*self._modelled, *self._of_condition}
        columns = others_in_words(self._table("train").column_names, used)
        return [*columns, *unread_tables(self.root, self._files.values()), *self._masked.values()]

    def values_note(self) -> str:
        if self._header == "auto":
            return ""
        names = listed(self._modelled, 5)
        return f"under the names {names} of the first line" if self._header else f"in the columns {names} without names"

    def row_numbers(self) -> str:
        return "" if self._asked or not self.columns else counters_in_words(self._table("train"), self._modelled)

    def found(self) -> dict[str, Any]:
        return {"columns": self._modelled} if self._asked is None else {}

    def _read(self, split: SplitName) -> Arrays:
        rows = self._rows(split, self._size())
        x, y = self._x(split, rows), self._y(split if rows is None else "train")
        return Arrays(x, y if rows is None or y is None else y[rows], rows=rows)

    def _size(self) -> int:
        return int(self._table("train").num_rows)

    def _x(self, split: SplitName, rows: Indices | None) -> Examples:
        """Returns the examples of a split, (N, *native_shape), which are these rows in training; None: its own."""
        held: SplitName = split if rows is None else "train"
        table, path = self._table(held), self._files[held]
        numbers = [numbers_of(table, name, path) for name in self._numeric]
        parts = [as_single(np.stack(numbers, axis=1), self._numeric, path)] if numbers else []
        for name, known in self._known.items():
            parts.append(one_hot(*categories_of(table, name, path), known, f"{path}: column {name}"))
        x = np.concatenate(parts, axis=1)
        self._check_missing(x, held)
        return x if rows is None else x[rows]

    def _y(self, split: SplitName) -> Rows | Indices | None:
        """Returns the condition of a split, as `Arrays` has it."""
        if not self._of_condition:
            return None
        table, path = self._table(split), self._files[split]
        flags = [condition_of(table, name, path, flags=True) for name in self._attributes]
        values = [condition_of(table, name, path) for name in self._numbers]
        numbers = [number_values(np.stack(values, axis=1), self._numbers, path)] if values else []
        return condition_rows(self._labels(split), self.num_classes, [*flags, *numbers])

    def _check_missing(self, x: np.ndarray, split: SplitName) -> None:
        """Raises ValueError for missing values that are not masked, and for a column of which none is known."""
        widths = [*(1 for _ in self._numeric), *map(len, self._known.values())]
        names, path = [*self._numeric, *self._known], self._files[split]
        unknown = np.isnan(x[:, np.cumsum([0, *widths[:-1]])])  # a category is missing in each of its columns
        if not unknown.any():
            return
        if not self._mask:
            counts = {name: num for name, num in zip(names, unknown.sum(0).tolist(), strict=True) if num}
            row, place = np.argwhere(unknown)[0].tolist()
            first = f"column {names[place]}, row {row + 1}"
            raise ValueError(missing_values.refusal(int(unknown.sum()), first, path, counts))
        empty = np.flatnonzero(unknown.all(0))
        self._masked[split] = missing_values.note(int(unknown.sum()), unknown.size, path.name)
        if len(empty) and split == "train":
            raise ValueError(f"{path}: column {names[empty[0]]} has no value at all; {leave_out(names[empty[0]])}")

    @cached_property
    def _files(self) -> dict[SplitName, Path]:
        return find_tables(self.root)

    def _table(self, split: SplitName) -> Any:
        """Returns the table of a split, read at the first call."""
        if split not in self._tables:
            self._tables[split] = self._load(split)
        return self._tables[split]

    def _load(self, split: SplitName) -> Any:
        named = [*([] if self._label is None else [self._label]), *self._categorical]
        path, header = self._files[split], self._header
        if header != "auto" and not is_text(path):
            raise ValueError(f"data.images.header={str(header).lower()}: {path} has names of its own; leave it out")
        table = read_table(path, named, True if header == "auto" and self._asked is not None else header)
        for name in self._left_out if split == "train" and self._asked is None else ():  # other tables may lack them
            check_column(table, name, path)
        return table

    @cached_property
    def _modelled(self) -> list[str]:
        """Names of the columns of an example, in the order of the table or as asked for."""
        names = self._table("train").column_names
        others = [name for name in names if name not in self._of_condition and not is_row_index(name)]
        modelled = [name for name in others if name not in self._left_out] if self._asked is None else self._asked
        for name in (*modelled, *self._categorical, *self._of_condition):
            check_column(self._table("train"), name, self._files["train"])
        if not modelled:
            raise ValueError(f"{self._files['train']}: no column is left to be modelled")
        return list(modelled)

    @property
    def _numeric(self) -> list[str]:
        return [name for name in self._modelled if name not in self._categorical]

    @cached_property
    def _known(self) -> dict[str, list[str]]:
        """Values of each categorical column in the training table, in order."""
        table, path = self._table("train"), self._files["train"]
        names = [name for name in self._modelled if name in self._categorical]
        known = {name: of_run(self.kept_columns, name, categories_of(table, name, path)[0]) for name in names}
        if empty := [name for name, values in known.items() if not values]:
            raise ValueError(f"{path}: column {empty[0]} has no value at all; {leave_out(empty[0])}")
        return known

    @property
    def _of_condition(self) -> list[str]:
        """Names of the columns that are the condition."""
        return [*([] if self._label is None else [self._label]), *self._attributes, *self._numbers]

    @cached_property
    def _classes(self) -> tuple[Any, ...]:
        """The label that stands for each class, in order."""
        return () if self._label is None else classes_of(self._table("train"), self._label, self._label_values("train"))

    def _label_values(self, split: SplitName) -> np.ndarray:
        assert self._label is not None
        table, path = self._table(split), self._files[split]
        values = column(table, self._label, path)
        unknown = np.flatnonzero(~known_of(values))
        if len(unknown):
            where = f"{path}: column {self._label}, row {unknown[0] + 1}"
            raise ValueError(f"{where}: no label; leave out {such_rows(len(unknown))}, or the label")
        return label_values(np.array([shown(value) for value in values]) if values.dtype.kind == "O" else values, path)

    def _labels(self, split: SplitName) -> Indices | None:
        if self._label is None:
            return None
        values = self._label_values(split)
        if isinstance(self._classes[0], str):  # in training, and here numbers alone may be left
            values = np.array([shown(value) for value in values.tolist()])
        return as_indices(values, self._classes, f"{self._files[split]}: column {self._label}")
