"""The user's own arrays, as NumPy saves them."""

from __future__ import annotations

import warnings
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae_lab.data import missing_values
from vae_lab.data.array.conditions import ArrayConditions
from vae_lab.data.array.forms import Asked, Form, Kind, check_beside, form_of
from vae_lab.data.array.store import Stored, unread_arrays
from vae_lab.data.array.values import Layout, MaxValue, Range, all_black
from vae_lab.data.arrays import GIGABYTE, Arrays, Examples, Indices, allocate, chunks, release
from vae_lab.data.framing import Fit, ImageSize
from vae_lab.data.source import VALUES, readable
from vae_lab.types import IN_MEMORY, SplitName, Support, listed

_MAX_WHITE = 2**32 - 1


class ArrayFiles(ArrayConditions):
    """``train.npy`` or ``train_images.npy`` under ``root`` and, where there are any, ``train_labels.npy``.

    The same for ``val`` and ``test``; or a .npz file with such arrays, also under the names ``x_train``, ``y_train``.

    Examples are tables (N, D), signals (N, C, T), pictures (N, H, W), (N, C, H, W) or (N, H, W, C), and volumes
    (N, C, D, H, W), of any type of numbers. Labels are whole numbers of 0 or more or strings, (N,), or one-hot rows:
    each distinct one is a class, named by its value. ``class_names.txt``, if it is there, has the name of each class,
    one per line, in the order of the labels; ``column_names.txt`` that of each column of a table or channel.

    ``train_attributes.npy`` (0 and 1, (N, A)) and ``train_numbers.npy`` (any numbers, (N, M)), and the same for the
    other splits, are a condition beside the labels; ``attribute_names.txt`` and ``number_names.txt`` name the columns.

    ``train_factors.npy`` (N, F) has the value of each generative factor, named by ``factor_names.txt``; evaluations
    then score disentanglement. The files of dSprites (.npz) and 3D Shapes (.h5) have them as they are published.

    Without test examples a part of the training examples, chosen by chance, is the test set.

    Args:
        root: folder of the files, or one .npz, .h5 or .npy file.
        image_size, memory_limit_gb, fit: see `DataSource`.
        test_fraction: fraction of the examples that become the test set if there are no test examples.
        split_seed: seed of the choice of the test set.
        kind: kind of the examples; auto: recognised by shape and values, or refused.
        layout: place of the channels; auto: recognised by the shape, or refused.
        max_value: value that becomes 1, of pixels that of white; auto: 1 for masks of 0 and 1, 255 for bytes, the least
            2^bits - 1 that holds the values of other whole numbers, or refused.
        missing: refuse NaN, or take it for a missing value: the likelihood sums over what was observed.

    Raises:
        ValueError: for a number outside its range.
    """

    name = "array"

    def __init__(
        self,
        root: str = "data",
        image_size: ImageSize = None,
        memory_limit_gb: float = 4.0,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        layout: Layout = "auto",
        max_value: MaxValue = "auto",
        kind: Kind = "auto",
        fit: Fit = "crop",
        missing: missing_values.Missing = "refuse",
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb, test_fraction, split_seed, fit)
        if max_value != "auto" and not 1 <= max_value <= _MAX_WHITE:
            raise ValueError(f"max_value={max_value}: must be auto or lie in 1..{_MAX_WHITE}")
        self._asked = Asked(kind, layout, max_value, mask=missing_values.is_masked(missing))
        self._masked: dict[SplitName, str] = {}
        self._checked_splits: set[SplitName] = set()

    def ask_support(self, support: Support) -> None:
        self.asked_support = support
        self._asked = self._asked._replace(support=support)
        self.__dict__.pop("_form", None)

    @property
    def native_shape(self) -> tuple[int, ...]:
        return self._examples("train").shape[1:]

    @property
    def support(self) -> Support:
        return self._form.support

    @property
    def place(self) -> str:
        return "" if self.root == IN_MEMORY else self.root

    def origin(self, split: SplitName) -> str:
        stored = self._files.get(split)
        return stored.name if stored else super().origin(split)

    def passed_over(self) -> list[str]:
        names = [readable(name) for name in self._store.passed_over]
        others = [f"{len(names)} other arrays ({listed(names)})"] if names else []
        return [*others, *unread_arrays(self.root), *self._masked.values()]

    def values_note(self) -> str:
        white, dtype = self._form.white, self._store.open(("train", "images")).dtype
        scaled = "" if white in (None, 1) or (white == 255 and dtype == np.uint8) else f", {white:g} becoming 1"
        asked = "" if self.asked_support is None else ", as data.support says"
        return f"{VALUES[self.support]}, saved as {dtype}{scaled}{asked}"

    def found(self) -> dict[str, Any]:
        white, dtype = self._form.white, self._store.open(("train", "images")).dtype
        found: dict[str, Any] = {"kind": self._form.kind} if self._asked.kind == "auto" else {}
        if self._asked.max_value == "auto" and white is not None and dtype not in (np.uint8, np.bool_):
            found["max_value"] = int(white)
        return found

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The lines of ``column_names.txt``, if it is there; in memory the columns of a data frame."""
        names = self._store.names("images")
        if names and len(names) != self.native_shape[0]:
            raise ValueError(f"column_names.txt: {len(names)} names for {self.native_shape[0]} columns")
        return names

    @property
    def missing(self) -> bool:
        return self._asked.mask

    def _read(self, split: SplitName) -> Arrays:
        rows = self._rows(split, len(self._examples("train")))
        split = split if rows is None else "train"
        examples, source = self._examples(split), self._files[split]
        if examples.shape[1:] != self.native_shape:
            raise ValueError(
                f"{source}: examples of {_sizes(examples)}, but those of the training set are"
                f" {_sizes(self._examples('train'))}; save all splits at one size"
            )
        y, factors = self._condition(split, len(examples)), self._factors(split, len(examples))
        as_they_are = rows is None and self._form.is_stored(examples) and isinstance(examples, np.memmap)
        if as_they_are and examples.nbytes > self.memory_limit_gb * GIGABYTE:
            found = Arrays(examples, y, factors)
        else:
            rows = np.arange(len(examples)) if rows is None else rows
            y, factors = (None if part is None else part[rows] for part in (y, factors))
            found = Arrays(self._copied(split, examples, rows), y, factors, rows=rows)
        if found.x.dtype == np.uint8 and all_black(found.x):
            what = "pixel is black" if self._form.kind == "pictures" else "value is 0"
            warnings.warn(f"{source}: every {what}", stacklevel=2)
        return found

    def _copied(self, split: SplitName, examples: Examples, rows: Indices) -> Examples:
        source = self._files[split]
        copy = allocate((len(rows), *examples.shape[1:]), self.memory_limit_gb, self._form.dtype)
        for chunk in chunks(len(rows), examples[0].nbytes):
            copy[chunk] = self._form.stored(examples[rows[chunk]], source, rows[chunk])
            release(copy)
            release(examples)
        return copy

    @property
    def _files(self) -> dict[SplitName, Stored]:
        return {split: stored for (split, kind), stored in self._store.found.items() if kind == "images"}

    @cached_property
    def _form(self) -> Form:
        array, source = self._store.open(("train", "images")), self._files["train"]
        form = form_of(array, self._asked._replace(columns=self._store.names("images")), source)
        self._note_missing("train", form.values, array)
        return form

    def _note_missing(self, split: SplitName, values: Range, array: NDArray[Any]) -> None:
        if values.missing is not None:
            self._masked[split] = missing_values.note(int(values.missing.sum()), array.size, self.origin(split))

    def _examples(self, split: SplitName) -> Examples:
        """Returns a view of a split, (N, *shape), whose values are those of the file."""
        array = self._store.open((split, "images"))
        if split != "train" and split not in self._checked_splits:
            asked = self._asked._replace(columns=self._store.names("images"))
            self._note_missing(split, check_beside(array, self._form, asked, self._files[split]), array)
            self._checked_splits.add(split)
        return self._form.arranged(array)


def _sizes(examples: Examples) -> str:
    return " x ".join(map(str, examples.shape[1:]))
