"""The three splits of a source, as rows of arrays, each read once; binarized as asked."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from vae_lab.data.arrays import Arrays, Examples, Indices, allocate, chunks, release
from vae_lab.data.source import DataSource
from vae_lab.data.splits import held_out
from vae_lab.types import SplitName

Binarization = Literal["none", "dynamic", "static", "threshold"]
"""Never; training images at each reading, evaluation images once; all images once; above one half."""
_BINARIZATION_SEED = 0
"""Seed of fixed binarizations, the same for every run: otherwise test figures of different seeds would not compare."""


class Split(NamedTuple):
    """Some rows of some arrays."""

    arrays: Arrays
    rows: Indices


class Splits:
    """The training, validation and test examples of a source.

    Args:
        source: source of the examples.
        val_size: see `ImageDataModule`.
        binarization: see `ImageDataModule`.
        seed: seed of the validation set.
    """

    def __init__(self, source: DataSource, val_size: int | float, binarization: Binarization, seed: int) -> None:
        self.source = source
        self.val_size = val_size
        self.binarization = binarization
        self.seed = seed

    def __getitem__(self, name: SplitName) -> Split:
        """Returns the arrays and rows of one split, read at the first call."""
        if name == "train":
            return self._train
        return self._val if name == "val" else self._test

    def forget_test(self) -> None:
        """Has the test split read again."""
        self.__dict__.pop("_test", None)

    def evaluated_train(self) -> Split:
        """Returns the training split as an evaluation sees it: under dynamic binarization, one fixed sample."""
        return self.fixed(*self._train)

    def fixed(self, arrays: Arrays, rows: Indices) -> Split:
        """Returns the rows as an evaluation sees them."""
        if self.binarization != "dynamic":
            return Split(arrays, rows)
        return Split(self._sampled(arrays, rows), np.arange(len(rows)))

    def original(self, name: SplitName) -> Split:
        """Returns the arrays and rows of a split before they were binarized by chance."""
        if self.binarization not in ("static", "dynamic"):
            return self[name]
        if name == "train" or (name == "val" and not self.source.has_val and self.val_size > 0):
            arrays = self.source.load(train=True) if self.binarization == "static" else self._train_set
            return Split(arrays, self._train_and_val_rows[0 if name == "train" else 1])
        own = name == "val" and self.source.has_val
        arrays = self.source.load_val() if own else self.source.load(train=False)
        return Split(arrays, np.arange(len(arrays)))

    def grey(self, name: SplitName, places: Indices) -> Examples:
        """Returns a copy of the examples at these places of a split before they were binarized."""
        arrays, rows = self.original(name)
        return np.array(arrays.x[rows[places]])

    @cached_property
    def _train_set(self) -> Arrays:
        arrays = self.source.load(train=True)
        return self._sampled(arrays, np.arange(len(arrays))) if self.binarization == "static" else arrays

    @cached_property
    def _train_and_val_rows(self) -> tuple[Indices, Indices]:
        size = len(self._train_set)
        if self.source.has_val:
            return np.arange(size), np.arange(0)
        num = max(round(self.val_size * size), 1) if 0 < self.val_size < 1 else int(self.val_size)
        if num >= size:
            raise ValueError(
                f"val_size={self.val_size}: must be less than the {size} training examples"
                f"{'; with 0 the test set validates' if size == 1 else ''}"
            )
        return held_out(size, num, self.seed)

    @cached_property
    def _train(self) -> Split:
        return Split(self._train_set, self._train_and_val_rows[0])

    @cached_property
    def _val(self) -> Split:
        if self.source.has_val:
            return self._evaluated(self.source.load_val())
        if not self.val_size:
            return self._test
        return self.fixed(self._train_set, self._train_and_val_rows[1])

    @cached_property
    def _test(self) -> Split:
        return self._evaluated(self.source.load(train=False))

    def _evaluated(self, arrays: Arrays) -> Split:
        """Returns all rows of a split that is never trained on, binarized once if they are binarized by chance."""
        rows = np.arange(len(arrays))
        return Split(self._sampled(arrays, rows), rows) if self.binarization == "static" else self.fixed(arrays, rows)

    def _sampled(self, arrays: Arrays, rows: Indices) -> Arrays:
        return Arrays(
            binarized(arrays.x, rows, _BINARIZATION_SEED, self.source.memory_limit_gb),
            None if arrays.y is None else arrays.y[rows],
            None if arrays.factors is None else arrays.factors[rows],
        )


def binarized(x: Examples, rows: Indices, seed: int, memory_limit_gb: float) -> Examples:
    """Returns a sample of 0 or 255 for each number of ``x[rows]``, the same for the same seed on any machine.

    R. Salakhutdinov, I. Murray, "On the Quantitative Analysis of Deep Belief Networks" (2008).
    """
    rng = np.random.default_rng(seed)
    sample = allocate((len(rows), *x.shape[1:]), memory_limit_gb)
    for chunk in chunks(len(rows)):
        grey = x[rows[chunk]]
        # A whole number below 255 is smaller than g with probability g / 255, exactly.
        draw = rng.integers(0, 255, grey.shape, np.uint8) if x.dtype == np.uint8 else rng.random(grey.shape, np.float32)
        sample[chunk] = np.where(draw < grey, np.uint8(255), np.uint8(0))
        release(sample)
    return sample
