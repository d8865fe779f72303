"""Arrays that a Python program holds, in the place of files: `vae_lab.fit` gives them to ``data=array``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.array_store import Kind, Role, Stored
from vae_lab.data.arrays import Arrays, fingerprint
from vae_lab.data.frames import column_names, is_missing, numbers_of_frame
from vae_lab.plain_values import as_array
from vae_lab.types import SplitName

_CONDITIONS: tuple[Kind, ...] = ("labels", "attributes", "numbers")


class ArraysInMemory:
    """Arrays by role, with the interface of `ArrayStore`.

    Args:
        train: examples of the training split and, beside them or None, their labels; or a mapping of ``labels``,
            ``attributes`` and ``numbers`` to such arrays. Columns of a data frame keep their names.
        val, test: examples and labels of the other splits; None: a part of the training split. Columns of data frames
            are taken in the order of those of ``train``.

    Raises:
        ValueError: for arrays without examples, another key, or different numbers of examples and labels.
    """

    def __init__(self, train: tuple[Any, Any], val: tuple[Any, Any] | None = None, test: Any = None) -> None:
        given: dict[SplitName, tuple[Any, Any] | None] = {"train": train, "val": val, "test": test}
        self.arrays: dict[Role, NDArray[Any]] = {}
        self.found: dict[Role, Stored] = {}
        self.passed_over: list[str] = []
        self._names: dict[Kind, tuple[str, ...]] = {}
        for split, pair in given.items():
            if pair is None:
                continue
            self._take(split, "images", "x", pair[0])
            for kind, name, value in _conditions(pair[1]):
                self._take(split, kind, name, value)
            self._check_lengths(split)

    def _take(self, split: SplitName, kind: Kind, name: str, value: Any) -> None:
        if value is None:
            return
        stored = self.found[split, kind] = Stored(Path(name if split == "train" else f"{split} {name}"))
        names = column_names(value)
        if kind != "labels" or len(names) > 1:  # one column of labels may hold strings
            value = numbers_of_frame(str(stored), value, self.names(kind))
            if split == "train" and names:
                self._names[kind] = names
        self.arrays[split, kind] = _array(str(stored), value)

    def open(self, role: Role) -> NDArray[Any]:
        """Returns an array."""
        return self.arrays[role]

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Returns the names of the columns of a data frame; empty for anything else."""
        return self._names.get(kind, ())

    def description(self) -> dict[str, str]:
        """Returns dtype and shape of each array, and a digest of all values, by which the data are recognised."""
        described = {str(self.found[role]): f"{array.dtype} {array.shape}" for role, array in self.arrays.items()}
        digests = [
            fingerprint(Arrays(x, self._all_of_y(split)), np.arange(len(x)))
            for (split, kind), x in self.arrays.items()
            if kind == "images"
        ]
        return {**described, "fingerprint": " ".join(digests)}

    def _all_of_y(self, split: SplitName) -> NDArray[Any] | None:
        """Returns labels, attributes and numbers side by side for the digest; the labels alone as they are."""
        parts = [self.arrays[split, kind] for kind in _CONDITIONS if (split, kind) in self.arrays]
        if len(parts) < 2:
            return parts[0] if parts else None
        return np.concatenate([part.reshape(len(part), -1).astype("U32") for part in parts], axis=1)

    def _check_lengths(self, split: SplitName) -> None:
        x = self.arrays[split, "images"]
        for kind in _CONDITIONS:
            y = self.arrays.get((split, kind))
            if y is not None and len(y) != len(x):
                raise ValueError(f"{self.found[split, kind]}: {len(y)} {kind} for {len(x)} examples")


def _conditions(y: Any) -> Iterator[tuple[Kind, str, Any]]:
    """Yields kind, name in messages, and array of each part of y."""
    if not isinstance(y, Mapping):
        yield "labels", "y", y
        return
    for kind, value in y.items():
        if kind not in _CONDITIONS:
            raise ValueError(f"y: {kind!r} is not a kind of condition; give {', '.join(_CONDITIONS)}")
        yield kind, f"y[{kind}]", value


def _array(name: str, value: Any) -> NDArray[Any]:
    """Returns the array of anything that holds one: a tensor, a data frame, nested lists.

    Raises:
        ValueError: for something that holds none, or for missing values among strings.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    elif isinstance(value, list | tuple) and any(isinstance(each, str) for each in value):
        value = np.array(value, dtype=object)  # NumPy would make a missing one among strings the string nan
    array = _rectangular(name, value)
    if array.dtype == object:
        _refuse_missing(name, array)
        array = _rectangular(name, array.tolist())
    if array.dtype == object or not array.ndim:
        raise ValueError(f"{name}: a {type(value).__name__} of {array.dtype} {array.shape}, must be an array (N, ...)")
    return array


def _rectangular(name: str, value: Any) -> NDArray[Any]:
    """Returns `as_array`; raises ValueError for examples of different shapes, and for what is not an array."""
    try:
        return as_array(value)
    except Exception as error:
        reason = "examples of different shapes" if "inhomogeneous" in str(error) else error
        raise ValueError(f"{name}: a {type(value).__name__}, must be an array ({reason})") from error


def _refuse_missing(name: str, array: NDArray[Any]) -> None:
    missing = [
        row for row, each in enumerate(array.reshape(len(array), -1)[:, 0] if array.ndim else ()) if is_missing(each)
    ]
    if missing:
        raise ValueError(
            f"{name}: {len(missing)} of {len(array)} values are missing, the first in row {missing[0]}; leave such"
            " examples out"
        )
