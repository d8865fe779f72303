"""Labels, attributes and numbers beside a user's arrays, as the condition of each example."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.array_labels import Values, as_indices, class_names, label_values, missing_labels
from vae_lab.data.array_memory import ArraysInMemory
from vae_lab.data.array_store import ArrayStore
from vae_lab.data.arrays import Indices
from vae_lab.data.conditions import Rows, attribute_values, condition_rows, number_values, width_of, written_names
from vae_lab.types import SplitName

_Columns = Literal["attributes", "numbers"]


class ArrayConditions:
    """The condition of arrays: their labels and, if there are any, attributes and numbers beside them.

    Args:
        store: arrays by role.
    """

    def __init__(self, store: ArrayStore | ArraysInMemory) -> None:
        self._store = store

    @cached_property
    def num_classes(self) -> int:
        return len(self._classes)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The lines of ``class_names.txt``; else the labels, unless they are 0, 1, 2, ... themselves."""
        if self._written_classes:
            return self._written_classes
        return class_names(self._classes, self._store.open(("train", "labels"))) if self._classes else ()

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """The lines of ``attribute_names.txt``; else ``attribute_0``, ``attribute_1``, ..."""
        return self._names("attributes")

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The lines of ``number_names.txt``; else ``number_0``, ``number_1``, ..."""
        return self._names("numbers")

    def read(self, split: SplitName, num: int) -> NDArray[Any] | None:
        """Returns the class of each of ``num`` examples, (N,), or rows with attributes and numbers, (N, C), or None.

        Raises:
            ValueError: for missing arrays or another number of rows, and for values that no label, attribute or number
                has; it names file, row and column.
        """
        labels = self._labels(split)
        attributes = self._columns(split, "attributes", self.attributes)
        numbers = self._columns(split, "numbers", self.numbers)
        for kind, part in (("labels", labels), ("attributes", attributes), ("numbers", numbers)):
            if part is not None and len(part) != num:
                raise ValueError(f"{self._store.found[split, kind]}: {len(part)} {kind} for {num} examples")  # type: ignore[index]
        return condition_rows(labels, self.num_classes, attributes, numbers)

    @cached_property
    def _written_classes(self) -> tuple[str, ...]:
        return self._written("class_names.txt", "labels")

    def _written(self, file: str, kind: Literal["labels", "attributes", "numbers"]) -> tuple[str, ...]:
        """Returns the lines of a file of names beside the arrays, or the names of columns in memory; empty if none.

        Raises:
            ValueError: for names without the array that they belong to.
        """
        if isinstance(self._store, ArraysInMemory):
            return self._store.names.get(kind, ())
        folder = self._store.place if self._store.place.is_dir() else self._store.place.parent
        names = written_names(folder / file)
        if names and ("train", kind) not in self._store.found:
            what = "classes" if kind == "labels" else kind
            raise ValueError(f"{folder / file}: names of {what}, but {folder / f'train_{kind}.npy'} is missing")
        return names

    def _names(self, kind: _Columns) -> tuple[str, ...]:
        one = kind.removesuffix("s")
        written = self._written(f"{one}_names.txt", kind)
        if ("train", kind) not in self._store.found:
            return ()
        num = width_of(self._store.open(("train", kind)))
        if written and len(written) != num:
            raise ValueError(f"{one}_names.txt: {len(written)} names, but {self._store.found['train', kind]} has {num}")
        return written or tuple(f"{one}_{number}" for number in range(num))

    def _columns(self, split: SplitName, kind: _Columns, names: Sequence[str]) -> Rows | None:
        if not self._is_there(split, kind, bool(names)):
            return None
        read = attribute_values if kind == "attributes" else number_values
        return read(self._store.open((split, kind)), names, self._store.found[split, kind])

    @cached_property
    def missing_labels(self) -> str:
        """The number of missing labels, in words, so that none are used; empty if they are complete."""
        for role, stored in self._store.found.items():
            if role[1] == "labels" and (why := missing_labels(self._store.open(role), stored)):
                return why
        return ""

    @cached_property
    def _classes(self) -> tuple[Any, ...]:
        """The label that stands for each class, in order."""
        if ("train", "labels") not in self._store.found or self.missing_labels:
            return ()
        labels = self._label_values("train")
        if not self._written_classes:
            return tuple(np.unique(labels).tolist())
        return self._written_classes if labels.dtype.kind == "U" else tuple(range(len(self._written_classes)))

    def _label_values(self, split: SplitName) -> Values:
        return label_values(self._store.open((split, "labels")), self._store.found[split, "labels"])

    def _labels(self, split: SplitName) -> Indices | None:
        if not self._is_there(split, "labels", bool(self._classes)):
            return None
        return as_indices(self._label_values(split), self._classes, self._store.found[split, "labels"])

    def _is_there(self, split: SplitName, kind: Literal["labels", "attributes", "numbers"], of_train: bool) -> bool:
        """Returns if a split has an array; raises ValueError if the training split differs in that."""
        found = self._store.found
        if kind == "labels" and self.missing_labels:
            return False
        if not of_train and (split, kind) in found:
            raise ValueError(f"{found[split, kind]}: {kind}, but the training images have none")
        if of_train and (split, kind) not in found:
            raise ValueError(
                f"{found[split, 'images']}: no {split}_{kind} beside it, but the training images have {kind}"
            )
        return of_train
