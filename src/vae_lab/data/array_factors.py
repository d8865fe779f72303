"""Generative factors beside a user's arrays, by which disentanglement is scored."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data.array_memory import ArraysInMemory
from vae_lab.data.array_store import ArrayStore
from vae_lab.data.arrays import Indices
from vae_lab.data.conditions import width_of, written_names
from vae_lab.types import SplitName

_PUBLISHED = {
    "latents_classes": ("color", "shape", "scale", "orientation", "posX", "posY"),
    "labels": ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"),
}
"""Names of the factors in the files of dSprites and of 3D Shapes, by the name of their array."""
_MAX_VALUES = 1000
"""Values of a factor above which it is continuous: the scores count values."""


class ArrayFactors:
    """The generative factors of arrays, if there are any.

    Args:
        store: arrays by role.
    """

    def __init__(self, store: ArrayStore | ArraysInMemory) -> None:
        self._store = store

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The lines of ``factor_names.txt``, the published names, or ``factor_0``, ``factor_1``, ...; empty if none.

        Raises:
            ValueError: for another number of names than columns.
        """
        stored = self._store.found.get(("train", "factors"))
        if stored is None:
            return ()
        num = width_of(self._store.open(("train", "factors")))
        if not isinstance(self._store, ArraysInMemory):
            folder = self._store.place if self._store.place.is_dir() else self._store.place.parent
            if written := written_names(folder / "factor_names.txt", num):
                return written
        published = _PUBLISHED.get(stored.member, ())
        return published if len(published) == num else tuple(f"factor_{number}" for number in range(num))

    def read(self, split: SplitName, num: int) -> Indices | None:
        """Returns the index of the value of each factor of ``num`` examples, (N, F); None if there are none.

        Raises:
            ValueError: for missing factors, another number of rows or columns, or values that are not those of factors.
        """
        found = self._store.found
        if not self.names:
            if (split, "factors") in found:
                raise ValueError(f"{found[split, 'factors']}: factors, but the training examples have none")
            return None
        if (split, "factors") not in found:
            raise ValueError(
                f"{found[split, 'images']}: no {split}_factors beside it, but the training examples have factors"
            )
        array, source = self._store.open((split, "factors")), found[split, "factors"]
        columns: NDArray[Any] = array[:, None] if array.ndim == 1 else array
        if columns.shape != (num, len(self.names)):
            raise ValueError(f"{source}: {array.shape}, must be ({num}, {len(self.names)}): a row for each example")
        if columns.dtype.kind not in "buif" or not np.isfinite(columns).all():
            raise ValueError(f"{source}: {array.dtype} with values that are not finite numbers")
        indices = [np.unique(column, return_inverse=True) for column in columns.T]
        for name, (values, _) in zip(self.names, indices, strict=True):
            if len(values) > _MAX_VALUES:
                raise ValueError(
                    f"{source}: factor {name} has {len(values)} values, and scores count at most {_MAX_VALUES};"
                    " save np.digitize(...) of it"
                )
        return np.stack([places.reshape(-1) for _, places in indices], axis=1).astype(np.int64)
