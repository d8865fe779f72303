"""The splits of a data set: their usual names, and examples that a seed holds out."""

from __future__ import annotations

import re

import numpy as np

from vae_lab.data.arrays import Indices
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


def evenly_spread(rows: Indices, num: int) -> Indices:
    """Returns at most ``num`` of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(num, len(rows))).round().astype(np.int64)]


def train_and_test_rows(size: int, test_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Returns the rows of the training set and of the test set, at least one of each.

    Raises:
        ValueError: for fewer than two rows.
    """
    if size < 2:
        raise ValueError(f"{size} example: at least 2 are needed for a training set and a test set")
    return held_out(size, min(max(round(test_fraction * size), 1), size - 1), seed)


class TestByChance:
    """The test set of a source that brings none: a part of its training examples, or all of them.

    Args:
        test_fraction: fraction of the examples that is the test set.
        split_seed: seed of the choice.

    Raises:
        ValueError: for a fraction outside (0, 1).
    """

    def __init__(self, test_fraction: float, split_seed: int) -> None:
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction={test_fraction}: must lie between 0 and 1")
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.is_whole = False

    def rows(self, size: int, train: bool) -> Indices:
        """Returns the rows of the training or the test set among ``size``; raises as `train_and_test_rows`."""
        if self.is_whole and not train:
            return np.arange(size)
        return train_and_test_rows(size, self.test_fraction, self.split_seed)[0 if train else 1]

    @property
    def origin(self) -> str:
        """The test set in a few words, for the start of a run."""
        return "all examples" if self.is_whole else f"chosen by chance, {self.test_fraction:.0%}"
