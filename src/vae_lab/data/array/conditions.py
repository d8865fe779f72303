"""Labels, attributes, numbers and generative factors beside a user's arrays."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.array.memory import ArraysInMemory
from vae_lab.data.array.store import ArrayStore, Kind
from vae_lab.data.arrays import Indices
from vae_lab.data.conditions import (
    Rows,
    Values,
    as_indices,
    attribute_values,
    class_names,
    condition_rows,
    label_values,
    missing_labels,
    number_values,
)
from vae_lab.data.splits import OwnData
from vae_lab.types import IN_MEMORY, SplitName

_PUBLISHED = {
    "latents_classes": ("color", "shape", "scale", "orientation", "posX", "posY"),
    "labels": ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
}
"""Names of the factors in the files of dSprites and of 3D Shapes, by the name of their array."""
_MAX_VALUES = 1000
"""Values of a factor above which it is continuous: the scores count values."""


class ArrayConditions(OwnData):
    """A source whose conditions and factors are arrays beside its examples; `ArrayFiles` adds the examples."""

    @cached_property
    def _store(self) -> ArrayStore | ArraysInMemory:
        return ArrayStore(self.root, self.memory_limit_gb)

    def hold(self, arrays: ArraysInMemory) -> None:
        """Reads these arrays instead of the files under ``root``."""
        self.root = IN_MEMORY
        self._store = arrays

    @property
    def num_classes(self) -> int:
        return len(self._classes)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The lines of ``class_names.txt``; else the labels, unless they are 0, 1, 2, ... themselves."""
        if written := self._store.names("labels"):
            return written
        return class_names(self._classes, self._store.open(("train", "labels"))) if self._classes else ()

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """The lines of ``attribute_names.txt``; else ``attribute_0``, ``attribute_1``, ..."""
        return self._names("attributes")

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """The lines of ``number_names.txt``; else ``number_0``, ``number_1``, ..."""
        return self._names("numbers")

    @cached_property
    def factor_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The lines of ``factor_names.txt``, the published names, or ``factor_0``, ``factor_1``, ...; empty if none."""
        return self._names("factors") if ("train", "factors") in self._store.found else ()

    @cached_property
    def missing_labels(self) -> str:
        for role, stored in self._store.found.items():
            if role[1] == "labels" and (why := missing_labels(self._store.open(role), stored)):
                return why
        return ""

    def _condition(self, split: SplitName, num: int) -> NDArray[Any] | None:
        """Returns y of ``num`` examples, as `Arrays` has it.

        Raises:
            ValueError: for missing arrays or another number of rows, and for values that no label, attribute or number
                has; it names file, row and column.
        """
        labels = self._labels(split)
        attributes, numbers = self._columns(split, "attributes"), self._columns(split, "numbers")
        for kind, part in (("labels", labels), ("attributes", attributes), ("numbers", numbers)):
            if part is not None and len(part) != num:
                raise ValueError(f"{self._store.found[split, kind]}: {len(part)} {kind} for {num} examples")  # type: ignore[index]
        columns = [part for part in (attributes, numbers) if part is not None]
        return condition_rows(labels, self.num_classes, columns)

    def _factors(self, split: SplitName, num: int) -> Indices | None:
        """Returns the index of the value of each factor of ``num`` examples, (N, F); None if there are none.

        Raises:
            ValueError: for missing factors, another number of rows or columns, or values that are not those of factors.
        """
        if not self._is_there(split, "factors", bool(self.factor_names)):
            return None
        array, source = self._store.open((split, "factors")), self._store.found[split, "factors"]
        columns: NDArray[Any] = array[:, None] if array.ndim == 1 else array
        if columns.shape != (num, len(self.factor_names)):
            wanted = f"({num}, {len(self.factor_names)})"
            raise ValueError(f"{source}: {array.shape}, must be {wanted}: a row for each example")
        if columns.dtype.kind not in "buif" or not np.isfinite(columns).all():
            raise ValueError(f"{source}: {array.dtype} with values that are not finite numbers")
        indices = [np.unique(column, return_inverse=True) for column in columns.T]
        for name, (values, _) in zip(self.factor_names, indices, strict=True):
            if len(values) > _MAX_VALUES:
                raise ValueError(
                    f"{source}: factor {name} has {len(values)} values, and scores count at most {_MAX_VALUES};"
                    " save np.digitize(...) of it"
                )
        return np.stack([places.reshape(-1) for _, places in indices], axis=1).astype(np.int64)

    def _names(self, kind: Kind) -> tuple[str, ...]:
        """Returns the names of the columns of an array beside the training examples; empty if there is no array."""
        stored = self._store.found.get(("train", kind))
        if stored is None:
            return self._store.names(kind)
        one, array = kind.removesuffix("s"), self._store.open(("train", kind))
        num = array.shape[1] if array.ndim > 1 else 1
        written = self._store.names(kind)
        if written and len(written) != num:
            raise ValueError(f"{one}_names.txt: {len(written)} names, but {stored} has {num}")
        published = _PUBLISHED.get(stored.member, ()) if kind == "factors" else ()
        return written or (published if len(published) == num else tuple(f"{one}_{number}" for number in range(num)))

    def _columns(self, split: SplitName, kind: Kind) -> Rows | None:
        names, read = (self.attributes, attribute_values) if kind == "attributes" else (self.numbers, number_values)
        if not self._is_there(split, kind, bool(names)):
            return None
        return read(self._store.open((split, kind)), names, self._store.found[split, kind])

    @cached_property
    def _classes(self) -> tuple[Any, ...]:
        """The label that stands for each class, in order."""
        if ("train", "labels") not in self._store.found or self.missing_labels:
            return ()
        labels, written = self._label_values("train"), self._store.names("labels")
        if not written:
            return tuple(np.unique(labels).tolist())
        return written if labels.dtype.kind == "U" else tuple(range(len(written)))

    def _label_values(self, split: SplitName) -> Values:
        return label_values(self._store.open((split, "labels")), self._store.found[split, "labels"])

    def _labels(self, split: SplitName) -> Indices | None:
        if not self._is_there(split, "labels", bool(self._classes)):
            return None
        return as_indices(self._label_values(split), self._classes, self._store.found[split, "labels"])

    def _is_there(self, split: SplitName, kind: Kind, of_train: bool) -> bool:
        """Returns if a split has an array; raises ValueError if the training split differs in that."""
        found = self._store.found
        if kind == "labels" and self.missing_labels:
            return False
        if not of_train and (split, kind) in found:
            raise ValueError(f"{found[split, kind]}: {kind}, but the training examples have none")
        if of_train and (split, kind) not in found:
            raise ValueError(
                f"{found[split, 'images']}: no {split}_{kind} beside it, but the training examples have {kind}"
            )
        return of_train
