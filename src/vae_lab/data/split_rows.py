"""The three splits of a source, as rows of arrays, each read once and binarized as asked; and their spec."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from vae_lab.data.arrays import Arrays, Examples, Indices, allocate, chunks, fingerprint, release
from vae_lab.data.scaling import numbers_spec, scaling_of
from vae_lab.data.source import DataSource, readable
from vae_lab.data.splits import held_out
from vae_lab.types import DataSpec, Scaling, SplitName, Support

Binarization = Literal["none", "dynamic", "static", "threshold"]
"""Never; training images at each reading, evaluation images once; all images once; above one half."""
_BINARIZATION_SEED = 0
"""Seed of fixed binarizations, the same for every run: otherwise test figures of different seeds would not compare."""

_NAMED = ("class_names", "attributes", "numbers", "columns")
"""Names in the spec that the source states."""


class Split(NamedTuple):
    """Some rows of some arrays."""

    arrays: Arrays
    rows: Indices


class Splits:
    """The training, validation and test examples of a source, and their spec.

    Args:
        source: source of the examples.
        val_size, binarization, seed, support, standardize, horizontal_flip: see `ImageDataModule`.

    Raises:
        ValueError: for an unknown support.
    """

    def __init__(
        self,
        source: DataSource,
        val_size: int | float,
        binarization: Binarization,
        seed: int,
        support: Support | Literal["auto"],
        standardize: bool | Literal["auto"],
        horizontal_flip: bool,
    ) -> None:
        if support not in ("auto", *get_args(Support)):
            raise ValueError(f"support={support}: choose auto or one of {', '.join(get_args(Support))}")
        self.source = source
        self.val_size = val_size
        self.binarization = binarization
        self.seed = seed
        self.asked = None if support == "auto" else support
        self.standardize = standardize
        self.horizontal_flip = horizontal_flip
        self._recorded: DataSpec | None = None
        self._keeps_classes = False
        self._fingerprints: dict[SplitName, str] = {}

    def __getitem__(self, name: SplitName) -> Split:
        """Returns the arrays and rows of one split, read at the first call."""
        self._ask_support()  # before anything is read
        if name == "train":
            return self._train
        return self._val if name == "val" else self._test

    def forget_test(self) -> None:
        """Has the test split read again."""
        self.__dict__.pop("_test", None)
        self._fingerprints.pop("test", None)

    def fingerprint(self, name: SplitName) -> str:
        """Returns the digest of a split; it may read a gigabyte, and a run asks for it two or three times."""
        if name not in self._fingerprints:
            self._fingerprints[name] = fingerprint(*self[name])
        return self._fingerprints[name]

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
            arrays = self._loaded("train") if self.binarization == "static" else self._train_set
            return Split(arrays, self._train_and_val_rows[0 if name == "train" else 1])
        arrays = self._loaded("val" if name == "val" and self.source.has_val else "test")
        return Split(arrays, np.arange(len(arrays)))

    def grey(self, name: SplitName, places: Indices) -> Examples:
        """Returns a copy of the examples at these places of a split before they were binarized."""
        arrays, rows = self.original(name)
        return np.array(arrays.x[rows[places]])

    @cached_property
    def _train_set(self) -> Arrays:
        arrays = self._loaded("train")
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
            return self._evaluated(self._loaded("val"))
        if not self.val_size:
            return self._test
        return self.fixed(self._train_set, self._train_and_val_rows[1])

    @cached_property
    def _test(self) -> Split:
        return self._evaluated(self._loaded("test"))

    def _loaded(self, name: SplitName) -> Arrays:
        """Returns all that the source has for a split, with classes numbered as in `spec`."""
        arrays = self.source.load_val() if name == "val" else self.source.load(train=name == "train")
        if arrays.y is None or self._classes is None:
            return arrays
        return replace(arrays, y=self._classes[arrays.y])

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

    def keep(self, recorded: DataSpec, classes: bool) -> None:
        """Keeps the scaling and the support of the run that the data belong to, and its classes if that is asked."""
        self._recorded = recorded
        self._keeps_classes = classes
        self.source.kept_columns = recorded.columns
        for found in ("scaling", "_numbers_spec", "_classes"):
            self.__dict__.pop(found, None)

    @cached_property
    def _classes(self) -> Indices | None:
        """The number in the run of each class of data that have some of its classes, by name; None: as they are."""
        source = self.source
        if self._recorded is None or not self._keeps_classes or source.attributes or source.numbers:
            return None
        found = tuple(map(readable, source.class_names))
        names = self._recorded.class_names
        is_part = bool(found) and found != names and {*found} <= {*names}
        return np.array([names.index(name) for name in found]) if is_part else None

    @property
    def spec(self) -> DataSpec:
        """Spec of the data; own files are listed for it and, for the scaling, their training split is read."""
        source = self.source
        support = self._support()
        self._check_kind(support)
        named: dict[str, Any] = {key: tuple(map(readable, getattr(source, key))) for key in _NAMED}
        if self._classes is not None and self._recorded is not None:
            named["class_names"] = self._recorded.class_names
        return DataSpec(
            source.shape,
            len(named["class_names"]) or source.num_classes,
            support,
            scaling=self.scaling,
            categories=source.categories,
            missing=source.missing,
            **named,
            **self._numbers_spec,
        )

    @cached_property
    def scaling(self) -> Scaling | None:
        """Mean and scale of real numbers in the training split; None for other values."""
        if self._recorded is not None:
            return self._recorded.scaling
        if self._support() != "real":
            return None
        found = scaling_of(*self["train"], self.source.columns, sum(self.source.categories))
        return found if self.standardize else None  # numbers that float32 does not tell apart are refused anyhow

    @cached_property
    def _numbers_spec(self) -> dict[str, Any]:
        """Scaling and range of the condition's numbers in the training split; empty if there are none."""
        if not self.source.numbers:
            return {}
        if self._recorded is not None and self._recorded.numbers == tuple(map(readable, self.source.numbers)):
            return {key: getattr(self._recorded, key) for key in ("numbers_scaling", "numbers_range")}
        return numbers_spec(*self["train"], self.source.numbers)

    def _ask_support(self) -> Support | None:
        """Has the source read its values with the support that the user or the run asks for, if either does."""
        if self.binarization != "none":
            return "binary"
        asked = self._recorded.support if self._recorded is not None and self.asked is None else self.asked
        if asked is not None and asked != self.source.asked_support:
            self.source.ask_support(asked)
        return asked

    def _support(self) -> Support:
        """Returns the support that was asked for, by the user or by the run, or else that of the source."""
        return self._ask_support() or self.source.support

    def _check_kind(self, support: Support) -> None:
        """Raises ValueError for options that the values or the shape of the examples do not have."""
        binarization, shape = self.binarization, self.source.shape
        if binarization != "none" and self.asked not in (None, "binary"):
            raise ValueError(
                f"data.support={self.asked}: binarization={binarization} makes values binary; leave out one"
            )
        if binarization != "none" and self.source.support == "real":
            raise ValueError(
                f"binarization={binarization}: for values in [0, 1], and these are real numbers; leave it out"
            )
        changed = "data.image_size" if self.source.sides else "data.binarization" if binarization != "none" else ""
        if self.source.missing and changed:
            raise ValueError(f"data.missing=mask: {changed} would change missing values; leave out one")
        if binarization == "none" and support == "binary" and shape != self.source.native_shape and not self._recorded:
            raise ValueError(
                f"data.image_size={self.source.image_size}: resizing makes grey values of 0 and 1;"
                " data.binarization=threshold makes them 0 and 1 again, data.support=uint8 takes them as grey values"
            )
        if self.standardize is True and support != "real":
            raise ValueError(
                "data.standardize=true: only real numbers are standardised; data.support=real makes them that"
            )
        if self.horizontal_flip and len(shape) != 3:
            raise ValueError(
                f"data.horizontal_flip=true: mirrors pictures, and examples of shape {shape} are not pictures;"
                " leave it out"
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
