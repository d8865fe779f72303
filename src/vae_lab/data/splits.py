"""The splits of a data set: their usual names, examples that a seed holds out, and those of a user's own data."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from vae_lab.data.arrays import Arrays, Indices
from vae_lab.data.framing import Fit, ImageSize
from vae_lab.data.source import DataSource
from vae_lab.types import SplitName

_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}

_DOUBTFUL = {"eval", "evaluation", "evaluate", "holdout", "heldout", "unseen", "validate", "development"}
"""Names of splits that do not say which one."""

_FILLING = {"", "set", "images", "image", "imgs", "img", "pictures", "photos", "data", "dataset", "split", "seg"}


def split_named(name: str) -> SplitName | None:
    """Returns the split that a file or a folder of this name usually holds; None for any other name."""
    return _NAMES.get(name.casefold())


def split_of_folder(name: str) -> SplitName | None:
    """Returns the split that a folder is named after, alone or beside words of no meaning, as in ``training_set``."""
    words = _words(name)
    return split_named(words[0]) or split_named(words[0].removesuffix("set")) if len(words) == 1 else None


def may_be_split(name: str) -> bool:
    """True if the name of a folder says that it is a split, but not which one."""
    return "".join(_words(name)).removesuffix("set") in _DOUBTFUL


def _words(name: str) -> list[str]:
    """Returns the words of a name that have a meaning."""
    return [word for word in re.split(r"[\W_]+", name.casefold()) if word not in _FILLING]


def held_out(size: int, num: int, seed: int) -> tuple[Indices, Indices]:
    """Returns the rows 0..size-1 in two ascending parts: those that stay, and the ``num`` that the seed holds out."""
    shuffled = np.random.default_rng(seed).permutation(size)
    return np.sort(shuffled[num:]), np.sort(shuffled[:num])


def train_and_test_rows(size: int, test_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Returns the rows of the training set and of the test set, one of each at least; a single row is a ValueError."""
    if size < 2:
        raise ValueError(f"{size} example: at least 2 are needed for a training set and a test set")
    return held_out(size, min(max(round(test_fraction * size), 1), size - 1), seed)


class OwnData(DataSource):
    """Examples of a user; without test examples a part of the training examples, chosen by chance, is the test set.

    Args:
        test_fraction: fraction of the examples that is that part.
        split_seed: seed of the choice.
        root, image_size, memory_limit_gb, fit: see `DataSource`.

    Raises:
        ValueError: for a fraction outside (0, 1), and as `DataSource`.
    """

    def __init__(
        self,
        root: str,
        image_size: ImageSize,
        memory_limit_gb: float,
        test_fraction: float,
        split_seed: int,
        fit: Fit = "crop",
    ) -> None:
        super().__init__(root, image_size, memory_limit_gb, fit)
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction={test_fraction}: must lie between 0 and 1")
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self._tests_on_all = False

    def test_on_all(self) -> None:
        """Makes all examples the test set of data that bring none, because no part of them was trained on."""
        self._tests_on_all = True

    @property
    @abstractmethod
    def _files(self) -> Mapping[SplitName, Any]:
        """The file, or the folder, of each split that the data bring."""

    @abstractmethod
    def _read(self, split: SplitName) -> Arrays:
        """Reads a split; raises as `read`."""

    @property
    def has_val(self) -> bool:
        return "val" in self._files

    @property
    def place(self) -> str:
        return self.root

    def brought(self, split: SplitName) -> str:
        return (self.origin(split) or super().brought(split)) if split != "train" and split in self._files else ""

    def origin(self, split: SplitName) -> str:
        if split == "test" and split not in self._files:
            return "all examples" if self._tests_on_all else f"chosen by chance, {self.test_fraction:.0%}"
        return ""

    def read(self, train: bool) -> Arrays:
        return self._read("train" if train else "test")

    def read_val(self) -> Arrays:
        return self._read("val")

    def _rows(self, split: SplitName, size: int) -> Indices | None:
        """Returns which of the training examples a split has; None if the data bring the split."""
        if split == "val" or "test" in self._files:
            return None
        if split == "test" and (self._tests_on_all or size == 1):  # a single example cannot be the run's own data
            return np.arange(size)
        return train_and_test_rows(size, self.test_fraction, self.split_seed)[0 if split == "train" else 1]
