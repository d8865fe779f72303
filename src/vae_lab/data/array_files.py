"""The user's own arrays, as NumPy saves them."""

from __future__ import annotations

import warnings
from functools import cached_property

import numpy as np

from vae_lab.data.array_conditions import ArrayConditions
from vae_lab.data.array_memory import ArraysInMemory
from vae_lab.data.array_store import ArrayStore, Stored
from vae_lab.data.array_values import WHITE, Layout, MaxValue, all_black, rescaled, uint8_images, white_beside, white_of
from vae_lab.data.arrays import GIGABYTE, Arrays, Images, Indices, allocate, chunks, release
from vae_lab.data.image_set import ImageSet
from vae_lab.data.source import readable
from vae_lab.data.splits import train_and_test_rows
from vae_lab.types import IN_MEMORY, SplitName, listed


class ArrayFiles(ImageSet):
    """``train_images.npy`` under ``root`` and, where there are any, ``train_labels.npy`` and the same for ``val`` and
    ``test``; or a .npz file with such arrays, also under the names ``x_train``, ``y_train`` and the like.

    Images are uint8 in 0..255, or masks of 0 and 1 or of booleans, (N, H, W), (N, C, H, W) or (N, H, W, C). Labels are
    whole numbers of 0 or more or strings, (N,), or one-hot rows: each distinct one is a class, named by its value.
    ``class_names.txt``, if it is there, has the name of each class, one per line, in the order of the labels.

    ``train_attributes.npy`` (0 and 1, (N, A)) and ``train_numbers.npy`` (any numbers, (N, M)), and the same for the
    other splits, are a condition beside the labels; ``attribute_names.txt`` and ``number_names.txt`` name the columns.

    Without test images a part of the training images, chosen by chance, is the test set.

    Args:
        root: folder of the files, or one .npz or .npy file.
        image_size: height and width in pixels; None: as they are.
        memory_limit_gb: see `ImageSet`.
        test_fraction: fraction of the images that become the test set if there are no test images.
        split_seed: seed of the choice of the test set.
        layout: place of the channels in images of 4 axes; auto: recognised by the shape, or refused.
        max_value: value of white; auto: 1 for masks of 0 and 1, else 255, or refused.

    Raises:
        ValueError: for a number outside its range.
    """

    name = "array"

    def __init__(
        self,
        root: str = "data",
        image_size: int | None = None,
        memory_limit_gb: float = 4.0,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        layout: Layout = "auto",
        max_value: MaxValue = "auto",
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb)
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction={test_fraction}: must lie between 0 and 1")
        if max_value != "auto" and not 1 <= max_value <= WHITE:
            raise ValueError(f"max_value={max_value}: must be auto or lie in 1..{WHITE}")
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.layout: Layout = layout
        self.max_value: MaxValue = max_value
        self._whites: dict[SplitName, int] = {}

    def hold(self, arrays: ArraysInMemory) -> None:
        """Reads these arrays instead of the files under ``root``."""
        self.root = IN_MEMORY
        self._store = arrays

    @cached_property
    def native_shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self._images("train").shape
        return (channels, height, width)

    @cached_property
    def binary(self) -> bool:
        return self._white("train") == 1

    @cached_property
    def has_val(self) -> bool:
        return ("val", "images") in self._store.found

    @property
    def place(self) -> str:
        return "" if self.root == IN_MEMORY else self.root

    def origin(self, split: SplitName) -> str:
        stored = self._store.found.get((split, "images"))
        if stored is None:
            return f"chosen by chance, {self.test_fraction:.0%}"
        return stored.member or stored.path.name

    def passed_over(self) -> list[str]:
        names = [readable(name) for name in self._store.passed_over]
        return [f"{len(names)} other arrays ({listed(names)})"] if names else []

    @property
    def num_classes(self) -> int:
        return self._conditions.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._conditions.class_names

    @property
    def attributes(self) -> tuple[str, ...]:
        return self._conditions.attributes

    @property
    def numbers(self) -> tuple[str, ...]:
        return self._conditions.numbers

    def read(self, train: bool) -> Arrays:
        if ("test", "images") in self._store.found:
            return self._read("train" if train else "test")
        rows = train_and_test_rows(len(self._images("train")), self.test_fraction, self.split_seed)
        return self._read("train", rows[0] if train else rows[1])

    def read_val(self) -> Arrays:
        return self._read("val")

    def _read(self, split: SplitName, rows: Indices | None = None) -> Arrays:
        images, source = self._images(split), self._source(split)
        if images.shape[1:] != self.native_shape:
            raise ValueError(
                f"{source}: images of {_sizes(images)}, but those of the training set are"
                f" {_sizes(self._images('train'))}; save all splits at one size"
            )
        white = self._white(split)
        if white != self._white("train"):
            raise ValueError(
                f"{source}: white is {white}, but {self._white('train')} in the training images;"
                " set data.images.max_value"
            )
        y = self._conditions.read(split, len(images))
        as_they_are = rows is None and white == WHITE and isinstance(images, np.memmap)
        if as_they_are and images.nbytes > self.memory_limit_gb * GIGABYTE:
            found = Arrays(images, y)
        else:
            rows = np.arange(len(images)) if rows is None else rows
            found = Arrays(self._copied(split, images, rows), None if y is None else y[rows], rows=rows)
        if all_black(found.x):
            warnings.warn(f"{source}: every pixel is black", stacklevel=2)
        return found

    def _copied(self, split: SplitName, images: Images, rows: Indices) -> Images:
        white, source = self._white(split), self._source(split)
        copy = allocate((len(rows), *images.shape[1:]), self.memory_limit_gb)
        for chunk in chunks(len(rows)):
            copy[chunk] = rescaled(images[rows[chunk]], white, source)
            release(copy)
            release(images)
        return copy

    @cached_property
    def _store(self) -> ArrayStore | ArraysInMemory:
        return ArrayStore(self.root, self.memory_limit_gb)

    @cached_property
    def _conditions(self) -> ArrayConditions:
        return ArrayConditions(self._store)

    def _images(self, split: SplitName) -> Images:
        return uint8_images(self._store.open((split, "images")), self.layout, self._source(split))

    def _source(self, split: SplitName) -> Stored:
        return self._store.found[split, "images"]

    def _white(self, split: SplitName) -> int:
        if split not in self._whites:
            array, images = self._store.open((split, "images")), self._images(split)
            self._whites[split] = (
                white_of(array, images, self.max_value, self._source(split))
                if split == "train"
                else white_beside(array, images, self.max_value, self._white("train"))
            )
        return self._whites[split]


def _sizes(images: Images) -> str:
    return " x ".join(map(str, images.shape[1:]))
