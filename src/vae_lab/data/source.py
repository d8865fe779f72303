"""Base class of every source of examples: it knows what they are, and reads each split into arrays."""

from __future__ import annotations

import inspect
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from vae_lab.data import framing
from vae_lab.data.arrays import Arrays, Examples, allocate, chunks
from vae_lab.data.conditions import check_rows
from vae_lab.data.framing import Fit, Fitted, ImageSize, Sides, check_fit, sides_of
from vae_lab.data.missing_values import Missing, is_masked
from vae_lab.types import SplitName, Support

VALUES: dict[Support, str] = {
    "binary": "0 and 1",
    "uint8": "grey values of 8 bits",
    "unit": "numbers in [0, 1]",
    "real": "real numbers",
}
"""The values of each support, in words."""


class DataSource(ABC):
    """Examples of one shape, of any kind; pictures derive from `ImageSet`.

    A subclass states ``name``, ``native_shape``, ``support`` and ``num_classes`` and, if the classes have names,
    ``class_names``, and writes `read`. If examples have ``attributes`` or ``numbers``, it states their names, and
    `vae_lab.data.conditions.condition_rows` makes ``Arrays.y``.

    Args:
        root: folder of the data.
        image_size: side in pixels of square pictures, or height and width; None: as they are.
        memory_limit_gb: arrays larger than this, in 10^9 bytes, stay on disk and are memory-mapped.
        fit: what happens to pictures of other proportions than ``image_size``: they lose what lies outside their
            centre, get a black margin, or are stretched.

    Raises:
        ValueError: for an image size outside its range or a negative memory limit.
    """

    name: ClassVar[str]
    licence: ClassVar[str] = ""
    """Licence of the published data, with its address if it has one; empty if it is not known."""
    factor_names: tuple[str, ...] = ()
    """Names of the generative factors, the columns of `Arrays.factors`; empty if they are not known."""
    reads_root: ClassVar[bool] = True
    """False for a set that is made here, or part of the package."""

    def __init__(
        self, root: str = "data", image_size: ImageSize = None, memory_limit_gb: float = 4.0, fit: Fit = "crop"
    ) -> None:
        check_fit(fit)
        if not memory_limit_gb >= 0:
            raise ValueError(f"memory_limit_gb={memory_limit_gb}: must be 0 or more")
        self.root = root
        self.image_size = image_size
        self.sides = sides_of(image_size)
        self.fit: Fit = fit
        self.fitted: dict[SplitName, Fitted] = {}
        """Numbers of pictures that were fitted in each split that was read."""
        self.memory_limit_gb = memory_limit_gb
        self.asked_support: Support | None = None
        self.kept_columns: Sequence[str] = ()
        """Columns of the run that the data belong to, whose categories they take in its order."""

    @property
    @abstractmethod
    def native_shape(self) -> tuple[int, ...]:
        """Shape of an example as `read` returns it."""

    @property
    @abstractmethod
    def support(self) -> Support:
        """The values that the examples take; binary and uint8 are stored as uint8, in which 255 stands for 1."""

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """The number of classes; 0 for data without labels."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, in the order of the labels; empty if the classes have numbers only."""
        return ()

    @property
    def attributes(self) -> tuple[str, ...]:
        """The name of each yes/no attribute of the condition; empty if there are none."""
        return ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The name of each number of the condition; empty if there are none."""
        return ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The name of each index of the first axis of an example; empty if they have none."""
        return ()

    @property
    def categories(self) -> tuple[int, ...]:
        """The number of values of each categorical column of a table; the last columns, one-hot."""
        return ()

    @property
    def missing(self) -> bool:
        """True if values may be missing, which are NaN."""
        return False

    @property
    def missing_labels(self) -> str:
        """The number of missing labels, in words, so that none are used; empty if all are there, or none."""
        return ""

    @property
    def has_val(self) -> bool:
        """True if the set brings a validation split of its own, which `read_val` reads."""
        return False

    @property
    def place(self) -> str:
        """The folder or file that the data are read from; empty if there is none, or if it is not known."""
        return ""

    def brought(self, split: SplitName) -> str:
        """Returns the validation or the test set that the data bring, in words; '' if it is a part of the others."""
        return f"that of {self.name}" if split == "test" or (split == "val" and self.has_val) else ""

    def origin(self, split: SplitName) -> str:
        """Returns where a split comes from, in a few words; empty if that goes without saying."""
        return ""

    def passed_over(self) -> list[str]:
        """Returns what was found but not read, in words; complete once the splits have been loaded."""
        return []

    def ask_support(self, support: Support) -> None:
        """Has the examples taken as values of a support that the user gives.

        Raises:
            ValueError: for one that the stored values do not have.
        """
        if self.support == "real" and support not in ("real", "unit"):
            raise ValueError(f"data.support={support}: the values are real numbers; leave it out")
        if support == "binary" and self.support != "binary":
            raise ValueError(
                f"data.support=binary: the values are {self.support}; data.binarization=dynamic makes them binary"
            )
        self.asked_support = support

    def values_note(self) -> str:
        """Returns what the values are, in words; empty if that goes without saying."""
        return ""

    def row_numbers(self) -> str:
        """Returns which columns count the rows, in words; empty if none does."""
        return ""

    def found(self) -> dict[str, Any]:
        """Returns the options that were left to the data, with the values found; a run goes on with them."""
        return {}

    @abstractmethod
    def read(self, train: bool) -> Arrays:
        """Reads the training split or the test split, of `native_shape`.

        Raises:
            FileNotFoundError: for missing files; it names the folders searched and the files expected.
            ValueError: for a file that is corrupt or truncated; it names the file.
        """

    def read_val(self) -> Arrays:
        """Reads the validation split of a set that has its own; raises as `read`."""
        raise NotImplementedError(f"{type(self).__name__} has no validation split")

    def prepare(self) -> None:  # noqa: B027 (nothing to prepare is the usual case)
        """Downloads and decodes what is still missing; with several processes, one of each machine calls it first."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an example as `load` returns it.

        Raises:
            ValueError: for an ``image_size`` of examples that are not pictures.
        """
        if self.sides is None:
            return self.native_shape
        if len(self.native_shape) != 3:
            raise ValueError(
                f"image_size={self.image_size}: resizes pictures, and examples of shape {self.native_shape} are not"
                " pictures; leave it out"
            )
        return (self.native_shape[0], *self.sides)

    def fit_note(self) -> str:
        """Returns how pictures were fitted, in words; complete once the splits have been loaded."""
        if not self.fitted:
            return ""
        return framing.note(self.fitted.values(), self.sides or Sides(*self.shape[-2:]), self.fit)

    def load(self, train: bool) -> Arrays:
        """Loads the training split or the test split, checked, at the size asked for.

        Raises:
            FileNotFoundError, ValueError: as `read`; ValueError for arrays that are not what the family promised.
        """
        return self._checked(self.read(train), "train" if train else "test")

    def load_val(self) -> Arrays:
        """Loads the set's own validation split, as `load` does the others."""
        return self._checked(self.read_val(), "val")

    def _checked(self, arrays: Arrays, split: SplitName) -> Arrays:
        self._check(arrays)
        if arrays.x.shape[1:] == self.shape:
            return arrays
        assert self.sides is not None
        found, num = Sides(*self.native_shape[1:]), len(arrays)
        changed, enlarged = framing.is_changed(found, self.sides), framing.is_enlarged(found, self.sides, self.fit)
        self.fitted[split] = Fitted(num * changed, num * enlarged, num)
        return replace(arrays, x=self._resized(arrays.x))

    def _check(self, arrays: Arrays) -> None:
        x, y, factors = arrays.x, arrays.y, arrays.factors
        bytes_ = self.support in ("binary", "uint8") and not self.missing
        dtype = np.dtype(np.uint8 if bytes_ else np.float32)
        if x.dtype != dtype or x.shape[1:] != self.native_shape or not len(x):
            wanted = f"{dtype} (N, {', '.join(map(str, self.native_shape))})"
            raise ValueError(f"{self.name}: examples are {x.dtype} {x.shape}, expected {wanted} with N >= 1")
        if self.support == "real" and self.asked_support == "unit" and (outside := np.argwhere((x < 0) | (x > 1))).size:
            row, place = outside[0, :2].tolist()
            row = row if arrays.rows is None else arrays.rows[row]
            where = f"row {row + 1}" + (f", column {self.columns[place]}" if self.columns else "")
            raise ValueError(f"data.support=unit: {x[tuple(outside[0])]:g} ({where}) is not in [0, 1]; leave it out")
        shape = None if factors is None else factors.shape
        if shape != ((len(x), len(self.factor_names)) if self.factor_names else None):
            raise ValueError(f"{self.name}: {len(x)} examples and factors {self.factor_names}, but an array {shape}")
        if self.attributes or self.numbers:
            check_rows(y, len(x), self.num_classes, len(self.attributes), len(self.numbers), self.name)
            return
        if (y is None) != (self.num_classes == 0):
            raise ValueError(f"{self.name}: {self.num_classes} classes, but labels are {type(y).__name__}")
        if y is None:
            return
        if y.shape != (len(x),):
            raise ValueError(f"{self.name}: {len(x)} examples, but labels have shape {y.shape}")
        outside = y[(y < 0) | (y >= self.num_classes)]
        if len(outside):
            raise ValueError(f"{self.name}: label {outside[0]} is outside the classes 0..{self.num_classes - 1}")

    def _resized(self, images: Examples) -> Examples:
        """Returns the images at the size asked for."""
        assert self.sides is not None
        resized = allocate((len(images), *self.shape), self.memory_limit_gb, images.dtype)
        for rows in chunks(len(images), images[0].nbytes):
            # np.array copies: torch does not take the read-only arrays that embedded and mapped data are.
            resized[rows] = framing.fitted_tensor(torch.from_numpy(np.array(images[rows])), self.sides, self.fit)
        return resized


def source_of(make: Callable[..., DataSource], missing: Missing, **shared: Any) -> DataSource:
    """Returns the source that ``make`` builds of the options that all of them share.

    Raises:
        ValueError: for values to be masked of a source that has no missing ones.
    """
    if not is_masked(missing):
        return make(**shared)
    if "missing" not in inspect.signature(make).parameters:
        raise ValueError(f"missing={missing}: only of data=array, table and huggingface; leave it out")
    return make(**shared, missing=missing)


def readable(name: str) -> str:
    """Returns a class name in the form that one types and prints, the same for every form that file systems store."""
    whole = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    printed = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole)
    return unicodedata.normalize("NFC", "".join(printed))
