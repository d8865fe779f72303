"""Arrays that a Python program holds, in the place of files: `vae_lab.fit` gives them to ``data=array``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.array_store import Role, Stored
from vae_lab.data.arrays import Arrays
from vae_lab.data.fingerprint import fingerprint
from vae_lab.types import IN_MEMORY, SplitName

_KINDS = ("images", "labels")


class ArraysInMemory:
    """Arrays by role, with the interface of `ArrayStore`.

    Args:
        train: examples of the training split and, beside them or None, their labels.
        val, test: examples and labels of the other splits; None: a part of the training split.

    Raises:
        ValueError: for arrays without examples, or different numbers of examples and labels.
    """

    def __init__(self, train: tuple[Any, Any], val: tuple[Any, Any] | None = None, test: Any = None) -> None:
        given: dict[SplitName, tuple[Any, Any] | None] = {"train": train, "val": val, "test": test}
        self.arrays: dict[Role, NDArray[Any]] = {}
        self.place = Path(IN_MEMORY)
        self.found: dict[Role, Stored] = {}
        self.passed_over: list[str] = []
        for split, pair in given.items():
            for kind, name, value in zip(_KINDS, "xy", pair or (None, None), strict=True):
                if value is not None:
                    role: Role = (split, kind)  # type: ignore[assignment]
                    self.found[role] = Stored(Path(name if split == "train" else f"{split} {name}"))
                    self.arrays[role] = _array(str(self.found[role]), value)
            if pair is not None:
                self._check_lengths(split)

    def open(self, role: Role) -> NDArray[Any]:
        """Returns an array."""
        return self.arrays[role]

    def description(self) -> dict[str, str]:
        """Returns dtype and shape of each array, and a digest of all values, by which the data are recognised."""
        described = {str(self.found[role]): f"{array.dtype} {array.shape}" for role, array in self.arrays.items()}
        digests = [
            fingerprint(Arrays(x, self.arrays.get((split, "labels"))), np.arange(len(x)))
            for (split, kind), x in self.arrays.items()
            if kind == "images"
        ]
        return {**described, "fingerprint": " ".join(digests)}

    def _check_lengths(self, split: SplitName) -> None:
        x, y = self.arrays[split, "images"], self.arrays.get((split, "labels"))
        if y is not None and len(y) != len(x):
            raise ValueError(f"{self.found[split, 'labels']}: {len(y)} labels for {len(x)} examples")


def _array(name: str, value: Any) -> NDArray[Any]:
    """Returns the array of anything that holds one: a tensor, a data frame, nested lists.

    Raises:
        ValueError: for something that holds none.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except Exception as error:
        raise ValueError(f"{name}: a {type(value).__name__}, must be an array ({error})") from error
    if array.dtype == object:
        array = np.asarray(array.tolist())
    if array.dtype == object or not array.ndim:
        raise ValueError(f"{name}: a {type(value).__name__} of {array.dtype} {array.shape}, must be an array (N, ...)")
    return array
